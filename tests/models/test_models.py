"""Models: components that return distributions, with shapes that make the ELBO one line."""

import math
import re
from functools import partial

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Bernoulli, Independent, kl_divergence

from svae.models import likelihoods
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.models.likelihoods import BernoulliPixels

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _model(family, latent_dim=4, likelihood="bernoulli", **options):
    torch.manual_seed(0)
    return AutoEncoder(20, family(latent_dim), likelihood, hidden=(16, 8), **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("latent_dim", [1, 2, 10])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "heteroscedastic"])
def test_shapes(family, latent_dim, likelihood):
    model = _model(family, latent_dim, likelihood)
    x = (torch.rand(7, 20) > 0.5).float()
    posterior = model.posterior(x)
    width = latent_dim if family is NormalFamily else latent_dim + 1
    assert posterior.batch_shape == (7,)
    assert posterior.event_shape == (width,)
    draw = posterior.draw((3,))
    assert draw.value.shape == (3, 7, width)
    assert draw.proposals.shape == (3, 7)
    assert model.likelihood(draw.value).log_prob(x).shape == (3, 7)
    assert model.likelihood(draw.value).mean.shape == (3, 7, 20)
    assert kl_divergence(posterior, model.prior()).shape == (7,)
    assert model.prior().log_prob(draw.value).shape == (3, 7)
    assert model.prior().draw((5,)).value.shape == (5, width)


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_spherical_posteriors_lie_on_the_sphere_of_the_latent_dimension(family):
    posterior = _model(family, 6).posterior(torch.rand(50, 20) * 100)
    assert (posterior.loc.norm(dim=-1) - 1).abs().max() < 5e-7
    assert posterior.concentration.min() >= 1


@pytest.mark.parametrize(
    ("family", "stretch"), list(zip(FAMILIES, (1, 5**0.5, 5**0.5), strict=True))
)
def test_the_decoder_reads_components_of_variance_one(family, stretch):
    plain, model = _model(family), _model(family, unit_variance=True)
    z = model.prior().draw((20_000,), torch.Generator().manual_seed(0)).value
    read = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    found = model.likelihood(z).mean
    torch.testing.assert_close(read[0].var(0), torch.ones(z.shape[-1]), rtol=0.05, atol=0)
    plain.decoder[0].weight.data *= stretch  # one and the same family of decoders
    torch.testing.assert_close(found, plain.likelihood(z).mean)


@pytest.mark.parametrize("family", FAMILIES[1:])
@pytest.mark.parametrize(
    ("initial", "expected"),
    [(1 + math.log(2), 1 + math.log(2)), (30.5, 30.5), (1000, 1000), ("m", 21)],
)
def test_the_concentration_starts_where_it_is_told_to(family, initial, expected):
    latent = family(20, initial_concentration=initial)
    features = torch.zeros(3, latent.parameters)
    concentration = latent.posterior(features).concentration
    torch.testing.assert_close(concentration, torch.full((3,), float(expected)))


def test_the_published_concentration_is_the_default():
    latent, features = VonMisesFisherFamily(4), torch.randn(50, 6) * 10
    expected = F.softplus(features[:, -1]) + 1
    torch.testing.assert_close(latent.posterior(features).concentration, expected)


def test_gradients_of_location_and_concentration():
    torch.manual_seed(0)
    latent = VonMisesFisherFamily(3, initial_concentration=3)
    features = torch.randn(2, 6, latent.parameters).double().requires_grad_()
    assert gradcheck(latent.location_and_concentration, features)
    nothing = torch.zeros(1, latent.parameters, requires_grad=True)
    loc, concentration = latent.location_and_concentration(nothing)
    (loc.sum() + concentration.sum()).backward()
    expected = torch.tensor([[0, 0, 0, 0, torch.sigmoid(torch.tensor(latent.shift))]])
    torch.testing.assert_close(nothing.grad, expected)


@pytest.mark.parametrize("initial", [1, 0.5, -3.0, math.nan, math.inf, 1e9, 1e30, "n"])
def test_other_initial_concentrations_are_refused(initial):
    with pytest.raises(ValueError, match=re.escape(f"below 1e8 or m, got {initial}")):
        VonMisesFisherFamily(4, initial_concentration=initial)


@pytest.mark.parametrize("latent_dim", [1, 2, 10])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "vmf"])
@pytest.mark.parametrize("family", [*FAMILIES, partial(VonMisesFisherFamily, gradient="corrected")])
def test_what_has_a_gradient_was_not_altered_in_place(family, likelihood, latent_dim):
    """torch 2.11, for one, loses the gradient of what a function did alter, when it compiles."""
    model = AutoEncoder(7, family(latent_dim), likelihood, hidden=(5,))
    posterior = model.posterior(torch.rand(3, 7))
    draw = posterior.draw((1,), torch.Generator())
    observed = F.normalize(torch.ones(3, 7), dim=-1) if likelihood == "vmf" else torch.ones(3, 7)
    log_prob = model.likelihood(draw.value).log_prob(observed)
    made = [posterior.mean, *draw, kl_divergence(posterior, model.prior()), log_prob]
    if hasattr(posterior, "_moments"):
        made += posterior._moments
    made += [v for v in vars(posterior).values() if isinstance(v, torch.Tensor)]
    versions = [tensor._version for tensor in made if tensor.requires_grad]
    assert len(versions) >= 5
    assert versions == [0] * len(versions)


def test_an_isotropic_normal_has_one_deviation():
    latent = NormalFamily(5, isotropic=True)
    features = torch.randn(7, latent.parameters, requires_grad=True)
    posterior = latent.posterior(features)
    assert latent.parameters == 6
    assert posterior.event_shape == (5,)
    assert torch.equal(posterior.scale, F.softplus(features[:, -1:]).expand(7, 5))
    # the same as a diagonal one whose deviations happen to agree
    twin = NormalFamily(5).posterior(features[:, [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]])
    kl, expected = (kl_divergence(q, latent.prior(features)) for q in (posterior, twin))
    torch.testing.assert_close(kl, expected)
    (ours,), (theirs,) = (torch.autograd.grad(k.sum(), features) for k in (kl, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("width", [1, 20, 64, 784, 785, 4096])
@pytest.mark.parametrize("scale", [0.1, 6.0, 1e3, 1e6])
def test_many_pixels_are_as_likely_as_few(width, scale):
    torch.manual_seed(0)
    count = 2**18 // width
    logits = scale * torch.randn(count, width)
    x = (torch.rand(count, width) > 0.5).float()
    many = BernoulliPixels(logits).log_prob(x)
    exact = (x.double() * logits.double() - F.softplus(logits.double())).sum(-1)
    # the terms of an image are summed in float32
    error = (many - exact).abs() / logits.abs().sum(-1).clamp_min(width)
    assert error.max() < 3e-7
    few = BernoulliPixels(logits[:9]).log_prob(x[:9])
    torch.testing.assert_close(many[:9], few, rtol=1e-5, atol=1e-6 * scale * width)


def test_what_is_not_finite_is_told_of_many_pixels_too():
    logits = torch.zeros(400, 784)
    logits[0, 3], logits[1, 3], logits[2, 3] = math.nan, math.inf, -math.inf
    found = BernoulliPixels(logits, validate_args=False).log_prob(torch.ones_like(logits))
    assert found[0].isnan()
    assert found[1].isnan()  # inf - inf
    assert found[2] == -math.inf
    assert found[3:].isfinite().all()


def test_pixels_agree_with_torch():
    logits = torch.randn(5, 3, 20) * 10
    x = (torch.rand(3, 20) > 0.5).float()
    ours = BernoulliPixels(logits)
    theirs = Independent(Bernoulli(logits=logits), 1)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_gradients_of_pixels():
    torch.manual_seed(0)
    logits = (torch.randn(2, 3, 4).double() * 5).requires_grad_()
    x = torch.rand(3, 4).double().requires_grad_()

    def value(logits, x):
        return BernoulliPixels(logits).log_prob(x)

    assert gradcheck(value, (logits, x))
    assert gradgradcheck(value, (logits, x))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_never_reaches_the_latent_distribution(family):
    model = _model(family, half=True)
    x = (torch.rand(7, 20) > 0.5).float()
    posterior = model.posterior(x)
    assert posterior.loc.dtype == torch.float32
    assert posterior.draw(()).value.dtype == torch.float32
    assert model.likelihood(posterior.draw(()).value).log_prob(x).dtype == torch.float32
    # it does reach the matrix products
    full = _model(family)
    assert not torch.equal(full.posterior(x).loc, posterior.loc)
    torch.testing.assert_close(full.posterior(x).loc, posterior.loc, rtol=0.1, atol=0.1)


def test_inversion_is_refused_off_the_two_sphere():
    VonMisesFisherFamily(2, sampler="inversion")
    with pytest.raises(ValueError, match="latent_dim=2 only, got 3"):
        VonMisesFisherFamily(3, sampler="inversion")


def test_pixels_are_drawn_with_their_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([[-2.0, 0.0, 3.0], [40.0, -40.0, 1.0]])
    drawn = BernoulliPixels(logits).sample((20_000,))
    assert drawn.shape == (20_000, 2, 3)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    p = logits.sigmoid()
    z = (drawn.mean(0) - p) / (p * (1 - p) / 20_000).sqrt().clamp(min=1e-9)
    assert z.abs().max() < 5


@pytest.mark.parametrize("p", [2, 3, 10, 64])
@pytest.mark.parametrize("D", [-1e5, -100, -12, -1, 0, 5, 20])
def test_the_moment_of_a_direction_agrees_with_mpmath(p, D):
    """It is a parabolic cylinder function."""
    with mpmath.workdps(60):
        expected = mpmath.log(mpmath.pcfu(p - mpmath.mpf(1) / 2, -D)) + mpmath.loggamma(p)
        expected = float(expected - mpmath.mpf(D) ** 2 / 4)
    found = likelihoods._log_moment(p, torch.tensor(float(D), dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-10)
