"""What is said about a latent space that is not used."""

import pytest
import torch

from svae.data.splits import Split
from svae.evaluate import Settings, evaluate, latents, usage
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _usage(model):
    split = Split((torch.rand(200, 20, generator=torch.Generator().manual_seed(0)) > 0.5).float())
    generator = torch.Generator().manual_seed(1)
    results = evaluate(model, split, Settings(importance_samples=2), generator)
    loc = latents(model, split, generator)["loc"]
    return usage(results["test/kl"], loc, has_axes=model.latent.manifold.has_axes)


@torch.no_grad()
def _collapsed(family):
    """A model of forty dimensions whose posterior is the prior, or as close as it can be."""
    model = AutoEncoder(20, family(40), hidden=(8,))
    model.encoder[-1].weight.zero_()
    model.encoder[-1].bias.zero_()
    if family is NormalFamily:
        model.encoder[-1].bias[40:] = 0.5413  # softplus of it is 1
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_posterior_that_is_the_prior_has_collapsed(family):
    assert _usage(_collapsed(family))["collapse"] == "posterior"


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_posterior_that_tells_much_has_not(family):
    model = _collapsed(family)
    features = model.encoder[-1]
    features.weight.normal_()
    features.bias[40:] = -3 if family is NormalFamily else 100
    assert _usage(model)["collapse"] == "none"


@torch.no_grad()
@pytest.mark.parametrize(("active", "expected"), [(19, "dimensions"), (20, "none")])
def test_unused_dimensions_are_counted(active, expected):
    model = _collapsed(NormalFamily)
    model.encoder[-1].weight[:active].normal_(0, 100)
    found = _usage(model)
    assert found == {"collapse": expected, "test/active_dimensions": active}


def test_the_sphere_has_no_axes_to_count():
    assert _usage(_collapsed(VonMisesFisherFamily)) == {"collapse": "posterior"}


def test_one_observation_collapses_no_dimensions():
    assert usage(5.0, torch.randn(1, 4), has_axes=True) == {"collapse": "none"}
