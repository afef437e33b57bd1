"""Objectives against quadrature on models whose latent space is a line or a circle."""

import math

import pytest
import torch

from svae.data.splits import Split
from svae.evaluate import Settings, evaluate
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.objectives import bounds, elbo, iwae, log_mean_exp, log_weights
from svae.objectives.bounds import _baseline

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _one_dimensional(family, **options):
    """A model with d = 1, its observations, and log p(x) of each by quadrature over the latent."""
    torch.manual_seed(3)
    model = AutoEncoder(6, family(1, **options), hidden=(16,)).double()
    for parameter in model.parameters():
        parameter.data *= 2.5
    # a broad posterior: the importance weights of a narrow one need not have a variance
    model.encoder[-1].weight.data[-1] *= 0.1
    model.encoder[-1].bias.data[-1] = 2 if family is NormalFamily else -2
    x = (torch.rand(8, 6) > 0.5).double()
    return model, x, _log_likelihood_by_quadrature(model, x)


@torch.no_grad()
def _log_likelihood_by_quadrature(model, x):
    if model.latent.manifold.ambient_dim == 2:
        angle = torch.arange(20_000, dtype=torch.float64) * (2 * math.pi / 20_000)
        z = torch.stack([angle.cos(), angle.sin()], -1)
        log_measure = torch.full((len(z),), -math.log(len(z)), dtype=torch.float64)
    else:
        z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
        log_measure = -(z[:, 0] ** 2) / 2 - 0.5 * math.log(2 * math.pi) + math.log(18 / 20_000)
    return (model.likelihood(z[:, None]).log_prob(x) + log_measure[:, None]).logsumexp(0)


@pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])
def test_importance_weights_average_to_the_likelihood(family):
    model, x, exact = _one_dimensional(family)
    weights, _, _ = log_weights(model, x, 200_000, torch.Generator().manual_seed(0))
    ratio = (weights - exact).exp()
    z = (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(len(ratio)))
    assert z.abs().max() < 5
    assert (log_mean_exp(weights) - exact).abs().max() < 0.02


def test_importance_weights_without_a_variance_average_to_the_likelihood_too():
    # the density of the Power Spherical is zero opposite its mode: a z-score has no meaning
    model, x, exact = _one_dimensional(PowerSphericalFamily)
    weights, _, _ = log_weights(model, x, 400_000, torch.Generator().manual_seed(0))
    assert (log_mean_exp(weights) - exact).abs().max() < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_agrees_with_the_likelihood_and_the_bound_lies_below(family):
    model, x, exact = _one_dimensional(family)
    settings = Settings(importance_samples=100_000, batch_size=19_999)
    result = evaluate(model, Split(x), settings, torch.Generator().manual_seed(0))
    assert result["test/log_likelihood"] == pytest.approx(float(exact.mean()), abs=0.03)
    assert result["test/elbo"] < float(exact.mean())
    assert result["test/elbo"] == pytest.approx(
        result["test/reconstruction"] - result["test/kl"], abs=1e-9
    )
    bound = elbo(model, x, 20_000, generator=torch.Generator().manual_seed(1))
    assert result["test/elbo"] == pytest.approx(bound.value.mean().item(), abs=0.1)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 10_000])
def test_evaluation_covers_every_observation_and_sample_in_pieces(batch_size):
    model, x, exact = _one_dimensional(VonMisesFisherFamily)
    settings = Settings(importance_samples=50, batch_size=batch_size)
    result = evaluate(model, Split(x[:3]), settings, torch.Generator().manual_seed(0))
    assert result["test/log_likelihood"] == pytest.approx(float(exact[:3].mean()), abs=0.6)
    assert 0.65 < result["test/acceptance_rate"] <= 1


def test_samples_are_decoded_in_pieces_and_none_is_lost(monkeypatch):
    model, x, _ = _one_dimensional(VonMisesFisherFamily)
    found = []
    for cached in (1, 3 * x.numel(), 10**9):
        monkeypatch.setattr(bounds, "_CACHED", cached)
        found.append(log_weights(model, x, 7, torch.Generator().manual_seed(0))[:2])
    for weights, likelihoods in found:
        torch.testing.assert_close(weights, found[-1][0])
        torch.testing.assert_close(likelihoods, found[-1][1])
    assert weights.shape == likelihoods.shape == (7, len(x))


def _encoder_gradient(model, x, baseline, seed, samples):
    model.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    elbo(model, x, samples, baseline, generator).loss().backward()
    return torch.cat([p.grad.flatten() for p in model.encoder.parameters()])


def _gradients(gradient, baseline="none", repeats=60, samples=2000):
    model, x, _ = _one_dimensional(VonMisesFisherFamily, gradient=gradient)
    draws = [_encoder_gradient(model, x[:2], baseline, seed, samples) for seed in range(repeats)]
    return torch.stack(draws)


def _largest_z(a, b):
    error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
    return float(((a.mean(0) - b.mean(0)) / error.clamp(min=1e-9)).abs().max())


@pytest.mark.parametrize("gradient", ["corrected", "score"])
@pytest.mark.parametrize("baseline", ["none", "mean", "leave_one_out"])
def test_score_terms_leave_the_gradient_unbiased(gradient, baseline):
    reference = _gradients("implicit")
    assert _largest_z(reference, _gradients(gradient, baseline)) < 5


def test_the_pathwise_gradient_alone_is_rejected():
    assert _largest_z(_gradients("implicit"), _gradients("pathwise")) > 10


def test_a_baseline_reduces_the_variance_of_the_score_gradient():
    plain = _gradients("score", "none", 30, 200).var(0).sum()
    better = _gradients("score", "leave_one_out", 30, 200).var(0).sum()
    assert better < 0.7 * plain


@pytest.mark.parametrize(("name", "dim"), [("mean", 1), ("leave_one_out", 0)])
def test_baselines_leave_the_own_value_out(name, dim):
    values = torch.randn(4, 5, dtype=torch.float64)
    changed = values.clone()
    changed[2, 3] += 100
    difference = _baseline(changed, name) - _baseline(values, name)
    assert abs(float(difference[2, 3])) < 1e-9
    assert int((difference.abs() > 1).sum()) == values.shape[dim] - 1


def test_the_loss_weighs_the_kl_and_the_reported_bound_does_not():
    model, x, _ = _one_dimensional(NormalFamily)
    bound = elbo(model, x, generator=torch.Generator().manual_seed(0))
    expected = -(bound.reconstruction - 0.25 * bound.kl).mean()
    torch.testing.assert_close(bound.loss(0.25), expected)
    torch.testing.assert_close(bound.value, bound.reconstruction - bound.kl)


def _loss_of_two_by_quadrature(model, x, kl_weight):
    """The importance-weighted loss of two samples, a double integral over a line or a circle."""
    z, measure = _grid(model)
    posterior = model.posterior(x)
    log_density = posterior.log_prob(z[:, None])
    log_ratio = model.prior().log_prob(z)[:, None] - log_density
    log_weight = model.likelihood(z[:, None]).log_prob(x) + kl_weight * log_ratio
    mass = log_density.exp() * measure
    pairs = torch.logaddexp(log_weight[:, None], log_weight[None]) - math.log(2)
    return -torch.einsum("ib,jb,ijb->b", mass, mass, pairs).mean()


def _grid(model, size=1200):
    if model.latent.manifold.ambient_dim == 2:
        angle = torch.arange(size, dtype=torch.float64) * (2 * math.pi / size)
        return torch.stack([angle.cos(), angle.sin()], -1), 2 * math.pi / size
    return torch.linspace(-12, 12, size, dtype=torch.float64)[:, None], 24 / (size - 1)


def _flat(loss, model):
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([loss.detach()[None], *(g.flatten() for g in gradients)])


def _off_the_bound_of_two(family, **options):
    """The largest z-score of the loss of two samples, or of a gradient of it."""
    model, x, _ = _one_dimensional(family, **options)
    x, kl_weight = x[:2], 0.7
    exact = _flat(_loss_of_two_by_quadrature(model, x, kl_weight), model)
    generator = torch.Generator().manual_seed(0)
    many = x.repeat(2000, 1)
    found = torch.stack(
        [_flat(iwae(model, many, 2, "none", generator).loss(kl_weight), model) for _ in range(60)]
    )
    error = found.std(0) / math.sqrt(len(found))
    return float(((found.mean(0) - exact) / error.clamp(min=1e-9)).abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_importance_weighted_loss_and_its_gradient_are_those_of_quadrature(family):
    assert _off_the_bound_of_two(family) < 5


def test_the_pathwise_gradient_of_the_importance_weighted_bound_is_biased():
    assert _off_the_bound_of_two(VonMisesFisherFamily, gradient="pathwise") > 10


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_importance_weighted_bound_rises_from_the_elbo_to_the_likelihood(family):
    model, x, exact = _one_dimensional(family)
    many = x.repeat_interleave(4000, 0)
    generator = torch.Generator().manual_seed(0)
    one, *more = (
        iwae(model, many, samples, generator=generator).columns["iwae"] for samples in (1, 2, 8, 64)
    )
    bound = elbo(model, many, 1, generator=generator).value
    error = ((one.var() + bound.var()) / len(many)).sqrt()
    assert (one.mean() - bound.mean()).abs() < 5 * error
    bounds = [float(values.mean()) for values in (one, *more)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < exact.mean() < bounds[-1] + 0.1


def test_the_importance_weighted_bound_reports_the_elbo_beside_it():
    model, x, _ = _one_dimensional(VonMisesFisherFamily)
    ours = iwae(model, x, 5, generator=torch.Generator().manual_seed(0))
    plain = elbo(model, x, 5, generator=torch.Generator().manual_seed(0))
    for name, values in plain.columns.items():
        torch.testing.assert_close(ours.columns[name], values)


@pytest.mark.parametrize("gradient", ["score", "corrected"])
def test_the_importance_weighted_bound_takes_no_score_term(gradient):
    model, x, _ = _one_dimensional(VonMisesFisherFamily, gradient=gradient)
    with pytest.raises(ValueError, match="without a score term"):
        iwae(model, x, 2)
