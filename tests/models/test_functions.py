"""Functions of models with derivatives of their own: torch.func, and second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, jacrev, vmap

from svae.models.dense import AutoEncoder
from svae.models.edges import SoftplusOfProducts
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily, direction
from svae.models.likelihoods import BernoulliPixels
from svae.models.stack import _Affine

FAMILIES = {
    "vmf": VonMisesFisherFamily,
    "exp": lambda d: VonMisesFisherFamily(d, link="exp"),
    "power_spherical": PowerSphericalFamily,
    "normal": NormalFamily,
}


class _Kl(torch.nn.Module):
    """The mean divergence from the prior, and the log density of pixels at the mean."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        posterior = self.model.posterior(x)
        kl = torch.distributions.kl_divergence(posterior, self.model.prior())
        return (self.model.likelihood(posterior.mean).log_prob(x) - kl).sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_observation_has_a_gradient_of_its_own(family):
    torch.manual_seed(0)
    whole = _Kl(AutoEncoder(6, FAMILIES[family](2), hidden=(5,)).double())
    parameters, x = dict(whole.named_parameters()), (torch.rand(4, 6) > 0.5).double()
    slopes = grad(lambda own, row: functional_call(whole, own, (row.unsqueeze(0),)))
    found = vmap(slopes, (None, 0))(parameters, x)
    for number, row in enumerate(x):
        expected = torch.autograd.grad(whole(row.unsqueeze(0)), list(parameters.values()))
        for own, right in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(own[number], right, rtol=1e-9, atol=1e-12)


def test_pixels_have_the_hessian_of_a_bernoulli_law():
    torch.manual_seed(0)
    logits, x = torch.randn(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    found = jacrev(grad(lambda own: BernoulliPixels(own).log_prob(x)))(logits)
    s = logits.sigmoid()
    torch.testing.assert_close(found, -torch.diag(s * (1 - s)))


def test_a_direction_has_the_jacobian_of_its_formula():
    torch.manual_seed(0)
    v = torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(jacrev(direction)(v), jacrev(lambda v: F.normalize(v, dim=-1))(v))
    assert not jacrev(direction)(torch.zeros(4)).any()


def test_several_models_have_the_second_derivative_of_their_maps():
    torch.manual_seed(0)
    parts = [torch.randn(s, dtype=torch.float64) for s in ((2, 3, 4), (2, 5, 4), (2, 1, 5))]
    parts = [part.requires_grad_() for part in parts]
    assert torch.autograd.gradgradcheck(_Affine.apply, parts)


@pytest.mark.parametrize(
    "function",
    [
        direction,
        lambda v: VonMisesFisherFamily(2).location_and_concentration(v)[1],
        lambda v: SoftplusOfProducts.apply(v, torch.ones((), dtype=v.dtype)),
    ],
)
def test_a_second_derivative_that_is_not_known_is_refused(function):
    torch.manual_seed(0)
    v = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(function(v).sum(), v, create_graph=True)
    assert slope.requires_grad
    with pytest.raises(NotImplementedError, match="no second"):
        slope.square().sum().backward()
