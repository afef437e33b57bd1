"""The Power Spherical distribution against its own closed forms, scipy and quadrature."""

import math

import mpmath
import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from svae.distributions import HypersphericalUniform, PowerSpherical
from tests.support.sphere_integral import over_sphere

# m, kappa, divergence from the uniform distribution, from mpmath
TABLE = (
    (2, 4, 0.827695234141117),
    (3, 10, 1.48880436370746),
    (6, 10, 1.67199260706839),
    (11, 100, 9.06622000171648),
    (41, 1000, 52.0168649736278),
)
CASES = ((2, 0.0), (2, 1.0), (3, 5.0), (6, 30.0), (11, 10.0), (41, 300.0))


def north(m: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A unit vector that is no axis."""
    loc = torch.arange(1, m + 1, dtype=torch.float64) - 0.7 * m
    return (loc / loc.norm()).to(dtype)


def law(m: int, kappa: float, dtype: torch.dtype = torch.float64) -> PowerSpherical:
    return PowerSpherical(north(m, dtype), torch.tensor(kappa, dtype=dtype))


@pytest.mark.parametrize(("m", "kappa", "right"), TABLE)
def test_divergence_and_entropy(m, kappa, right):
    for dtype, rel in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        q, uniform = law(m, float(kappa), dtype), HypersphericalUniform(m)
        assert kl_divergence(q, uniform).dtype == dtype
        assert float(kl_divergence(q, uniform)) == pytest.approx(right, rel=rel)
        assert float(q.entropy() + kl_divergence(q, uniform)) == pytest.approx(
            float(uniform.entropy()), rel=1e-5
        )


def exact(m: int, kappa: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """The divergence, its slope in kappa, and the logarithm of the density at mu."""
    with mpmath.workdps(80):
        beta, kappa = mpmath.mpf(m - 1) / 2, mpmath.mpf(kappa)
        alpha, total = beta + kappa, 2 * beta + kappa
        ratio = mpmath.loggamma(total) - mpmath.loggamma(alpha)
        start = mpmath.loggamma(2 * beta) - mpmath.loggamma(beta)
        divergence = kappa * (mpmath.psi(0, alpha) - mpmath.psi(0, total)) + ratio - start
        slope = kappa * (mpmath.psi(1, alpha) - mpmath.psi(1, total))
        return divergence, slope, ratio - beta * mpmath.log(4 * mpmath.pi)


@pytest.mark.parametrize("m", [2, 3, 4, 11, 41, 1025])
def test_no_concentration_costs_digits(m):
    # also on both sides of where one formula takes over from another
    kappa = torch.logspace(-12, 20, 97).double() * (m - 1) / 2
    kappa = torch.cat((kappa, (m - 1) / 2 * torch.tensor([0.2499, 0.2501, 9999, 10001])))
    for dtype, rel in ((torch.float64, 2e-11), (torch.float32, 2e-6)):
        given = kappa.to(dtype).requires_grad_()
        q = PowerSpherical(north(m, dtype).expand(len(kappa), m), given)
        divergence = kl_divergence(q, HypersphericalUniform(m))
        (slope,) = torch.autograd.grad(divergence.sum(), given)
        found = (divergence.detach(), slope, q.log_prob(q.loc).detach())
        for row in range(len(kappa)):
            right = exact(m, given[row].item())
            for value, expected in zip(found, right, strict=True):
                error = abs(value[row].item() - expected)
                assert error <= rel * max(abs(expected), 1e-30), (given[row].item(), expected)


def test_divergence_derivatives():
    def divergence(kappa):
        return kl_divergence(PowerSpherical(north(4), kappa), HypersphericalUniform(4))

    kappa = torch.tensor([1e-5, 0.5, 3.0, 200.0], dtype=torch.float64, requires_grad=True)
    assert abs(divergence(torch.zeros(1).double())) < 1e-14
    assert gradcheck(divergence, (kappa,))
    assert gradgradcheck(divergence, (kappa,))


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_density_integrates_to_one_and_its_logarithm_to_the_entropy(m, kappa):
    q = law(m, kappa)
    assert over_sphere(q, math.exp) == pytest.approx(1, abs=1e-9)
    entropy = over_sphere(q, lambda log: -log * math.exp(log))
    assert entropy == pytest.approx(float(q.entropy()), abs=1e-7)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_samples(m, kappa):
    torch.manual_seed(1)
    q, count = law(m, kappa), 100_000
    x = q.sample((count,))
    height = (x * q.loc).sum(-1)
    marginal = stats.beta((m - 1) / 2 + kappa, (m - 1) / 2, -1, 2)
    assert stats.kstest(height, marginal.cdf).pvalue > 1e-6
    z = (x.mean(0) - q.mean) / (q.variance / count).sqrt()
    assert z.abs().max() < 5
    square = (x - q.mean).square()
    z = (square.mean(0) - q.variance) / (square.std(0) / math.sqrt(count))
    assert z.abs().max() < 5
    surprise = -q.log_prob(x)
    assert abs(surprise.mean() - q.entropy()) <= 5 * surprise.std() / math.sqrt(count) + 1e-12


@pytest.mark.parametrize("m", [2, 3, 41])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 1e3, 1e6])
def test_float32_samples_stay_on_the_sphere_with_finite_gradients(m, kappa):
    torch.manual_seed(0)
    loc = torch.stack((north(m), torch.eye(m).double()[0], -torch.eye(m).double()[0]))
    loc = loc.float().requires_grad_()
    concentration = torch.full((3,), kappa, requires_grad=True)
    x = PowerSpherical(loc, concentration).rsample((10_000,))
    assert x.dtype == torch.float32
    assert (x.double().norm(dim=-1) - 1).abs().max() < 5e-7
    (x * torch.randn_like(x)).sum().backward()
    assert loc.grad.isfinite().all()
    assert concentration.grad.isfinite().all()
    # 1 - w = |x - mu|^2 / 2 has mean 2 beta / (alpha + beta) also where w rounds to 1
    distance = (x.double() - loc.double()).square().sum(-1) / 2
    z = distance.mean() - (m - 1) / (m - 1 + kappa)
    assert abs(z) < 5 * distance.std() / math.sqrt(30_000) + 1e-7


def gradient_cases(m: int, kappa: float, count: int, w_only: bool):
    """Per-sample slopes in kappa of w or of (1 - w)^2, and the exact slope of the mean."""
    concentration = torch.full((count,), kappa, dtype=torch.float64, requires_grad=True)
    q = PowerSpherical(north(m), concentration)
    w = (q.rsample() * q.loc).sum(-1)
    beta, total = (m - 1) / 2, m - 1 + kappa
    if w_only:
        return torch.autograd.grad(w.sum(), concentration)[0], 2 * beta / total**2
    value = 4 * beta * (beta + 1) / (total * (total + 1))
    slope = torch.autograd.grad((1 - w).square().sum(), concentration)[0]
    return slope, -value * (1 / total + 1 / (total + 1))


@pytest.mark.parametrize("w_only", [True, False])
@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_gradient_in_the_concentration_is_unbiased(m, kappa, w_only):
    torch.manual_seed(2)
    slope, exact = gradient_cases(m, kappa, 200_000, w_only)
    assert abs(slope.mean() - exact) < 5 * slope.std() / math.sqrt(200_000)


@pytest.mark.slow
@pytest.mark.parametrize("w_only", [True, False])
@pytest.mark.parametrize(("m", "kappa"), [*CASES[1:5], (3, 1e4), (6, 1e5)])
def test_the_gradient_in_the_concentration_is_unbiased_with_many_samples(m, kappa, w_only):
    torch.manual_seed(3)
    slope, exact = gradient_cases(m, kappa, 1_000_000, w_only)
    error = abs(slope.mean() - exact)
    assert error < 5 * slope.std() / math.sqrt(1_000_000)
    assert error < 1e-2 * abs(exact)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_gradient_in_the_direction_is_unbiased(m, kappa):
    """E[(t.x)^2] = (t.mu)^2 (E[w^2] - r) + |t|^2 r with r = E[1 - w^2] / (m - 1)."""
    torch.manual_seed(4)
    count, target = 200_000, torch.linspace(-1, 2, m, dtype=torch.float64)
    loc = north(m).repeat(count, 1).requires_grad_()
    concentration = torch.tensor(kappa, dtype=torch.float64)
    x = PowerSpherical(loc, concentration).rsample()
    turn = torch.linspace(1, -2, m, dtype=torch.float64)
    turn = turn - turn @ north(m) * north(m)
    slope = torch.autograd.grad((x @ target).square().sum(), loc)[0] @ turn
    alpha, beta = (m - 1) / 2 + kappa, (m - 1) / 2
    r = 2 * alpha / ((alpha + beta) * (alpha + beta + 1))
    exact = 2 * (target @ north(m)) * (target @ turn) * (1 - m * r)
    assert abs(slope.mean() - exact) <= 5 * slope.std() / math.sqrt(count) + 1e-12


def test_log_prob_derivatives_and_ends():
    x = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    kappa = torch.tensor([0.3, 8.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda kappa: PowerSpherical(north(3), kappa).log_prob(x), (kappa,))
    pole = torch.eye(3, dtype=torch.float64)[0]
    assert PowerSpherical(pole, torch.ones(()).double()).log_prob(-pole) == -torch.inf
    assert float(law(3, 0.0).log_prob(-north(3))) == pytest.approx(-math.log(4 * math.pi))
    # float32 would round mu.x to 1 here, and the density with it
    sharp, angle = law(3, 1e6, torch.float32), 1e-3
    across = torch.linalg.cross(north(3), torch.eye(3).double()[2])
    x = math.cos(angle) * north(3) + math.sin(angle) * across / across.norm()
    right = float(law(3, 1e6).log_prob(x))
    assert float(sharp.log_prob(x.float())) == pytest.approx(right, abs=1e-3)


def test_surface():
    loc = torch.stack((north(3), -north(3))).float()
    q = PowerSpherical(loc, torch.tensor([[1.0], [2.0], [3.0]]))
    assert (q.batch_shape, q.event_shape) == ((3, 2), (3,))
    assert q.mean.shape == q.mode.shape == q.variance.shape == q.stddev.shape == (3, 2, 3)
    draw = q.draw((5,))
    assert (draw.value.shape, draw.log_weight.shape) == ((5, 3, 2, 3), (5, 3, 2))
    assert (draw.proposals == 1).all()
    assert q.log_prob(draw.value).shape == (5, 3, 2)
    assert q.entropy().shape == kl_divergence(q, HypersphericalUniform(3)).shape == (3, 2)
    assert q.expand((4, 3, 2)).rsample().shape == (4, 3, 2, 3)
    assert not q.sample().requires_grad


def test_one_generator_makes_all_random_numbers():
    q = law(4, 3.0)
    state = torch.get_rng_state()
    first = q.draw((9,), torch.Generator().manual_seed(5)).value
    assert torch.equal(first, q.draw((9,), torch.Generator().manual_seed(5)).value)
    assert not torch.equal(first, q.draw((9,), torch.Generator().manual_seed(6)).value)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("loc", "concentration", "named"),
    [
        (torch.tensor([1.0, 0.0]), torch.tensor(-2.5), r"-2\.5"),
        (torch.tensor([1.0, 0.0]), torch.tensor(torch.nan), "nan"),
        (torch.tensor([1.0, 0.0]), torch.tensor(torch.inf), "inf"),
        (torch.tensor([1.0, 0.01]), torch.tensor(1.0), r"0\.01"),
        (torch.tensor([1.0]), torch.tensor(1.0), r"\(1,\)"),
        (torch.tensor(1.0), torch.tensor(1.0), r"\(\)"),
        (torch.eye(3), torch.ones(2), r"\(3, 3\).*\(2,\)"),
        (torch.eye(3), torch.ones(3).double(), "float32.*float64"),
    ],
)
def test_bad_parameters_are_refused_by_value(loc, concentration, named):
    with pytest.raises(ValueError, match=named):
        PowerSpherical(loc, concentration, validate_args=True)


def test_bad_values_and_another_sphere_are_refused():
    q = PowerSpherical(torch.tensor([1.0, 0.0]), torch.tensor(1.0), validate_args=True)
    with pytest.raises(ValueError, match=r"1\.5"):
        q.log_prob(torch.tensor([1.5, 0.0]))
    with pytest.raises(ValueError, match=r"R\^2 and R\^3"):
        kl_divergence(q, HypersphericalUniform(3))


@pytest.mark.parametrize("m", [2, 5, 41])
def test_the_density_of_float32_vectors_is_theirs_opposite_to_mu(m):
    mu = north(m, torch.float32)
    across = torch.randn(20, m, generator=torch.Generator().manual_seed(m))
    x = -mu + torch.logspace(-6, 0, 20)[:, None] * across
    x = (x / x.norm(dim=-1, keepdim=True)).requires_grad_()
    found = PowerSpherical(mu, torch.tensor(6.0)).log_prob(x)
    with mpmath.workdps(40):
        pairs = [zip(v, mu.tolist(), strict=True) for v in x.tolist()]
        squares = [mpmath.fsum((mpmath.mpf(a) + b) ** 2 for a, b in pair) for pair in pairs]
        exact = [6 * mpmath.log(square) for square in squares]
        top = PowerSpherical(mu, torch.tensor(6.0)).log_prob(mu).item() - 6 * math.log(4)
    expected = torch.tensor([float(value) for value in exact]) + top
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
    found.sum().backward()
    assert x.grad.isfinite().all()
