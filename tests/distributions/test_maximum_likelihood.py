"""`fit`: the laws under which unit vectors are most likely, against forty digits and scipy."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from svae.distributions import PowerSpherical, VonMisesFisher

LAWS = (VonMisesFisher, PowerSpherical)
CASES = [
    *((2, 0.3), (2, 30.0), (3, 1e-3), (3, 5.0), (11, 1e4), (40, 1e7), (129, 20.0)),
    pytest.param(1025, 900.0, marks=pytest.mark.slow),
]


def _direction(m):
    loc = torch.arange(1, m + 1, dtype=torch.float64) - 0.7 * m
    return loc / loc.norm()


def _points(law, m, kappa, count=20, seed=0):
    concentration = torch.tensor(kappa, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return law(_direction(m), concentration).draw((count,), generator).value


def _exact(x):
    """Return rows as mpmath's numbers, of length 1 to forty digits."""
    rows = [[mpmath.mpf(value) for value in row] for row in x.tolist()]
    lengths = [mpmath.sqrt(sum(value * value for value in row)) for row in rows]
    return [[value / s for value in row] for row, s in zip(rows, lengths, strict=True)]


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_von_mises_fisher_is_the_root_in_forty_digits(m, kappa):
    x = _points(VonMisesFisher, m, kappa)
    found = VonMisesFisher.fit(x)
    with mpmath.workdps(40):
        mean = [sum(column) / len(x) for column in zip(*_exact(x), strict=True)]
        R = mpmath.sqrt(sum(value * value for value in mean))
        order = mpmath.mpf(m) / 2 - 1

        def excess(k):
            return mpmath.besseli(order + 1, k) / mpmath.besseli(order, k) - R

        root = mpmath.findroot(excess, mpmath.mpf(found.concentration.item()), tol=1e-60)
        assert abs(excess(root)) < 1e-35
        assert found.concentration.item() == pytest.approx(float(root), rel=1e-11)
        loc = [float(value / R) for value in mean]
    np.testing.assert_allclose(found.loc, loc, rtol=0, atol=1e-13 / min(1, float(R)))


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_power_spherical_is_the_root_in_forty_digits(m, kappa):
    x = _points(PowerSpherical, m, kappa)
    found = PowerSpherical.fit(x)
    with mpmath.workdps(40):
        rows, mu = _exact(x), _exact(found.loc[None])[0]
        cosines = [sum(a * b for a, b in zip(row, mu, strict=True)) for row in rows]
        t = -sum(mpmath.log((1 + c) / 2) for c in cosines) / len(rows)
        beta = mpmath.mpf(m - 1) / 2

        def excess(k):
            return mpmath.digamma(k + 2 * beta) - mpmath.digamma(k + beta) - t

        if found.concentration.item() == 0:
            assert excess(0) <= 0
        else:
            root = mpmath.findroot(excess, mpmath.mpf(found.concentration.item()), tol=1e-60)
            assert found.concentration.item() == pytest.approx(float(root), rel=1e-10)
        # mu is stationary: the gradient there is along mu
        gradient = [
            sum(row[i] / (1 + c) for row, c in zip(rows, cosines, strict=True)) / len(rows)
            for i in range(m)
        ]
        along = sum(g * value for g, value in zip(gradient, mu, strict=True))
        rest = [float(g - along * value) for g, value in zip(gradient, mu, strict=True)]
    assert np.linalg.norm(rest) < 1e-7


@pytest.mark.parametrize(("m", "kappa"), [(2, 0.3), (2, 30.0), (3, 5.0), (11, 1e4)])
def test_von_mises_fisher_is_that_of_scipy(m, kappa):
    x = _points(VonMisesFisher, m, kappa)
    loc, concentration = stats.vonmises_fisher.fit(x.numpy())
    found = VonMisesFisher.fit(x)
    assert found.concentration.item() == pytest.approx(concentration, rel=1e-8)
    np.testing.assert_allclose(found.loc, loc, rtol=0, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("m", [2, 3, 20])
def test_no_other_law_is_more_likely(law, m):
    x = _points(law, m, 7.0)
    best = law.fit(x)
    most = best.log_prob(x).sum()
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 0.1, 1.0):
        others = best.loc + size * torch.randn(200, m, generator=generator, dtype=x.dtype)
        loc = others / others.norm(dim=-1, keepdim=True)
        kappa = best.concentration * (size * torch.randn(200, generator=generator)).exp().double()
        assert law(loc, kappa).log_prob(x[:, None]).sum(0).max() <= most + 1e-9


def test_the_best_pole_of_points_all_around_a_circle_is_that_of_a_fine_grid():
    for seed in range(5):
        x = _points(PowerSpherical, 2, 0.8, 30, seed)
        found = PowerSpherical.fit(x)
        turn = torch.linspace(0, 2 * math.pi, 20_001, dtype=x.dtype)
        grid = torch.stack([turn.cos(), turn.sin()], -1)
        best = (1 + grid @ x.T).clamp(min=1e-300).log().sum(-1).max()
        assert (1 + x @ found.loc).log().sum() >= best - 1e-9


@pytest.mark.parametrize("law", LAWS)
def test_weights_count_vectors(law):
    x = _points(law, 4, 9.0, 8)
    counts = torch.tensor([0, 1, 2, 3, 1, 0, 2, 5])
    repeated = law.fit(x.repeat_interleave(counts, 0))
    found = law.fit(x, counts)
    torch.testing.assert_close(found.concentration, repeated.concentration, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.loc, repeated.loc, rtol=0, atol=1e-8)
    scaled = law.fit(x, counts.double() / 10)
    torch.testing.assert_close(scaled.concentration, found.concentration, rtol=1e-9, atol=0)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_each_of_its_rows(law, dtype):
    x = torch.stack([_points(law, 5, kappa, 40) for kappa in (0.1, 8.0, 1e3, 1e5)]).to(dtype)
    x = x.unflatten(0, (2, 2))
    found = law.fit(x)
    assert (found.batch_shape, found.loc.dtype) == ((2, 2), dtype)
    for place in np.ndindex(2, 2):
        alone = law.fit(x[place])
        rtol = 1e-9 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(
            found.concentration[place], alone.concentration, rtol=rtol, atol=0
        )


@pytest.mark.parametrize("m", [2, 3, 40, 1025])
def test_one_point_is_as_concentrated_as_there_is(m):
    x = _direction(m)[None]
    for law in LAWS:
        for points in (x, x.expand(5, m)):
            found = law.fit(points)
            assert found.concentration.item() == 1e8
            torch.testing.assert_close(found.loc, x[0])
        single = law.fit(x.float())
        assert (single.concentration.item(), single.loc.dtype) == (1e8, torch.float32)


@pytest.mark.parametrize("m", [2, 3, 40, 1025])
def test_antipodal_points_have_no_mean_direction(m):
    x = torch.stack([_direction(m), -_direction(m)])
    assert VonMisesFisher.fit(x).concentration.item() == 0
    found = PowerSpherical.fit(x)
    # the best pole is orthogonal to both: t = log 2
    assert abs((x[0] @ found.loc).item()) < 1e-6
    beta = (m - 1) / 2
    with mpmath.workdps(30):
        slope = mpmath.digamma(2 * beta) - mpmath.digamma(beta)

        def excess(k):
            return mpmath.digamma(k + 2 * beta) - mpmath.digamma(k + beta) - mpmath.log(2)

        root = mpmath.findroot(excess, 0.3) if slope > mpmath.log(2) else 0
    assert found.concentration.item() == pytest.approx(float(root), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    ("x", "weights", "words"),
    [
        ([[1.0, 0.0]], None, "x needs a tensor"),
        (torch.ones(3, 2), None, "vectors of length 1"),
        (torch.eye(3)[0], None, r"expected unit vectors \(..., N, m\)"),
        (torch.ones(3, 1), None, r"got \(3, 1\)"),
        (torch.empty(0, 3), None, r"got \(0, 3\)"),
        (torch.eye(3).long(), None, "of floating point numbers"),
        (torch.full((2, 2), math.nan), None, "vectors of length 1"),
        (torch.eye(3), [1, 1, 1], "weights needs a tensor"),
        (torch.eye(3), torch.ones(2), "expected one of each vector"),
        (torch.eye(3), torch.tensor([1.0, -1.0, 1.0]), "from 0 up"),
        (torch.eye(3), torch.zeros(3), "some of them above 0"),
        (torch.eye(3), torch.full((3,), math.inf), "finite numbers"),
    ],
)
def test_what_are_no_unit_vectors_is_refused(law, x, weights, words):
    with pytest.raises(ValueError, match=words):
        law.fit(x, weights)
