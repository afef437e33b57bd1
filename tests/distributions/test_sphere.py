"""The sphere: points at given heights, turning with mu, and the uniform distribution on it."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence

from svae.distributions import (
    HypersphericalUniform,
    PowerSpherical,
    SphericalCauchy,
    VonMisesFisher,
)
from svae.distributions.sphere import Placement, log_sphere_area, place, unit_sphere

LAWS = (VonMisesFisher, PowerSpherical, SphericalCauchy)
DIMENSIONS = (2, 3, 4, 11, 101, 3000)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def directions(m: int, count: int, off_axis: float, dtype: torch.dtype) -> torch.Tensor:
    """Unit vectors, at random if off_axis is inf, else within off_axis of +-e_1."""
    x = torch.randn(count, m, dtype=torch.float64)
    if off_axis < math.inf:
        x = x * off_axis / math.sqrt(m)
        x[:, 0] += torch.randn(count, dtype=torch.float64).sign()
    return unit(x).to(dtype)


def angles(count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """1 - w and sqrt(1 - w^2) of angles from 1e-8 to pi."""
    theta = math.pi * torch.rand(count, dtype=torch.float64) ** 8 + 1e-8
    return (2 * torch.sin(theta / 2) ** 2).to(dtype), torch.sin(theta).clamp(min=0).to(dtype)


@pytest.mark.parametrize("off_axis", [math.inf, 0.0, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("m", DIMENSIONS)
def test_samples_lie_on_the_sphere_at_their_height(m, off_axis):
    torch.manual_seed(m)
    count = 200 if m > 1000 else 20000
    for dtype, limit in ((torch.float32, 5e-7), (torch.float64, 1e-14)):
        loc = directions(m, count, off_axis, dtype)
        complement, sine = angles(count, dtype)
        x, loc = place(loc, complement, sine).double(), loc.double()
        assert (x.norm(dim=-1) - 1).abs().max() < limit
        distance = (x - loc).square().sum(-1) / 2
        torch.testing.assert_close(distance, complement.double(), rtol=0, atol=2 * limit)


@pytest.mark.parametrize("m", [2, 3, 4, 11])
def test_the_tangent_direction_is_uniform(m):
    torch.manual_seed(0)
    loc = torch.zeros(m, dtype=torch.float64)
    loc[0], loc[1] = 0.6, 0.8
    across = torch.zeros(m, dtype=torch.float64)
    across[0], across[1] = -0.8, 0.6
    count = 100_000
    one = torch.ones(count, dtype=torch.float64)
    height = (place(loc, one, one) * across).sum(-1)
    if m == 2:
        assert ((height.abs() - 1).abs() < 1e-15).all()
        assert abs(height.sum()) < 5 * math.sqrt(count)
    else:
        law = stats.beta((m - 2) / 2, (m - 2) / 2, -1, 2)
        assert stats.kstest(height, law.cdf).pvalue > 1e-6


@pytest.mark.parametrize("m", [2, 3, 11])
def test_the_gradient_turns_samples_and_moves_them_along_their_meridian(m):
    """A rotation of loc in a plane turns E[f]; the slope in w is that of the circle through x."""
    torch.manual_seed(0)
    count = 200_000
    loc = unit(torch.randn(m, dtype=torch.float64))
    turn = torch.randn(m, dtype=torch.float64)
    turn = turn - turn @ loc * loc
    target = torch.randn(m, dtype=torch.float64)
    w = torch.full((count,), 0.3, dtype=torch.float64)
    slope = 1 / (1 - w**2)  # dw / dconcentration = 1
    leaf = loc.repeat(count, 1).requires_grad_()
    concentration = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    x = Placement.apply(leaf, concentration, 1 - w, 1 + w, slope, None)
    assert ((x * loc).sum(-1) - w).abs().max() < 1e-14

    # E[(t.x)^2] = (t.loc)^2 (w^2 - r) + |t|^2 r with r = (1 - w^2) / (m - 1)
    r = (1 - 0.09) / (m - 1)
    (grad,) = torch.autograd.grad((x @ target).square().sum(), leaf, retain_graph=True)
    slopes = grad @ turn
    exact = 2 * (target @ loc) * (target @ turn) * (0.09 - r)
    assert abs(slopes.mean() - exact) < 5 * slopes.std() / math.sqrt(count)

    (rise,) = torch.autograd.grad((x @ target).sum(), concentration)
    tangent = x.detach() - 0.3 * loc
    along_meridian = (loc - 0.3 * tangent / (1 - 0.09)) @ target
    torch.testing.assert_close(rise, along_meridian)


def test_gradients_are_finite_and_in_shape_at_the_poles():
    loc = torch.eye(3).repeat(2, 1).mul_(torch.tensor([[1.0]] * 3 + [[-1.0]] * 3)).requires_grad_()
    concentration = torch.ones(6, requires_grad=True)
    for w in (1.0, -1.0, 0.0):
        below, above = torch.full((4, 6), 1 - w).double(), torch.full((4, 6), 1 + w).double()
        x = Placement.apply(loc, concentration, below, above, torch.ones_like(below), None)
        grads = torch.autograd.grad(x.square().sum() + x.sum(), (loc, concentration))
        assert [grad.shape for grad in grads] == [loc.shape, concentration.shape]
        assert all(grad.isfinite().all() for grad in grads)


def test_areas():
    for m, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        assert log_sphere_area(m) == pytest.approx(math.log(area), rel=1e-15)


def test_the_sphere_admits_rounding_and_nothing_else():
    for dtype in (torch.float32, torch.float64):
        x = unit(torch.randn(10_000, 40, dtype=dtype))
        assert unit_sphere.check(x).all()
        assert not unit_sphere.check(x * (1 + 200 * torch.finfo(torch.float32).eps)).any()
        assert not unit_sphere.check(x * torch.nan).any()


@pytest.mark.parametrize("m", [2, 3, 11])
def test_uniform_samples(m):
    law = HypersphericalUniform(m, (2,), dtype=torch.float64)
    x = law.sample((50_000,))
    assert x.shape == (50_000, 2, m)
    assert x.dtype == torch.float64
    marginal = stats.beta((m - 1) / 2, (m - 1) / 2, -1, 2)
    for i in (0, 1):
        assert stats.kstest(x[:, i, i], marginal.cdf).pvalue > 1e-6
    z = x.mean((0, 1)) / math.sqrt(1 / m / 100_000)
    assert z.abs().max() < 5
    torch.testing.assert_close(x.var((0, 1)), law.variance[0], rtol=0.03, atol=0)


def test_uniform_surface():
    law = HypersphericalUniform(5, (3,))
    draw = law.draw((2,), torch.Generator().manual_seed(1))
    assert (draw.value.shape, draw.log_weight.shape, draw.proposals.shape) == (
        (2, 3, 5),
        (2, 3),
        (2, 3),
    )
    assert (draw.proposals == 1).all()
    assert (draw.log_weight == 0).all()
    again = law.draw((2,), torch.Generator().manual_seed(1))
    assert torch.equal(draw.value, again.value)
    assert law.log_prob(draw.value).shape == (2, 3)
    torch.testing.assert_close(law.log_prob(draw.value), -law.entropy().expand(2, 3))
    assert law.expand((4, 3)).sample().shape == (4, 3, 5)
    assert law.mean.shape == law.variance.shape == (3, 5)
    assert torch.equal(kl_divergence(law, HypersphericalUniform(5)), torch.zeros(3))


@pytest.mark.parametrize("m", [1, 0, -3, 2.5, True])
def test_uniform_refuses_what_is_no_sphere(m):
    with pytest.raises(ValueError, match=str(m)):
        HypersphericalUniform(m)


def test_uniform_refuses_values_off_the_sphere_and_another_sphere():
    with pytest.raises(ValueError, match=r"1\.5"):
        HypersphericalUniform(2, validate_args=True).log_prob(torch.tensor([1.5, 0.0]))
    with pytest.raises(ValueError, match=r"R\^3 and R\^4"):
        kl_divergence(HypersphericalUniform(3), HypersphericalUniform(4))


def test_the_uniform_law_is_printed_with_its_dimension():
    assert repr(HypersphericalUniform(11)) == "HypersphericalUniform(11)"
    assert repr(HypersphericalUniform(3, (2, 5))) == "HypersphericalUniform(3, batch_shape=(2, 5))"


@pytest.mark.parametrize("law", LAWS)
def test_unit_vectors_of_float32_are_those_of_float64(law):
    loc = unit(torch.randn(100, 5, generator=torch.Generator().manual_seed(0))).double()
    lengths = law(loc, 3.0).loc.norm(dim=-1)
    assert (loc.norm(dim=-1) - 1).abs().max() > 1e-8
    torch.testing.assert_close(lengths, torch.ones(100).double(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    ("loc", "message"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, 1.5]]), r"length 1, got tensor.* of length 1.5"),
        (torch.tensor([0.0, 1.0001]).double(), r"length 1, got tensor.* of length 1.0001"),
        (torch.tensor([0.0, math.nan]), r"length 1, got tensor.* of length nan"),
        (torch.tensor([0, 1]), "floating point numbers, got torch.int64"),
        (torch.tensor([False, True]), "floating point numbers, got torch.bool"),
    ],
)
def test_what_is_wrong_with_a_location_is_said(law, loc, message):
    with pytest.raises(ValueError, match=message):
        law(loc, 2.0)


@pytest.mark.parametrize("law", LAWS)
def test_a_column_of_concentrations_is_warned_of(law, recwarn):
    loc = unit(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.warns(UserWarning, match=r"batch of 4 x 4: for one each use .*squeeze\(-1\)"):
        assert law(loc, torch.ones(4, 1)).batch_shape == (4, 4)
    recwarn.clear()
    law(loc, torch.ones(4)), law(loc[:1], torch.ones(4, 1)), law(loc[:, None], torch.ones(4, 1))
    assert not recwarn.list
