"""The implicit gradient of the height, against mpmath and against the inversion at m = 3."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from svae.distributions import implicit
from svae.distributions.implicit import fejer, gauss, implicit_slope
from svae.distributions.inversion import draw_by_inversion
from svae.distributions.ulrich_wood import envelope
from svae.special import bessel_moments

LEVELS = (1e-7, 1e-3, 0.2, 0.5, 0.8, 0.999, 1 - 1e-7)


def slope(m: int, kappa, below_top) -> torch.Tensor:
    kappa, below_top = (torch.as_tensor(x, dtype=torch.float64) for x in (kappa, below_top))
    return implicit_slope(m, kappa, bessel_moments(m / 2 - 1, kappa).complement, below_top)


def heights(m: int, kappa: float) -> np.ndarray:
    """1 - w from tail to tail: the images of quantiles of the symmetric Beta law."""
    complement = envelope(m, torch.tensor(kappa, dtype=torch.float64))[0].item()
    share = stats.beta((m - 1) / 2, (m - 1) / 2).ppf(LEVELS)  # (1 - z) / 2
    return complement * 2 * share / (1 + (1 - complement) * (1 - 2 * share))


@mpmath.workdps(30)
def slope_by_quadrature(m: int, kappa: float, below_top: float) -> float:
    """int |u - A| q(u) du / ((1 - w^2) q(w)), from w to the end on its side of A."""
    w, k = 1 - mpmath.mpf(below_top), mpmath.mpf(kappa)
    high, low = (mpmath.besseli(mpmath.mpf(m) / 2 - j, k, maxterms=10**6) for j in (0, 1))
    A, angle = (high / low if kappa else mpmath.mpf(0)), mpmath.acos(w)

    def integrand(t):
        ratio = mpmath.sin(t) / mpmath.sin(angle)
        return (mpmath.cos(t) - A) * mpmath.exp(k * (mpmath.cos(t) - w)) * ratio ** (m - 2)

    end, width = (0 if w > A else mpmath.pi), 1 / mpmath.sqrt(k + m)
    steps = [
        width * j * 2 ** (j / 4) for j in range(80) if width * j * 2 ** (j / 4) < abs(end - angle)
    ]
    cuts = [angle + (step if end else -step) for step in steps] + [end]
    return float(abs(mpmath.quad(integrand, cuts)) / mpmath.sin(angle))


@pytest.mark.parametrize("m", [2, 3, 4, 11, 41, 1025, 4000])
@pytest.mark.parametrize("kappa", [0, 1e-3, 2.0, 50.0, 1e6])
def test_the_slope_agrees_with_mpmath(m, kappa):
    below_top = heights(m, kappa)
    expected = [slope_by_quadrature(m, kappa, x) for x in below_top]
    np.testing.assert_allclose(slope(m, kappa, below_top), expected, rtol=2e-8)


@pytest.mark.parametrize("m", [2, 3, 11, 129, 5000])
@pytest.mark.parametrize("kappa", [0, 1e-8, 3.0, 300.0, 1e8])
def test_the_slope_is_smooth_from_end_to_end(m, kappa):
    A = bessel_moments(m / 2 - 1, torch.tensor(kappa, dtype=torch.float64)).ratio.item()
    down = np.geomspace(1e-300, 1, 4000)
    values = slope(m, kappa, np.concatenate([[0], down, 2 - down[::-1], [2]])).numpy()
    assert np.isfinite(values).all()
    assert values[0] == pytest.approx((1 - A) / (m - 1), rel=1e-6)
    # the last 1e-12 before w = -1 is taken as level, where no sample of kappa = 1e8 ever is
    assert values[-1] == pytest.approx((1 + A) / (m - 1), rel=1e-6 + 1e-12 * kappa)
    assert (np.diff(values) > -1e-7 * values[:-1]).all()


@pytest.mark.parametrize("m", [2, 4, 41, 1025])
@pytest.mark.parametrize("kappa", [0, 2.0, 50.0, 1e6])
def test_the_rule_for_other_devices_agrees(m, kappa, monkeypatch):
    below_top = heights(m, kappa)
    expected = slope(m, kappa, below_top)
    monkeypatch.setattr(implicit, "GAUSS", fejer(implicit.FEJER_NODES, torch.device("cpu")))
    torch.testing.assert_close(slope(m, kappa, below_top), expected, rtol=1e-7, atol=0)


def test_the_rules_integrate_polynomials():
    for nodes, weights in (gauss(16), fejer(24, torch.device("cpu"))):
        for power in range(24):
            assert (nodes**power @ weights).item() == pytest.approx(1 / (power + 1), rel=1e-13)


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 5.0, 100.0, 1e4])
def test_the_slope_is_that_of_the_inversion(kappa):
    concentration = torch.full((2000,), kappa, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    below_top = draw_by_inversion(concentration, torch.Size((2000,)), generator).below_top
    (gradient,) = torch.autograd.grad(-below_top.sum(), concentration)
    below_top = below_top.detach()
    implicit_gradient = slope(3, kappa, below_top) * below_top * (2 - below_top)
    torch.testing.assert_close(implicit_gradient, gradient, rtol=1e-6, atol=1e-11 / (1 + kappa))


def test_the_mean_of_the_gradient_is_the_slope_of_the_mean():
    for m in (2, 5, 33):
        for kappa in (0.0, 4.0, 250.0):
            moments = bessel_moments(m / 2 - 1, torch.tensor(kappa, dtype=torch.float64))
            angle = (torch.arange(50_000, dtype=torch.float64) + 0.5) * (math.pi / 50_000)
            below_top = 2 * torch.sin(angle / 2) ** 2
            density = torch.exp((m - 2) * torch.log(torch.sin(angle)) - kappa * below_top)
            gradient = slope(m, kappa, below_top) * below_top * (2 - below_top)
            mean = (gradient * density).sum() / density.sum()
            assert mean.item() == pytest.approx(moments.variance.item(), rel=1e-7)
