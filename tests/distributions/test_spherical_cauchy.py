"""The spherical Cauchy distribution against its Moebius map, mpmath and quadrature."""

import math

import mpmath
import pytest
import torch
from scipy import integrate, stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from svae.distributions import HypersphericalUniform, SphericalCauchy, VonMisesFisher
from svae.distributions.sphere import uniform_direction
from tests.distributions.test_power_spherical import north
from tests.support.sphere_integral import over_sphere

CASES = ((2, 0.0), (2, 1.0), (3, 5.0), (5, 30.0), (21, 10.0), (21, 1e4))


def law(m: int, kappa: float, dtype: torch.dtype = torch.float64) -> SphericalCauchy:
    return SphericalCauchy(north(m, dtype), torch.tensor(kappa, dtype=dtype))


def rho_of(m: int, kappa: float) -> float:
    s = math.sqrt(1 + 2 * kappa / (m - 1))
    return (s - 1) / (s + 1)


def exact_mean(m: int, function) -> mpmath.mpf:
    """Return the mean of function(u) over u of density ~ sech(u)^(m - 1)."""
    n = m - 1
    ends = [scale * mpmath.mpf(n) ** -0.5 for scale in (0, 1, 3, 10, 40)] + [150]
    area = mpmath.quad(lambda u: 2 * mpmath.sech(u) ** n, ends)
    both = mpmath.quad(lambda u: mpmath.sech(u) ** n * (function(u) + function(-u)), ends)
    return both / area


@pytest.mark.parametrize("m", [2, 3, 11, 1025])
def test_divergence_and_mean_are_those_of_mpmath(m):
    kappas = (1e-4, 0.5, 30.0, 1e6)
    q = SphericalCauchy(north(m).expand(4, m), torch.tensor(kappas, dtype=torch.float64))
    found = zip(kl_divergence(q, HypersphericalUniform(m)), q.mean @ north(m), strict=True)
    with mpmath.workdps(30):
        for kappa, (divergence, mean) in zip(kappas, found, strict=True):
            log_s = mpmath.log(1 + 2 * mpmath.mpf(kappa) / (m - 1)) / 2
            x = mpmath.sinh(log_s) ** 2
            exact = exact_mean(m, lambda u, x=x: mpmath.log1p(x * mpmath.sech(u) ** 2) / 2)
            assert divergence.item() == pytest.approx(float((m - 1) * exact), rel=2e-11)
            exact = exact_mean(m, lambda u, shift=log_s: mpmath.tanh(u + shift))
            assert mean.item() == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("kappa", [0.1, 3.0, 1e5])
def test_on_the_circle_the_divergence_has_a_closed_form(kappa):
    found = kl_divergence(law(2, kappa), HypersphericalUniform(2))
    assert float(found) == pytest.approx(-math.log1p(-(rho_of(2, kappa) ** 2)), rel=2e-11)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_density_is_that_of_kato_and_mccullagh(m, kappa):
    torch.manual_seed(0)
    q, rho = law(m, kappa), rho_of(m, kappa)
    x = uniform_direction(torch.Size((50,)), m, q.loc)
    ratio = (1 - rho**2) / (1 + rho**2 - 2 * rho * (x @ q.loc))
    expected = (m - 1) * ratio.log() + HypersphericalUniform(m).log_prob(x)
    torch.testing.assert_close(q.log_prob(x), expected)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_density_integrates_to_one_and_its_logarithm_to_the_entropy(m, kappa):
    q = law(m, kappa)
    assert over_sphere(q, math.exp) == pytest.approx(1, abs=1e-9)
    entropy = over_sphere(q, lambda log: -log * math.exp(log))
    assert entropy == pytest.approx(float(q.entropy()), abs=1e-7)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_samples_are_those_of_the_moebius_map(m, kappa):
    torch.manual_seed(1)
    q, count, rho = law(m, kappa), 50_000, rho_of(m, kappa)
    x = q.sample((count,))
    y = uniform_direction(torch.Size((count,)), m, q.loc) + rho * q.loc
    mapped = (1 - rho**2) * y / y.square().sum(-1, keepdim=True) + rho * q.loc
    heights = (points @ q.loc for points in (x, mapped))
    assert stats.ks_2samp(*heights).pvalue > 1e-6
    z = (x.mean(0) - q.mean) / (q.variance / count).sqrt()
    assert z.abs().max() < 5
    square = (x - q.mean).square()
    z = (square.mean(0) - q.variance) / (square.std(0) / math.sqrt(count))
    assert z.abs().max() < 5
    surprise = -q.log_prob(x)
    assert abs(surprise.mean() - q.entropy()) <= 5 * surprise.std() / math.sqrt(count) + 1e-12


@pytest.mark.parametrize("statistic", ["w", "1/(1 + c(1-w))"])
@pytest.mark.parametrize(("m", "kappa"), CASES[1:])
def test_the_gradient_in_the_concentration_is_unbiased(m, kappa, statistic):
    torch.manual_seed(2)
    count = 200_000
    shared = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    concentration = shared.expand(count).clone().detach().requires_grad_()

    def value(x):
        w = x @ north(m)
        return w if statistic == "w" else 1 / (1 + kappa / (m - 1) * (1 - w))

    q = SphericalCauchy(north(m).expand(count, m), concentration)
    (slope,) = torch.autograd.grad(value(q.rsample()).sum(), concentration)
    ring = math.lgamma(m / 2) - math.lgamma((m - 1) / 2) - math.log(math.pi) / 2

    def mean(kappa):
        q = SphericalCauchy(north(m), torch.tensor(kappa, dtype=torch.float64))
        s = math.sqrt(1 + 2 * kappa / (m - 1))

        def integrand(u):  # of the even part: the mean of value at tanh(u + log s)
            w = math.tanh(u + math.log(s))
            return math.exp(ring) * math.cosh(u) ** (1 - m) * float(value(w * q.loc))

        return integrate.quad(integrand, -60 / m - 1, 60 / m + 1, epsabs=1e-13, limit=200)[0]

    step = 1e-3 * kappa
    exact = (mean(kappa + step) - mean(kappa - step)) / (2 * step)
    error, deviation = abs(slope.mean() - exact), slope.std() / math.sqrt(count)
    assert error < 5 * deviation + 1e-6 * abs(exact)
    assert abs(1.1 * slope.mean() - exact) > 5 * deviation  # a slope 10 % too large is seen


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_gradient_in_the_direction_is_unbiased(m, kappa):
    """E[(t.x)^2] = (t.mu)^2 (E[w^2] - r) + |t|^2 r with r = E[1 - w^2] / (m - 1)."""
    torch.manual_seed(4)
    count, target = 100_000, torch.linspace(-1, 2, m, dtype=torch.float64)
    loc = north(m).repeat(count, 1).requires_grad_()
    x = SphericalCauchy(loc, torch.tensor(kappa, dtype=torch.float64)).rsample()
    turn = torch.linspace(1, -2, m, dtype=torch.float64)
    turn = turn - turn @ north(m) * north(m)
    slope = torch.autograd.grad((x @ target).square().sum(), loc)[0] @ turn
    r = float(law(m, kappa)._moments()[1]) / (m - 1)
    exact = 2 * (target @ north(m)) * (target @ turn) * (1 - m * r)
    assert abs(slope.mean() - exact) <= 5 * slope.std() / math.sqrt(count) + 1e-12


def test_derivatives_are_those_of_finite_differences():
    x = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    kappa = torch.tensor([1e-3, 0.3, 8.0, 300.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda kappa: SphericalCauchy(north(3), kappa).log_prob(x), (kappa,))

    def divergence(kappa):
        return kl_divergence(SphericalCauchy(north(4), kappa), HypersphericalUniform(4))

    assert divergence(torch.zeros(1).double()) == 0
    assert gradcheck(divergence, (kappa,))
    assert gradgradcheck(divergence, (kappa,))


@pytest.mark.parametrize("m", [2, 3, 41, 1025])
def test_extremes_are_finite_on_the_sphere_and_differentiable(m):
    torch.manual_seed(0)
    concentration = torch.tensor([0.0, 1.0, 1e3, 1e6], requires_grad=True)
    loc = torch.stack((north(m), -north(m), *torch.eye(m).double()[:2])).float().requires_grad_()
    q = SphericalCauchy(loc, concentration)
    x = q.rsample((2_000,))
    assert x.dtype == torch.float32
    assert (x.double().norm(dim=-1) - 1).abs().max() < 5e-7
    numbers = (q.log_prob(x.detach()), q.entropy(), q.mean, q.variance)
    assert all(value.isfinite().all() for value in numbers)
    (sum(value.sum() for value in numbers) + (x * torch.randn_like(x)).sum()).backward()
    assert loc.grad.isfinite().all()
    assert concentration.grad.isfinite().all()
    assert (q.variance >= 0).all()


def test_near_mu_it_is_the_von_mises_fisher_law():
    loc, kappa = north(5), torch.tensor(1e6, dtype=torch.float64)
    x = loc + 1e-5 * torch.linspace(-1, 1, 5).double()
    x = x / x.norm()
    slopes = []
    for q in (SphericalCauchy(loc, kappa), VonMisesFisher(loc, kappa)):
        slopes.append(float(q.log_prob(loc) - q.log_prob(x)))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)


def test_surface():
    loc = torch.stack((north(3), -north(3))).float()
    q = SphericalCauchy(loc, torch.tensor([[1.0], [2.0], [3.0]]))
    assert (q.batch_shape, q.event_shape) == ((3, 2), (3,))
    assert q.mean.shape == q.mode.shape == q.variance.shape == q.stddev.shape == (3, 2, 3)
    draw = q.draw((5,))
    assert (draw.value.shape, draw.log_weight.shape) == ((5, 3, 2, 3), (5, 3, 2))
    assert q.log_prob(draw.value).shape == (5, 3, 2)
    assert q.entropy().shape == kl_divergence(q, HypersphericalUniform(3)).shape == (3, 2)
    assert q.expand((4, 3, 2)).rsample().shape == (4, 3, 2, 3)
    assert not q.sample().requires_grad
    with pytest.raises(ValueError, match=r"R\^3 and R\^4"):
        kl_divergence(q, HypersphericalUniform(4))


@pytest.mark.parametrize("wrong", [-2.5, math.nan, math.inf])
def test_bad_concentrations_are_refused_by_value(wrong):
    with pytest.raises(ValueError, match=str(wrong)):
        SphericalCauchy(north(3), torch.tensor(wrong).double(), validate_args=True)
