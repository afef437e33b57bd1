"""Models: components that return distributions, with shapes that make the ELBO one line."""

import pytest
import torch
from torch.distributions import Bernoulli, Independent, kl_divergence

from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.models.likelihoods import BernoulliPixels

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _model(family, latent_dim=4, likelihood="bernoulli", **options):
    torch.manual_seed(0)
    return AutoEncoder(20, family(latent_dim), likelihood, hidden=(16, 8), **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("latent_dim", [1, 2, 10])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
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


def test_pixels_agree_with_torch():
    logits = torch.randn(5, 3, 20) * 10
    x = (torch.rand(3, 20) > 0.5).float()
    ours = BernoulliPixels(logits)
    theirs = Independent(Bernoulli(logits=logits), 1)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours.mean, theirs.mean)


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
