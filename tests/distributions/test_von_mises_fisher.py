"""The von Mises-Fisher distribution: its closed forms, its samples and what it refuses."""

import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Distribution, kl_divergence

from svae.distributions import HypersphericalUniform, VonMisesFisher
from svae.distributions.estimators import GRADIENTS
from tests.distributions.test_ulrich_wood import PROPOSALS, binomial_p
from tests.support.height_law import HeightLaw
from tests.test_special import TABLE

INDUCTOR = (pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no compiler"))
CASES = ((2, 0.0), (2, 1.5), (3, 4.0), (4, 1e3), (11, 10.5), (41, 1e6), (129, 30.0))


def direction(m: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A unit vector that is no axis."""
    loc = torch.arange(1, m + 1, dtype=torch.float64) - 0.7 * m
    return (loc / loc.norm()).to(dtype)


def law(m: int, kappa: float, dtype: torch.dtype = torch.float64, **options) -> VonMisesFisher:
    return VonMisesFisher(direction(m, dtype), torch.tensor(kappa, dtype=dtype), **options)


def below_top(x: torch.Tensor, loc: torch.Tensor) -> np.ndarray:
    """1 - w of samples, from their distance to mu: mu.x has rounded it away at large kappa."""
    return ((x.double() - loc.double()).square().sum(-1) / 2).numpy()


@pytest.mark.parametrize(("m", "kappa", "kl", "log_c", "A", "slope"), TABLE)
def test_closed_forms_meet_the_reference(m, kappa, kl, log_c, A, slope):
    q = law(m, kappa)
    concentration = q.concentration.requires_grad_()
    divergence = kl_divergence(q, HypersphericalUniform(m, dtype=torch.float64))
    assert divergence.item() == pytest.approx(kl, rel=1e-10)
    (gradient,) = torch.autograd.grad(divergence, concentration)
    assert gradient.item() == pytest.approx(kappa * slope, rel=1e-10)
    assert q.log_prob(q.mode).item() - kappa == pytest.approx(log_c, rel=1e-10)
    assert q.entropy().item() == pytest.approx(-log_c - kappa * A, rel=1e-9, abs=1e-9 * kappa)
    torch.testing.assert_close(q.mean.detach(), A * q.loc, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("m", "kappa"), [(2, 1.5), (3, 4.0), (5, 100.0), (20, 10.5)])
def test_densities_agree_with_scipy(m, kappa):
    q, right = law(m, kappa), stats.vonmises_fisher(direction(m).numpy(), kappa)
    x = q.sample((50,))
    np.testing.assert_allclose(q.log_prob(x), right.logpdf(x.numpy()), rtol=1e-12, atol=1e-12)
    assert q.entropy().item() == pytest.approx(right.entropy(), rel=1e-10)


@pytest.mark.parametrize(("m", "kappa"), [(2, 0.0), (2, 50.0), (3, 3.0), (11, 10.5), (41, 1e4)])
def test_the_density_integrates_to_one(m, kappa):
    q = law(m, kappa)
    across = torch.linalg.svd(q.loc.unsqueeze(0)).Vh[-1]
    belt = 2 * math.pi ** ((m - 1) / 2) / math.gamma((m - 1) / 2)

    def integrand(angle):
        x = math.cos(angle) * q.loc + math.sin(angle) * across
        return math.exp(q.log_prob(x).item()) * math.sin(angle) ** (m - 2) * belt

    width = 1 / math.sqrt(m + kappa)
    cuts = [min(j * width, math.pi) for j in range(0, 60, 3) if (j - 3) * width < math.pi]
    parts = [integrate.quad(integrand, *cut) for cut in pairwise(cuts)]
    assert sum(part[0] for part in parts) == pytest.approx(1, abs=1e-8)


def check_law(q: VonMisesFisher, size: int) -> None:
    """Check the laws of w and of one tangent coordinate, and that they are independent."""
    m, loc = q.event_shape[0], q.loc.double()
    side = torch.linalg.svd(loc.unsqueeze(0)).Vh[-1]
    distance, across = [], []
    for _ in range(size // 20_000):
        x = q.sample((20_000,)).double()
        tangent = x - (x @ loc).unsqueeze(-1) * loc
        distance.append(below_top(x, loc))
        across.append((tangent @ side / tangent.norm(dim=-1)).numpy())
    distance, across = np.concatenate(distance), np.concatenate(across)
    height_law = HeightLaw(m, q.concentration.item())
    assert max(np.abs(height_law.scores(distance))) < 5
    assert stats.kstest(distance, height_law.distribution).pvalue > 1e-6
    assert abs(stats.spearmanr(across, distance).statistic) < 5 / math.sqrt(size)
    if m == 2:
        assert stats.binomtest(int((across > 0).sum()), size).pvalue > 1e-6
    else:
        shape = (m - 2) / 2
        assert stats.kstest((1 + across) / 2, stats.beta(shape, shape).cdf).pvalue > 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_samples_follow_the_law_around_mu_and_across_it(m, kappa, dtype):
    torch.manual_seed(0)
    check_law(law(m, kappa, dtype), 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [2, 3, 4, 5, 11, 21, 41, 129])
@pytest.mark.parametrize("kappa", [0, 1e-3, 1, 10.5, 11, 15, 50, 1e3, 1e6])
def test_many_samples_follow_the_law(m, kappa, dtype):
    torch.manual_seed(1)
    check_law(law(m, kappa, dtype), 200_000 if dtype == torch.float64 else 60_000)


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [0, 1e-3, 1, 10.5, 11, 15, 50, 1e3, 1e6])
def test_samples_in_a_thousand_dimensions_follow_the_law(kappa):
    torch.manual_seed(2)
    check_law(law(1025, kappa, torch.float32), 40_000)


@pytest.mark.parametrize("m", [2, 3, 4, 11, 129, 3000])
@pytest.mark.parametrize("off_axis", [math.inf, 0, 1e-3, 1e-5, 1e-7])
def test_float32_samples_lie_on_the_sphere_and_nothing_is_nan(m, off_axis):
    torch.manual_seed(0)
    count = 40 if m < 1000 else 4
    loc = torch.randn(count, m)
    if off_axis < math.inf:
        loc = off_axis * loc / math.sqrt(m)
        loc[:, 0] += torch.randn(count).sign()
    loc = (loc / loc.norm(dim=-1, keepdim=True)).unsqueeze(1).requires_grad_()
    kappa = torch.tensor([0, 1e-6, 1e-3, 1, 10.5, 1e3, 1e6, 1e8]).requires_grad_()
    for gradient in GRADIENTS:
        q = VonMisesFisher(loc, kappa, gradient)
        draw = q.draw((20,))
        assert ((draw.value.double().norm(dim=-1) - 1).abs() <= 5e-7).all()
        f = draw.value.sum(-1)
        loss = f + f.detach() * draw.log_weight
        loss = loss + kl_divergence(q, HypersphericalUniform(m)) + q.log_prob(draw.value.detach())
        for slope in torch.autograd.grad(loss.sum(), (loc, kappa)):
            assert slope.isfinite().all()
    for value in (q.entropy(), q.mean, q.variance, q.expected_acceptance_rate):
        assert value.isfinite().all()
        assert value.dtype == torch.float32


def test_a_million_points_of_the_circle_and_the_sphere_are_on_them():
    for m in (2, 3):
        x = law(m, 5.0, torch.float32).sample((1_000_000,))
        assert ((x.double().norm(dim=-1) - 1).abs() <= 5e-7).all()


@pytest.mark.parametrize(("m", "kappa"), [(3, 5.0), (11, 20.0)])
def test_rotating_mu_rotates_the_law(m, kappa):
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(m, m).double()).Q
    loc, probe = direction(m), torch.randn(m).double()
    there = VonMisesFisher(rotation @ loc, torch.tensor(kappa).double()).sample((50_000,))
    here = VonMisesFisher(loc, torch.tensor(kappa).double()).sample((50_000,)) @ rotation.T
    assert stats.ks_2samp(there @ probe, here @ probe).pvalue > 1e-6
    assert stats.ks_2samp(there @ probe, here @ rotation @ probe).pvalue < 1e-6


@pytest.mark.parametrize(("m", "kappa"), [(2, 0.0), (2, 1.5), (5, 30.0), (41, 100.0)])
def test_moments_agree_with_samples(m, kappa):
    torch.manual_seed(0)
    q = law(m, kappa)
    x = q.sample((50_000,))
    deviation = q.stddev / math.sqrt(len(x))
    assert ((x.mean(0) - q.mean).abs() < 5 * deviation).all()
    squares = (x - q.mean) ** 2
    assert ((squares.mean(0) - q.variance).abs() < 5 * squares.std(0) / math.sqrt(len(x))).all()
    assert torch.equal(q.mode, q.loc)


@pytest.mark.parametrize("m", PROPOSALS)
def test_the_expected_acceptance_rate_meets_the_reference(m):
    kappas = torch.tensor([0.1, 1, 5, 10, 50, 100, 1000, 1e8], dtype=torch.float64)
    q = VonMisesFisher(direction(m), kappas)
    torch.testing.assert_close(
        1 / q.expected_acceptance_rate, torch.tensor(PROPOSALS[m]).double(), rtol=0, atol=6e-4
    )
    limit = (m - 1) / 2 * math.log(2 * (m - 1) / math.e) + math.lgamma((m - 1) / 2)
    limit = math.exp(math.lgamma(m - 1) - limit)
    assert q.expected_acceptance_rate[-1].item() == pytest.approx(limit, rel=1e-6)
    assert law(m, 0.0).expected_acceptance_rate.item() == 1
    assert law(m, 1e-5).expected_acceptance_rate.item() == pytest.approx(1, abs=1e-9)


def test_the_expected_acceptance_rate_is_what_is_seen():
    torch.manual_seed(0)
    kappas = torch.tensor([0, 0.5, 3, 12, 1e3, 1e6])
    for m in (2, 3, 11, 129):
        q = VonMisesFisher(direction(m, torch.float32), kappas)
        proposals = q.draw((20_000,)).proposals
        assert proposals.dtype == torch.float32
        for total, rate in zip(proposals.sum(0), q.expected_acceptance_rate, strict=True):
            assert binomial_p(20_000, int(total), float(rate)) > 1e-6
    assert law(3, 9.0, sampler="inversion").expected_acceptance_rate == 1


@pytest.mark.parametrize("m", [2, 3, 7, 60])
def test_the_divergence_of_two_laws_is_the_mean_of_their_log_ratio(m):
    torch.manual_seed(0)
    turned = torch.nn.functional.normalize(direction(m) + 0.3 * torch.randn(m).double(), dim=0)
    for ours, theirs in ((3.0, 8.0), (50.0, 50.0), (400.0, 1.0), (0.0, 2.0)):
        p = law(m, ours)
        q = VonMisesFisher(turned, torch.tensor(theirs).double())
        x = p.sample((40_000,))
        ratio = p.log_prob(x) - q.log_prob(x)
        error = (ratio.mean() - kl_divergence(p, q)) / ratio.std() * math.sqrt(len(x))
        assert abs(error) < 5
    near, far = law(m, 1e8), VonMisesFisher(direction(m), torch.tensor(1.01e8).double())
    assert kl_divergence(near, near).item() == 0
    # of two Gaussians with m - 1 variances 1/kappa
    expected = (m - 1) / 2 * (1.01 - 1 - math.log(1.01))
    assert kl_divergence(near, far).item() == pytest.approx(expected, rel=1e-8 * m)
    uniform = kl_divergence(law(m, 30.0), HypersphericalUniform(m)).item()
    assert kl_divergence(law(m, 30.0), law(m, 0.0)).item() == pytest.approx(uniform, rel=1e-12)


def test_derivatives_of_the_closed_forms():
    v = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    kappa = torch.tensor([0.3, 4.0, 90.0], dtype=torch.float64, requires_grad=True)
    x = torch.nn.functional.normalize(torch.randn(3, 5).double(), dim=-1)
    uniform = HypersphericalUniform(5, dtype=torch.float64)

    def q(v, kappa):
        return VonMisesFisher(torch.nn.functional.normalize(v, dim=-1), kappa)

    forms = (
        lambda v, kappa: q(v, kappa).log_prob(x),
        lambda v, kappa: q(v, kappa).entropy(),
        lambda v, kappa: q(v, kappa).mean,
        lambda v, kappa: q(v, kappa).variance,
        lambda v, kappa: kl_divergence(q(v, kappa), uniform),
        lambda v, kappa: kl_divergence(q(v, kappa), q(v.flip(0), kappa.flip(0))),
    )
    for form in forms:
        assert gradcheck(form, (v, kappa))
    assert gradgradcheck(forms[0], (v, kappa))
    assert gradgradcheck(lambda kappa: forms[4](v, kappa), (kappa,))


def test_one_distribution_gives_gradients_again_and_again():
    """What is kept between calls must not keep a graph that the first backward pass has freed."""
    loc, kappa = direction(6).requires_grad_(), torch.tensor(4.0).double().requires_grad_()
    q = VonMisesFisher(loc, kappa)
    with torch.no_grad():
        q.entropy()
    slopes = []
    for _ in range(2):
        kappa.grad = None
        (
            kl_divergence(q, HypersphericalUniform(6)) + q.log_prob(loc.detach()) + q.entropy()
        ).backward()
        slopes.append(kappa.grad)
    assert torch.equal(*slopes)
    for _ in range(2):
        q.rsample().sum().backward()
    assert (kappa.grad != slopes[0]).all()


@pytest.mark.parametrize("sampler", ["rejection", "inversion"])
def test_shapes_broadcast_and_expand(sampler):
    loc = direction(3).expand(4, 1, 3)
    q = VonMisesFisher(loc, torch.tensor([1.0, 2.0]).double(), "pathwise", sampler)
    assert q.batch_shape == (4, 2)
    assert q.event_shape == (3,)
    for p in (q, q.expand((4, 2)), q.expand((5, 4, 2))):
        assert (p.gradient, p.sampler) == ("pathwise", sampler)
        draw = p.draw((6, 7))
        assert draw.value.shape == (6, 7, *p.batch_shape, 3)
        assert draw.log_weight.shape == draw.proposals.shape == (6, 7, *p.batch_shape)
        assert p.rsample().shape == p.mean.shape == p.variance.shape == (*p.batch_shape, 3)
        assert p.sample((2,)).shape == (2, *p.batch_shape, 3)
        assert p.log_prob(draw.value).shape == (6, 7, *p.batch_shape)
        assert p.entropy().shape == p.expected_acceptance_rate.shape == p.batch_shape
        assert kl_divergence(p, HypersphericalUniform(3)).shape == p.batch_shape
        assert kl_divergence(p, q).shape == p.batch_shape
    assert law(5, 2.0, proposals=3).expand((2,)).proposals == 3
    single = VonMisesFisher(direction(3), torch.tensor(2.0).double())
    assert single.batch_shape == ()
    assert single.rsample((2, 2)).shape == (2, 2, 3)
    assert kl_divergence(single, HypersphericalUniform(3, (5,))).shape == (5,)


@pytest.mark.parametrize("proposals", [None, 26])
@pytest.mark.parametrize("m", [2, 3, 11])
def test_all_randomness_comes_from_the_generator(m, proposals):
    q, state = law(m, 5.0, proposals=proposals), torch.get_rng_state()
    draws = [q.draw((300,), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0].value, draws[1].value)
    other = q.draw((300,), torch.Generator().manual_seed(4))
    assert not torch.equal(other.value, draws[0].value)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("m", [2, 3, 11])
def test_off_the_cpu_a_step_reads_nothing_from_the_device(gradient, m):
    """The meta device has no values: whatever would read one fails."""
    loc = torch.empty(8, m, device="meta", requires_grad=True)
    kappa = torch.empty(8, device="meta", requires_grad=True)
    q = VonMisesFisher(loc, kappa, gradient, validate_args=False)
    draw = q.draw((2,))
    f = draw.value.sum(-1)
    loss = f + f.detach() * draw.log_weight + kl_divergence(q, HypersphericalUniform(m))
    loss.sum().backward()
    assert loc.grad.shape == loc.shape
    assert kappa.grad.shape == kappa.shape


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize(
    ("backend", "gradient"),
    [
        *(("aot_eager", gradient) for gradient in GRADIENTS),
        pytest.param("inductor", "implicit", marks=INDUCTOR),
    ],
)
def test_a_step_compiles_to_one_graph(gradient, backend, monkeypatch):
    # torch.compile turns the default off for all distributions, for good
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)

    def step(loc, kappa):
        q = VonMisesFisher(loc, kappa, gradient, validate_args=False)
        draw = q.draw((64,))
        f = draw.value[..., 0]
        weight = (f - f.mean()).detach() * draw.log_weight
        return (f + weight).mean() + kl_divergence(q, HypersphericalUniform(6)), draw

    torch._dynamo.reset()
    torch.manual_seed(0)
    loc = direction(6, torch.float32).requires_grad_()
    kappa = torch.tensor(5.0, requires_grad=True)
    loss, draw = torch.compile(step, fullgraph=True, backend=backend)(loc, kappa)
    loss.backward()
    assert ((draw.value.norm(dim=-1) - 1).abs() < 5e-7).all()
    assert draw.proposals.min() >= 1
    assert kappa.grad.isfinite()
    assert loc.grad.abs().max() > 0


def test_a_number_is_a_concentration_in_the_dtype_of_the_direction():
    for dtype in (torch.float32, torch.float64):
        loc = direction(4, dtype)
        q = VonMisesFisher(loc, 3)
        assert q.concentration.dtype == dtype
        assert torch.equal(q.mean, VonMisesFisher(loc, torch.tensor(3.0, dtype=dtype)).mean)


def test_wrong_input_is_refused_with_its_value():
    one, loc = torch.tensor(1.0), direction(4, torch.float32)

    def refused(loc, concentration, *options, **named):
        with pytest.raises(ValueError) as error:
            VonMisesFisher(loc, concentration, *options, **named)
        return str(error.value)

    assert "-2.5" in refused(loc, torch.tensor(-2.5))
    assert "-2.5" in refused(loc, -2.5)
    assert "nan" in refused(loc, torch.tensor([1.0, math.nan]))
    assert "inf" in refused(loc, torch.tensor(math.inf))
    assert "0.9" in refused(torch.tensor([0.9, 0, 0]), one)
    assert "1.0001" in refused(torch.tensor([1.0001, 0, 0]), one)
    assert "nan" in refused(torch.full((3,), math.nan), one)
    assert "(1,)" in refused(torch.ones(1), one)
    assert "(2, 4)" in refused(loc.expand(2, 4), torch.ones(3))
    assert "torch.float64" in refused(loc, one.double())
    assert "implict" in refused(loc, one, "implict")
    assert "rejecting" in refused(loc, one, sampler="rejecting")
    assert "m = 4" in refused(loc, one, sampler="inversion")
    assert "corrected" in refused(direction(3), one.double(), "corrected", "inversion")
    assert "proposals=9" in refused(direction(3), one.double(), sampler="inversion", proposals=9)
    assert "0" in refused(loc, one, proposals=0)
    VonMisesFisher(loc * (1 + 3e-7), one)
    VonMisesFisher(loc, torch.tensor(-1.0), validate_args=False)
    for gradient in ("corrected", "score"):
        q = VonMisesFisher(loc, one, gradient)
        assert not q.has_rsample
        with pytest.raises(ValueError, match=f"gradient={gradient} needs the value"):
            q.rsample()
        assert q.sample((3,)).shape == (3, 4)
    assert VonMisesFisher(loc, one).has_rsample
    with pytest.raises(ValueError, match=r"UnitSphere(.|\n)*2\., 0"):
        VonMisesFisher(loc, one).log_prob(torch.tensor([2.0, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"R\^4 and R\^3"):
        kl_divergence(VonMisesFisher(loc, one), HypersphericalUniform(3))


@pytest.mark.parametrize("m", [3, 101])
def test_the_density_of_float32_samples_is_theirs_at_high_concentration(m):
    """Against the same points, brought to unit length in float64."""
    q = VonMisesFisher(direction(m, torch.float32), 1e6)
    x = q.sample((2000,))
    exact, loc = (torch.nn.functional.normalize(v.double(), dim=-1) for v in (x, q.loc))
    expected = VonMisesFisher(loc, 1e6).log_prob(exact)
    # what is left is the rounding of the points: 1e6 |x - mu| 6e-8 nats
    torch.testing.assert_close(q.log_prob(x).double(), expected, rtol=0, atol=2e-3 * m**0.5)


@pytest.mark.parametrize("m", [2, 5, 41])
def test_the_expected_acceptance_rate_has_its_slope(m):
    kappa = torch.tensor([0.3, 4.0, 90.0], dtype=torch.float64, requires_grad=True)
    loc = torch.eye(m, dtype=torch.float64)[0]
    assert gradcheck(lambda k: VonMisesFisher(loc, k).expected_acceptance_rate, kappa)
