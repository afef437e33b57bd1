"""Latent families beyond the Gaussian and one concentration: scales, products, spherical Cauchy."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import kl_divergence

from svae import evaluate
from svae.data.splits import Split
from svae.distributions import HypersphericalUniform, ScaledVonMisesFisher
from svae.models.dense import AutoEncoder
from svae.models.latent import PowerSphericalFamily, SphericalCauchyFamily, VonMisesFisherFamily
from svae.models.product import ProductFamily
from svae.objectives import elbo, iwae

FACTORS = ["S1", "R1", "S2", "S1"]
FAMILIES = {
    "scaled": partial(VonMisesFisherFamily, scales=True),
    "spherical_cauchy": SphericalCauchyFamily,
    "product": partial(ProductFamily, factors=FACTORS),
}
WIDTHS = {"scaled": (6, 13), "spherical_cauchy": (6, 7), "product": (8, 12)}


def _model(family, **options):
    torch.manual_seed(0)
    return AutoEncoder(20, family(5), hidden=(16, 8), **options)


def _images(count=7):
    return (torch.rand(count, 20, generator=torch.Generator().manual_seed(1)) > 0.5).float()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("objective", [elbo, iwae])
def test_an_objective_has_a_gradient_in_every_parameter(name, objective):
    model = _model(FAMILIES[name], unit_variance=True)
    m, width = WIDTHS[name]
    assert (model.latent.manifold.ambient_dim, model.latent.parameters) == (m, width)
    found = objective(model, _images(), samples=3)
    assert found.kl.shape == found.reconstruction.shape == (7,)
    found.loss(0.5).backward()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_kl_is_that_of_the_densities(name):
    model, images = _model(FAMILIES[name]), _images()
    posterior, prior = model.posterior(images), model.prior()
    z = posterior.draw((20_000,)).value
    assert model.latent.manifold.contains(z)
    ratio = (posterior.log_prob(z) - prior.log_prob(z)).double()
    kl = torch.stack([elbo(model, images, 50).kl for _ in range(20)]).mean(0)
    deviation = ratio.std(0) / math.sqrt(20_000) + ratio.std(0) / math.sqrt(1_000)
    assert ((kl - ratio.mean(0)).abs() < 5 * deviation + 1e-5).all()


def test_equal_scales_are_the_model_without():
    features = torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
    options = {"initial_concentration": 5.0, "link": "softplus"}
    plain = VonMisesFisherFamily(3, **options)
    scaled = VonMisesFisherFamily(3, scales=True, **options)
    p = plain.posterior(features)
    q = scaled.posterior(torch.cat((features, torch.full((9, 4), 0.7)), -1))
    draws = [law.draw((2,), torch.Generator().manual_seed(3)).value for law in (p, q)]
    torch.testing.assert_close(*draws)
    torch.testing.assert_close(q.log_prob(draws[0]), p.log_prob(draws[0]), rtol=1e-5, atol=1e-5)
    expected = kl_divergence(p, plain.prior(features)).expand(2, 9)
    torch.testing.assert_close(q.divergence(draws[0]), expected, rtol=1e-5, atol=1e-5)
    assert scaled.summary(q)["scale_spread"].abs().max() < 1e-6


def test_a_drift_of_all_scales_changes_nothing():
    family = VonMisesFisherFamily(3, scales=True)
    features = torch.randn(9, family.parameters, generator=torch.Generator().manual_seed(2))
    drifted = torch.cat((features[:, :5], features[:, 5:] + 40), -1)
    found, expected = (family.posterior(f).log_scales for f in (drifted, features))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().max() <= 5


def test_a_product_of_one_factor_is_the_model_of_it():
    single, product = VonMisesFisherFamily(5), ProductFamily(5, ["S5"])
    models = [_model(lambda _, family=family: family) for family in (single, product)]
    found = [elbo(m, _images(), 2, generator=torch.Generator().manual_seed(4)) for m in models]
    assert torch.equal(found[0].value, found[1].value)
    assert torch.equal(
        found[0].summary["concentration_mean"], found[1].summary["concentration_mean"]
    )


def test_the_coordinates_of_a_product_are_those_of_its_manifold():
    family = ProductFamily(5, FACTORS)
    posterior = family.posterior(torch.randn(6, family.parameters))
    lengths = [part.norm(dim=-1) for part in family.manifold.split(posterior.loc)]
    for name, length in zip(FACTORS, lengths, strict=True):
        assert torch.allclose(length, torch.ones(6)) == name.startswith("S")
    assert not family.is_normalised
    assert ProductFamily(3, ["S1", "S2"]).is_normalised


@pytest.mark.parametrize("link", ["softplus", "exp"])
@pytest.mark.parametrize("start", [1.5, 100.0, "m"])
@pytest.mark.parametrize(
    "family", [VonMisesFisherFamily, PowerSphericalFamily, SphericalCauchyFamily]
)
def test_a_link_starts_where_it_is_asked_to(family, start, link):
    latent = family(4, initial_concentration=start, link=link)
    raw = torch.tensor([-3.0, 0.0, 2.0]).double().requires_grad_()
    features = torch.cat((torch.ones(3, 5).double(), raw[:, None]), -1)
    _, concentration = latent.location_and_concentration(features)
    assert concentration[1].item() == pytest.approx(5 if start == "m" else start)
    (slope,) = torch.autograd.grad(concentration.sum(), raw)
    derivative = concentration if link == "exp" else torch.sigmoid(raw + latent.shift)
    torch.testing.assert_close(slope, derivative.detach())


class _Square:
    """A model of one posterior, whose log-likelihood of nothing is a function of z."""

    latent = SimpleNamespace(summary=lambda posterior: {})

    def __init__(self, gradient, given):
        self._gradient, self._given = gradient, given

    def posterior(self, _):
        return ScaledVonMisesFisher(*self._given, gradient=self._gradient)

    def prior(self):
        return HypersphericalUniform(3)

    def likelihood(self, z):
        return SimpleNamespace(log_prob=lambda _: 4 * z[..., 0] + z[..., 1] * z[..., 2])


def _slopes(gradient, count=100_000):
    """Return the slopes of the loss in kappa and the log scales by single draws, (count, 4)."""
    torch.manual_seed(5)
    loc = torch.tensor([0.6, 0.0, 0.8]).double().expand(count, 3)
    kappa = torch.full((count,), 3.0).double().requires_grad_()
    log_scales = torch.tensor([1.0, -0.4, -0.6]).double().repeat(count, 1).requires_grad_()
    found = elbo(_Square(gradient, (loc, kappa, log_scales)), None)
    loss = found.loss(kl_weight=2.0) * count
    return torch.cat(
        [s.view(count, -1) for s in torch.autograd.grad(loss, (kappa, log_scales))], -1
    )


def _z(one, other):
    variance = (one.var(0) + other.var(0)) / len(one)
    return ((one.mean(0) - other.mean(0)) / variance.sqrt()).abs().max()


@pytest.mark.parametrize("gradient", ["corrected", "score"])
def test_the_sampled_kl_is_a_part_of_what_a_score_weighs(gradient, monkeypatch):
    exact, found = _slopes("implicit"), _slopes(gradient)
    assert _z(exact, found) < 5
    if gradient == "score":  # without it the gradient is biased
        monkeypatch.setattr("svae.objectives.bounds._with", lambda surrogate, bound: bound)
        assert _z(exact, _slopes(gradient)) > 5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_split_is_evaluated(name):
    model = _model(FAMILIES[name])
    split, source = Split(_images(30), binary=True), torch.Generator().manual_seed(0)
    found = evaluate.evaluate(model, split, evaluate.Settings(importance_samples=20), source)
    assert found["test/elbo"] < found["test/log_likelihood"] < 0
    latents = evaluate.latents(model, split, source)
    assert latents["loc"].shape == (30, WIDTHS[name][0])
    assert latents["kl"].mean().item() == pytest.approx(found["test/kl"], abs=0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ProductFamily(9, ["S4", "S4"]), r"\[S4,S4\]: have 8 dimensions .* is 9"),
        (lambda: ProductFamily(4, ["S0", "S4"]), "such as S9 or R2, got S0"),
        (lambda: ProductFamily(4, ["T4"]), "such as S9 or R2, got T4"),
        (lambda: VonMisesFisherFamily(4, link="square"), "one of softplus, exp, got square"),
        (lambda: SphericalCauchyFamily(4, 0.5), "a number above 1 .* got 0.5"),
    ],
)
def test_what_makes_no_family_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_scales_that_were_driven_far_can_come_back():
    """As they are while the weight of the KL is small; tanh would leave them no slope there."""
    family = VonMisesFisherFamily(10, scales=True)
    features = torch.randn(50, family.parameters, generator=torch.Generator().manual_seed(0))
    features[:, 12:] *= 50
    features.requires_grad_()
    posterior = family.posterior(features)
    value = posterior.draw((1,), torch.Generator().manual_seed(1)).value.detach()
    posterior.divergence(value).mean().backward()
    assert features.grad[:, 12:].norm(dim=-1).min() > 1e-4
