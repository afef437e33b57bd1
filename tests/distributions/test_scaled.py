"""The scaled von Mises-Fisher distribution against quadrature and the unscaled one."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import kl_divergence

from svae.distributions import HypersphericalUniform, ScaledVonMisesFisher, VonMisesFisher
from svae.distributions.sphere import uniform_direction
from tests.distributions.test_power_spherical import north

WIDE = torch.tensor([0.9, -0.9]).double()  # log a on the circle


def law(m: int, kappa: float, deviation: float, count: int = 1, seed: int = 0, **options):
    """Return `count` laws of random mu and log a."""
    source = torch.Generator().manual_seed(seed)
    loc, log_scales = torch.randn(2, count, m, dtype=torch.float64, generator=source)
    loc, kappa = loc / loc.norm(dim=-1, keepdim=True), torch.tensor(kappa, dtype=torch.float64)
    return ScaledVonMisesFisher(loc, kappa, deviation * log_scales, **options)


def circle(angle: torch.Tensor) -> torch.Tensor:
    return torch.stack((angle.cos(), angle.sin()), -1)


def on_circle(mu: torch.Tensor, kappa: torch.Tensor, log_ratio: torch.Tensor, **options):
    """Return the law on the circle with mu at an angle and log a = (log_ratio, 0)."""
    log_scales = torch.stack((log_ratio, torch.zeros_like(log_ratio)), -1)
    return ScaledVonMisesFisher(circle(mu), kappa, log_scales, **options)


@pytest.mark.parametrize("kappa", [0.0, 3.0, 200.0])
def test_the_density_on_the_circle_integrates_to_one(kappa):
    q = ScaledVonMisesFisher(north(2), torch.tensor(kappa).double(), WIDE)
    turn = torch.arange(20_000).double() * (2 * math.pi / 20_000)
    density = q.log_prob(circle(turn)).exp()
    assert float(density.mean() * 2 * math.pi) == pytest.approx(1, abs=1e-12)


def test_the_density_on_the_sphere_integrates_to_one():
    q = ScaledVonMisesFisher(
        north(3), torch.tensor(4.0).double(), torch.tensor([0.8, -0.3, -0.5]).double()
    )
    height, weights = np.polynomial.legendre.leggauss(200)
    turn = torch.arange(200).double() * (2 * math.pi / 200)
    z = torch.as_tensor(height)[:, None].expand(200, 200)
    x = torch.cat(((1 - z[..., None] ** 2).sqrt() * circle(turn), z[..., None]), -1)
    density = q.log_prob(x / x.norm(dim=-1, keepdim=True)).exp().mean(-1) * 2 * math.pi
    assert float(density @ torch.as_tensor(weights)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("m", "deviation"), [(5, 0.5), (21, 0.15)])
def test_the_density_has_mean_one_over_the_uniform_law(m, deviation):
    torch.manual_seed(0)
    q, uniform = law(m, 3.0, deviation), HypersphericalUniform(m)
    x = uniform_direction(torch.Size((100_000, 1)), m, q.loc)
    ratio = (q.log_prob(x) - uniform.log_prob(x)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / math.sqrt(100_000)


def test_samples_have_the_density_of_the_circle():
    torch.manual_seed(1)
    q = ScaledVonMisesFisher(north(2), torch.tensor(2.0).double(), WIDE)
    x = q.sample((50_000,))
    turn = torch.linspace(-math.pi, math.pi, 20_001).double()
    density = q.log_prob(circle(turn)).exp().numpy()
    cumulated = integrate.cumulative_simpson(density, x=turn.numpy(), initial=0)
    angles = torch.atan2(x[:, 1], x[:, 0])
    found = stats.kstest(angles, lambda angle: np.interp(angle, turn.numpy(), cumulated))
    assert found.pvalue > 1e-6


@pytest.mark.parametrize(
    ("m", "kappa", "deviation"), [(3, 2.0, 0.7), (11, 100.0, 0.7), (41, 400.0, 0.7)]
)
def test_the_divergence_is_that_of_the_density(m, kappa, deviation):
    torch.manual_seed(2)
    q, count = law(m, kappa, deviation, 5), 20_000
    y = q.draw((count,)).value
    estimates = q.divergence(y)
    plain = q.log_prob(y) - HypersphericalUniform(m).log_prob(y)
    z = (estimates - plain).mean(0) / ((estimates - plain).std(0) / math.sqrt(count))
    assert z.abs().max() < 5
    # by log |Az| alone the deviation is several times as large
    naive = -m * ((-q.log_scales).exp() * y).norm(dim=-1).log()
    assert estimates.std(0).median() < 0.4 * naive.std(0).median()
    entropy = HypersphericalUniform(m).entropy() - estimates.mean(0)
    torch.testing.assert_close(q.entropy(y), entropy)
    assert (q.entropy() - entropy).abs().max() < 5 * estimates.std() / math.sqrt(1000) * 1.5


def gradients(gradient: str, count: int = 200_000, sign: float = 1.0) -> torch.Tensor:
    """Return the gradient of E[f + KL] in (angle of mu, kappa, log a1/a2) by each sample."""
    torch.manual_seed(3)
    given = [torch.full((count,), v, dtype=torch.float64, requires_grad=True) for v in PLACE]
    q = on_circle(*given, gradient=gradient)
    draw = q.draw()
    f = value(draw.value)
    divergence = q.divergence(draw.value)
    score = (f + sign * divergence).detach() * draw.log_weight
    return torch.stack(torch.autograd.grad((f + divergence + score).sum(), given), -1)


PLACE = (0.7, 3.0, 1.6)


def value(y: torch.Tensor) -> torch.Tensor:
    return 3 * y[..., 0] + y[..., 0] * y[..., 1]


def exact_gradient() -> torch.Tensor:
    """Return the slopes of E[f + log q/p] over the circle by finite differences of a sum."""
    turn = torch.arange(4_000).double() * (2 * math.pi / 4_000)

    def mean(*given):
        q = on_circle(*(torch.tensor(v).double() for v in given))
        y, uniform = circle(turn), HypersphericalUniform(2)
        log_q = q.log_prob(y)
        f = value(y) + log_q - uniform.log_prob(y)
        return float((log_q.exp() * f).mean() * 2 * math.pi)

    steps = np.eye(3) * 1e-4
    ends = ((mean(*(PLACE + step)), mean(*(PLACE - step))) for step in steps)
    return torch.tensor([(up - down) / 2e-4 for up, down in ends])


@pytest.mark.parametrize("gradient", ["implicit", "corrected", "score"])
def test_gradients_of_an_objective_and_of_the_divergence_are_unbiased(gradient):
    found, exact = gradients(gradient), exact_gradient()
    z = (found.mean(0) - exact) / (found.std(0) / math.sqrt(len(found)))
    assert z.abs().max() < 5


@pytest.mark.parametrize(("gradient", "sign"), [("score", -1.0), ("score", 0.0), ("pathwise", 1.0)])
def test_a_wrong_gradient_is_seen(gradient, sign):
    found, exact = gradients(gradient, sign=sign), exact_gradient()
    z = (found.mean(0) - exact) / (found.std(0) / math.sqrt(len(found)))
    assert z.abs().max() > 5


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_equal_scales_are_the_von_mises_fisher_law(shift):
    loc = torch.stack((north(5), -north(5)))
    plain = VonMisesFisher(loc, torch.tensor([3.0, 300.0]).double())
    q = ScaledVonMisesFisher(loc, plain.concentration, torch.full((5,), shift).double())
    y = q.draw((7,), torch.Generator().manual_seed(0)).value
    torch.testing.assert_close(y, plain.draw((7,), torch.Generator().manual_seed(0)).value)
    torch.testing.assert_close(q.log_prob(y), plain.log_prob(y))
    torch.testing.assert_close(q.base.loc, loc)
    divergence = kl_divergence(plain, HypersphericalUniform(5))
    torch.testing.assert_close(q.divergence(y), divergence.expand(7, 2))


@pytest.mark.parametrize("m", [2, 11, 1025])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_finite_on_the_sphere_and_differentiable(m, dtype):
    torch.manual_seed(0)
    concentration = torch.tensor([0.0, 1.0, 1e3, 1e6], dtype=dtype, requires_grad=True)
    loc = torch.stack((north(m), -north(m), *torch.eye(m).double()[:2])).to(dtype)
    log_a = torch.linspace(-2, 2, m, dtype=dtype) * math.log(10)  # four decades
    loc, log_a = loc.requires_grad_(), log_a.requires_grad_()
    q = ScaledVonMisesFisher(loc, concentration, log_a)
    y = q.rsample((500,))
    assert (y.double().norm(dim=-1) - 1).abs().max() < 5e-7
    numbers = (q.log_prob(y), q.divergence(y), q.base.loc)
    assert all(number.isfinite().all() for number in numbers)
    sum(number.sum() for number in numbers).backward()
    assert all(given.grad.isfinite().all() for given in (loc, concentration, log_a))


def test_surface():
    q = law(3, 4.0, 0.5, count=2)
    assert (q.batch_shape, q.event_shape) == ((2,), (3,))
    wide = q.expand((4, 2))
    assert wide.rsample((5,)).shape == (5, 4, 2, 3)
    assert wide.log_prob(wide.sample()).shape == wide.divergence(wide.sample()).shape == (4, 2)
    assert wide.loc.shape == wide.log_scales.shape == (4, 2, 3)
    centre = torch.nn.functional.normalize(q.log_scales.exp() * q.base.loc, dim=-1)
    torch.testing.assert_close(centre, q.loc)
    draw = q.draw((6,))
    assert draw.log_weight.shape == draw.proposals.shape == (6, 2)
    with pytest.raises(ValueError, match="needs the value of the objective"):
        law(3, 4.0, 0.5, gradient="score").rsample()


@pytest.mark.parametrize(
    ("log_scales", "named"),
    [
        (torch.zeros(4), r"\(3,\), got \(4,\)"),
        (torch.tensor([0.0, 1.0, math.nan]), "nan"),
        (torch.tensor([50.0, 0.0, -50.0]), "log_scales"),
    ],
)
def test_wrong_scales_are_refused(log_scales, named):
    with pytest.raises(ValueError, match=named):
        ScaledVonMisesFisher(north(3).float(), torch.tensor(1.0), log_scales, validate_args=True)


@pytest.mark.parametrize("m", [2, 3, 11, 129])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_variance_across_and_its_slope_are_those_of_mpmath(m, dtype):
    """A / kappa, of which E |Az|^2 is made."""
    kappa = torch.tensor([1e-6, 5e-3, 0.011, 0.3, 2.0, 50.0, 1e4, 1e6], dtype=dtype)
    kappa.requires_grad_()
    value = VonMisesFisher(torch.eye(m, dtype=dtype)[:1].expand(8, m), kappa)._variance_across()
    (slope,) = torch.autograd.grad(value.sum(), kappa)
    with mpmath.workdps(40):
        points = [mpmath.mpf(k.item()) for k in kappa]
        wanted = [(_across(k, m), mpmath.diff(lambda k: _across(k, m), k)) for k in points]
    values, slopes = torch.tensor([list(map(float, row)) for row in wanted]).to(dtype).T
    torch.testing.assert_close(value, values, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, slopes, rtol=1e-4, atol=1e-8)


def _across(kappa, m):
    high, low = (mpmath.besseli(mpmath.mpf(m) / 2 - j, kappa) for j in (0, 1))
    return high / low / kappa
