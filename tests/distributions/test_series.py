"""The series that float32 is served by, against the integrals that they are made from."""

import numpy as np
import pytest
import torch

from svae.distributions import HypersphericalUniform, VonMisesFisher
from svae.distributions.implicit import implicit_slope
from svae.distributions.series import Series
from svae.distributions.ulrich_wood import draw_until_accepted, envelope
from svae.special import bessel_moments

DIMENSIONS = (2, 3, 4, 5, 6, 8, 11, 21, 41, 129, 1001)
KAPPA = torch.cat((torch.zeros(1), torch.logspace(-6, 8, 400))).double()


def series(m: int, kappa: torch.Tensor) -> Series:
    return Series(m, kappa, envelope(m, kappa))


@pytest.mark.parametrize("m", DIMENSIONS)
def test_the_moments_agree_with_the_integral(m):
    ours, exact = series(m, KAPPA).moments, bessel_moments(m / 2 - 1, KAPPA)
    for name in exact._fields:
        rtol = 1e-6 if name == "relative_entropy" else 1e-9
        torch.testing.assert_close(getattr(ours, name), getattr(exact, name), rtol=rtol, atol=1e-30)


@pytest.mark.parametrize("m", DIMENSIONS)
def test_the_divergence_and_its_slope_agree_with_the_integral(m):
    exact = bessel_moments(m / 2 - 1, KAPPA)
    value, slope = series(m, KAPPA).divergence()
    # x0 = 1 - v is known within 1e-16: at m = 1001 and kappa = 1e-6 that is 1e-7 of it
    torch.testing.assert_close(value, exact.relative_entropy, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, KAPPA * exact.variance, rtol=2e-7, atol=0)


@pytest.mark.parametrize("count", [400, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("m", DIMENSIONS)
def test_the_slope_agrees_with_the_integral_where_samples_are(m, count):
    generator = torch.Generator().manual_seed(m)
    shape = torch.Size((count, len(KAPPA)))
    below_top = draw_until_accepted(m, envelope(m, KAPPA).complement, shape, generator).below_top
    exact = implicit_slope(m, KAPPA, bessel_moments(m / 2 - 1, KAPPA).complement, below_top)
    error = (series(m, KAPPA).slope(below_top) / exact - 1).abs()
    assert error.mean() < 1e-8
    assert error.max() < 1e-5
    # the pathwise slope is another one
    pathwise = 1 / envelope(m, KAPPA).c
    assert (pathwise / exact - 1).abs().mean() > 5e-4


@pytest.mark.parametrize("m", DIMENSIONS)
def test_the_slope_is_finite_and_positive_from_end_to_end(m):
    down = np.geomspace(1e-300, 1, 500)
    below_top = torch.from_numpy(np.concatenate([[0], down, 2 - down[::-1], [2]]))
    slope = series(m, KAPPA).slope(below_top.unsqueeze(-1).expand(-1, len(KAPPA)))
    assert slope.isfinite().all()
    assert (slope > 0).all()


@pytest.mark.parametrize("m", [2, 3, 4, 11, 41])
def test_float32_and_float64_have_the_same_gradients(m):
    concentration = torch.tensor([0.0, 0.3, 4.0, 60.0, 900.0])
    loc = torch.nn.functional.normalize(torch.randn(5, m, generator=torch.manual_seed(0)), dim=-1)
    weights = torch.randn(1000, 5, m, generator=torch.manual_seed(1))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        kappa = concentration.to(dtype).requires_grad_()
        q = VonMisesFisher(loc.to(dtype), kappa, validate_args=False)
        height = q._height(torch.Size((1000, 5)), torch.Generator().manual_seed(2))
        slope = q._slope(height.below_top) * (2 - height.below_top) * height.below_top
        divergence = torch.distributions.kl_divergence(q, HypersphericalUniform(m, dtype=dtype))
        (of_kl,) = torch.autograd.grad(divergence.sum(), kappa)
        gradients.append(((slope * weights[..., 0]).mean(0), of_kl.double()))
    torch.testing.assert_close(*gradients, rtol=2e-6, atol=1e-9)


def test_a_concentration_of_nan_gives_nan():
    kappa = torch.tensor([float("nan"), 1.0]).double()
    assert series(6, kappa).moments.relative_entropy.isnan().tolist() == [True, False]
