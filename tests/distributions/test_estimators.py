"""The gradient estimators: which are unbiased, how noisy they are, and that the tests can tell."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from svae.distributions import PowerSpherical, VonMisesFisher, estimators
from svae.distributions.ulrich_wood import envelope
from svae.special import bessel_moments
from tests.support.height_law import HeightLaw

UNBIASED = ("implicit", "corrected", "score")
DIMENSIONS = (2, 3, 5, 11, 21, 41, 129)
CONCENTRATIONS = (0.5, 2, 5, 10.5, 20, 100, 1000)
# m -> the mean pathwise gradient of E[w] relative to the exact one at kappa = 1, 2, 5, 20
PATHWISE = {
    2: (0.563, 0.515, 0.767, 0.949),
    5: (0.945, 0.866, 0.835, 0.949),
    11: (0.994, 0.980, 0.936, 0.953),
    41: (1.000, 1.000, 0.997, 0.983),
}


def north(m: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A unit vector that is no axis."""
    loc = torch.arange(1, m + 1, dtype=torch.float64) - 0.7 * m
    return (loc / loc.norm()).to(dtype)


def exact(m: int, kappa: float):
    return bessel_moments(m / 2 - 1, torch.tensor(kappa, dtype=torch.float64))


class Average:
    """The mean of a stream of gradients and its standard score against what it should be."""

    def __init__(self):
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, gradients: torch.Tensor) -> None:
        gradients = gradients.double()
        self.count += len(gradients)
        self.total, self.squares = (
            self.total + gradients.sum(0),
            self.squares + (gradients**2).sum(0),
        )

    @property
    def mean(self):
        return self.total / self.count

    @property
    def deviation(self):
        return (self.squares / self.count - self.mean**2).clamp_min(0).sqrt()

    def score(self, expected):
        return (self.mean - expected) / self.deviation * math.sqrt(self.count)


def gradients(gradient, m, kappa, size, objective, sampler="rejection"):
    """Per-sample gradients of objective(x, mu) in kappa and mu, with and without the log weight."""
    dtype = torch.float64 if m < 40 else torch.float32
    loc = north(m, dtype).expand(size, m).clone().requires_grad_()
    kappa = torch.full((size,), float(kappa), dtype=dtype, requires_grad=True)
    draw = VonMisesFisher(loc, kappa, gradient, sampler, validate_args=False).draw()
    f = objective(draw.value, loc.detach())
    zeros = torch.zeros_like(kappa), torch.zeros_like(loc)
    bare, weight = zeros, zeros
    if f.requires_grad:
        bare = torch.autograd.grad(f.sum(), (kappa, loc))
    if draw.log_weight.requires_grad:
        weight = torch.autograd.grad(draw.log_weight.sum(), (kappa, loc), allow_unused=True)
    f = f.detach()
    in_loc = 0 if weight[1] is None else f.unsqueeze(-1) * weight[1]
    return (bare[0] + f * weight[0], bare[1] + in_loc), bare


def slope_of_mean(gradient, m, kappa, samples) -> tuple[Average, Average]:
    """The gradient of E[w - A] in kappa, with and without the log weight."""
    torch.manual_seed(round(1000 * m + 10 * kappa))
    A, averages, chunk = exact(m, kappa).ratio, (Average(), Average()), min(samples, 10_000)
    for _ in range(samples // chunk):
        found = gradients(gradient, m, kappa, chunk, lambda x, mu: (x * mu).sum(-1) - A)
        for average, (in_kappa, _) in zip(averages, found, strict=True):
            average.add(in_kappa)
    return averages


def pathwise_ratio(m: int, kappa: float) -> float:
    """The mean of (1 - w^2) / c relative to A', by quadrature."""
    law = HeightLaw(m, kappa)
    square = law.expectation(law.below_top * (2 - law.below_top))
    return square / math.hypot(2 * kappa, m - 1) / exact(m, kappa).variance.item()


def check_slope(gradient: str, m: int, kappa: float, samples: int) -> None:
    """Accept the estimator as unbiased, and reject it without its log weight."""
    whole, bare = slope_of_mean(gradient, m, kappa, samples)
    right, ratio = exact(m, kappa).variance, pathwise_ratio(m, kappa)
    assert abs(whole.score(right)) < 5
    if gradient == "corrected":
        assert abs(bare.score(right * ratio)) < 5
        if abs(ratio - 1) > 0.02:
            assert abs(bare.score(right)) > 5


@pytest.mark.parametrize("gradient", UNBIASED)
@pytest.mark.parametrize(("m", "kappa"), [(2, 2), (3, 5), (5, 2), (11, 10.5), (41, 100)])
def test_the_gradient_in_kappa_is_unbiased(gradient, m, kappa):
    check_slope(gradient, m, kappa, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", UNBIASED)
@pytest.mark.parametrize("m", DIMENSIONS)
@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_the_gradient_in_kappa_is_unbiased_over_a_million_samples(gradient, m, kappa):
    check_slope(gradient, m, kappa, 1_000_000)


@pytest.mark.parametrize(("m", "kappa"), [(2, 2), (3, 5), (5, 2), (11, 10.5)])
def test_pathwise_is_corrected_without_its_second_term_and_is_rejected(m, kappa):
    (pathwise, _), (_, bare) = (
        slope_of_mean(gradient, m, kappa, 50_000) for gradient in ("pathwise", "corrected")
    )
    assert pathwise.mean == pytest.approx(bare.mean.item(), rel=1e-12)
    assert abs(pathwise.score(exact(m, kappa).variance)) > 5


@pytest.mark.parametrize("m", PATHWISE)
def test_the_bias_of_the_pathwise_gradient_meets_the_published_figures(m):
    for kappa, expected in zip((1, 2, 5, 20), PATHWISE[m], strict=True):
        assert pathwise_ratio(m, kappa) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("gradient", [*UNBIASED, "pathwise"])
@pytest.mark.parametrize(("m", "kappa"), [(2, 1.0), (3, 20.0), (11, 10.0), (41, 100.0)])
def test_gradients_of_a_linear_and_a_square_function_are_those_of_the_closed_forms(
    gradient, m, kappa
):
    """E[c.x] = A c.mu, E[(c.x)^2] = (c.mu)^2 (S - T) + |c|^2 T; S = E[w^2], T = (1 - S)/(m - 1)."""
    torch.manual_seed(m)
    c, mu, (_, _, A, _, slope) = torch.randn(m).double(), north(m), exact(m, kappa)
    along, side, n = c @ mu, c - (c @ mu) * mu, m - 1
    S, S_slope = 1 - n * A / kappa, n * (A / kappa - slope) / kappa
    functions = {
        lambda x, _: x @ c.to(x): (slope * along, A * side),
        lambda x, _: (x @ c.to(x)) ** 2: (
            S_slope * (along**2 - side @ side / n),
            2 * along * side * (S - (1 - S) / n),
        ),
    }
    for function, (in_kappa, in_mu) in functions.items():
        averages = Average(), Average()
        for _ in range(6):
            found, _ = gradients(gradient, m, kappa, 20_000, function)
            averages[0].add(found[0])
            averages[1].add(found[1].double() @ (torch.eye(m).double() - torch.outer(mu, mu)))
        if gradient != "pathwise":
            assert abs(averages[0].score(in_kappa)) < 5
        assert averages[1].score(in_mu).abs().max() < 5
        assert averages[1].score(-in_mu).abs().max() > 5


def test_a_normalised_parameter_may_have_any_length():
    """Autograd through mu = v / |v| leaves nothing along v, whatever the estimator."""
    for gradient in (*UNBIASED, "pathwise"):
        v = (3 * north(6)).expand(100, 6).clone().requires_grad_()
        kappa = torch.full((100,), 7.0, dtype=torch.float64)
        draw = VonMisesFisher(v / v.norm(dim=-1, keepdim=True), kappa, gradient).draw()
        f = draw.value[:, 0] ** 2
        (in_v,) = torch.autograd.grad((f + f.detach() * draw.log_weight).sum(), v)
        assert (in_v * v).sum(-1).abs().max() < 1e-13
        assert in_v.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("m", "kappa", "corrected", "implicit"),
    [(5, 10, 1.97, 0.245), (11, 10, 2.28, 0.230), (41, 100, 0.105, 0.00714)],
)
def test_the_noise_of_the_estimators_meets_the_published_figures(m, kappa, corrected, implicit):
    torch.manual_seed(0)
    deviations = {}
    for gradient in ("corrected", "implicit"):
        average = Average()
        for _ in range(5):
            arguments = (gradient, m, kappa, 60_000, lambda x, mu: 20 * (x * mu).sum(-1) - 100)
            average.add(gradients(*arguments)[0][0])
        deviations[gradient] = average.deviation.item()
        assert abs(average.score(20 * exact(m, kappa).variance)) < 5
    assert deviations["corrected"] == pytest.approx(corrected, rel=0.05)
    assert deviations["implicit"] == pytest.approx(implicit, rel=0.05)
    assert deviations["implicit"] < deviations["corrected"] / 6


@pytest.mark.parametrize("gradient", ["implicit", "pathwise", "score"])
@pytest.mark.parametrize("kappa", [0.5, 10.5, 1000])
def test_inversion_is_unbiased_with_every_gradient_it_takes(gradient, kappa):
    torch.manual_seed(0)
    A, average = exact(3, kappa).ratio, Average()
    arguments = (gradient, 3, kappa, 100_000, lambda x, mu: (x * mu).sum(-1) - A)
    average.add(gradients(*arguments, sampler="inversion")[0][0])
    assert abs(average.score(exact(3, kappa).variance)) < 5


def test_the_score_of_the_acceptance_is_the_derivative_of_its_logarithm():
    """Against differences of log pi(z; kappa), the law of accepted z, by quadrature."""
    for m, kappa in ((2, 0.7), (5, 3.0), (12, 40.0)):
        n, z = m - 1, torch.linspace(-0.99, 0.99, 9, dtype=torch.float64)

        def log_law(k, n=n, z=z):
            x0 = 2 * k / (n + math.hypot(2 * k, n))
            grid = torch.cos((torch.arange(20_000, dtype=torch.float64) + 0.5) * math.pi / 20_000)
            log_chance = [n * (1 - 1 / p - p.log()) for p in (1 + x0 * z, 1 + x0 * grid)]
            weight = (1 - grid**2) ** ((n - 1) / 2)
            return log_chance[0] - (weight * log_chance[1].exp()).sum().log()

        step = 1e-4 * kappa
        expected = (log_law(kappa + step) - log_law(kappa - step)) / (2 * step)
        x0 = 2 * kappa / (n + math.hypot(2 * kappa, n))
        below_top = 1 - (x0 + z) / (1 + x0 * z)
        k = torch.tensor(kappa, dtype=torch.float64)
        score = estimators.acceptance_score(
            k, envelope(m, k), exact(m, kappa).complement, below_top
        )
        torch.testing.assert_close(score, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gradient", estimators.GRADIENTS)
def test_log_weights_are_zero_and_ask_for_a_gradient_only_where_it_is_needed(gradient):
    loc = north(4).expand(5, 4).clone().requires_grad_()
    kappa = torch.linspace(0, 30, 5, dtype=torch.float64, requires_grad=True)
    draw = VonMisesFisher(loc, kappa, gradient).draw((3,))
    assert torch.equal(draw.log_weight, torch.zeros(3, 5).double())
    assert draw.log_weight.requires_grad == (gradient in ("corrected", "score"))
    assert draw.value.requires_grad == (gradient != "score")
    if gradient == "score":
        q = VonMisesFisher(loc, kappa)
        expected = torch.autograd.grad(q.log_prob(draw.value).sum(), (kappa, loc))
        found = torch.autograd.grad(draw.log_weight.sum(), (kappa, loc))
        torch.testing.assert_close(found[0], expected[0])
        along = (expected[1] * loc).sum(-1, keepdim=True) * loc
        torch.testing.assert_close(found[1], expected[1] - along)


@pytest.mark.parametrize("law", [VonMisesFisher, PowerSpherical])
@pytest.mark.parametrize("parameter", [0, 1])
@pytest.mark.parametrize("power", [1, 2])  # linear: what comes in does not require a gradient
def test_a_second_derivative_of_a_sample_is_refused(law, parameter, power):
    kappa = torch.tensor(3.0, requires_grad=True)
    loc = north(4, torch.float32).requires_grad_()
    x = law(loc, kappa).rsample()
    (slope,) = torch.autograd.grad(x[0] ** power, (loc, kappa)[parameter], create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivative in their parameters, no sec"):
        slope.sum().backward()


def test_standard_scores_of_the_unbiased_gradients_are_standard():
    """Neither too large nor, as with a wrong estimate of the noise, too small."""
    scores = [
        slope_of_mean("implicit", 5, kappa, 2_000)[0].score(exact(5, kappa).variance)
        for kappa in np.linspace(1, 20, 200)
    ]
    assert stats.kstest([float(z) for z in scores], "norm").pvalue > 1e-4
