"""The bounds of the stacked model against quadrature over lines and circles and all classes."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from svae.data.labels import Batch
from svae.evaluate import Settings
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.models.m1m2 import M1M2
from svae.models.of_classes import OfClasses
from svae.objectives.bounds import log_mean_exp
from svae.objectives.few_labels import label_bound, log_weights, measure

KINDS = [
    (NormalFamily, "R1"),
    (VonMisesFisherFamily, "R1"),
    pytest.param(VonMisesFisherFamily, "S1", marks=pytest.mark.slow),
]
LABELS = torch.tensor([-1, 2, -1, 0, 2])  # the last two are given


def _tiny(family, style, **options):
    """A model with z1 and z2 of one dimension and three classes, and five observations."""
    torch.manual_seed(1)
    options |= {"label_weight": 0.3, "style_concentration": 1.7, "latent_concentration": 2.0}
    model = M1M2(4, family(1), "bernoulli", 3, style, (8,), **options).double()
    for parameter in model.parameters():
        parameter.data *= 1.5
    # broad laws: the importance weights of narrow ones need not have a variance
    spreads = [model.encoder[-1], model.style_encoder.rest[-1], model.style_decoder.rest[-1]]
    laws = (model.latent, model.style, model.latent)
    for layer, law in zip(spreads, laws, strict=True):
        if isinstance(law, NormalFamily):
            layer.weight.data[-1] *= 0.1
            layer.bias.data[-1] = 1.5
    return model, (torch.rand(5, 4) > 0.5).double()


def _batch(x, given=2):
    return Batch(x, LABELS, given, 0.4 if given else 0.6)


def _grid(manifold, count):
    """Return points (count, m) and the log of the measure of each."""
    if manifold.ambient_dim == 2:
        angle = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        return torch.stack([angle.cos(), angle.sin()], -1), math.log(2 * math.pi / count)
    return torch.linspace(-9, 9, count, dtype=torch.float64)[:, None], math.log(18 / (count - 1))


def _by_quadrature(model, x, points=160):
    """Return U(x) (n,), L(x, y) (K, n) and log p(x) (n,), every integral as a sum over a grid."""
    (z1, dz1), (z2, dz2) = (_grid(f.manifold, points) for f in (model.latent, model.style))
    log_q1 = model.posterior(x).log_prob(z1[:, None])  # (z1, n)
    log_x = model.likelihood(z1[:, None]).log_prob(x)
    log_y = model.class_logits(z1).log_softmax(-1).T  # (K, z1)
    posteriors = model.style_posteriors(z1)  # (K, z1)
    log_q2 = posteriors.log_prob(z2[:, None, None])  # (z2, K, z1)
    log_prior = model.style_prior().log_prob(z2)[:, None, None]
    laws = model.latent_given(z2.expand(3, 1, *z2.shape))  # (K, 1, z2)
    log_z1 = laws.log_prob(z1[:, None]).permute(2, 0, 1)  # (K, z1, z2) as (z2, K, z1)
    style = (log_q2.exp() * (log_z1 + log_prior - log_q2)).sum(0) * math.exp(dz2)  # (K, z1)
    with_label = log_x + (style - math.log(3))[..., None] - log_q1  # (K, z1, n)
    weights = (log_q1 + dz1).exp()
    without = (log_y.exp()[..., None] * (with_label - log_y[..., None])).sum(0)
    log_joint = (log_z1 + log_prior).logsumexp(0).add(dz2).logsumexp(0) - math.log(3)  # (z1,)
    evidence = (log_x + log_joint[:, None] + dz1).logsumexp(0)
    return (weights * without).sum(0), (weights * with_label).sum(1), evidence


def _exact(model, x):
    """Return the exact bound of each observation of a batch whose last two labels are given."""
    without, with_label, _ = _by_quadrature(model, x)
    return torch.cat([without[:3], with_label[LABELS[3:], torch.arange(3, 5)]])


def test_the_concentration_of_the_style_begins_where_it_is_told():
    before = 1 + math.log(2)  # of runs that did not have the key
    for options, start in (({}, before), ({"style_concentration": "m"}, 4.0)):
        model = M1M2(4, NormalFamily(1), "bernoulli", 3, "S3", **options)
        torch.nn.init.zeros_(model.style_encoder.rest[-1].weight)
        torch.nn.init.zeros_(model.style_encoder.rest[-1].bias)
        concentrations = model.style_posteriors(torch.zeros(5, 1)).concentration
        torch.testing.assert_close(concentrations, torch.full((3, 5), start))


def test_the_concentration_of_z1_given_a_class_begins_where_it_is_told():
    for options, width, start in (
        ({"latent_concentration": 100.0}, 5, 100.0),
        ({"latent_concentration": "m"}, 5, 4.0),
        ({}, 4, 0.0),  # one vector, as runs of before have it
    ):
        model = M1M2(4, VonMisesFisherFamily(3), "bernoulli", 3, "R2", **options)
        head = model.style_decoder.rest[-1]
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        law = model.latent_given(torch.zeros(3, 5, 2))
        found = getattr(law, "laws", law).concentration.squeeze(-1)
        torch.testing.assert_close(found.flatten(), torch.full((15,), start))
        assert head.out_features == width
        is_by_muon = any(weight is head.weight for weight in model.hidden_weights())
        assert is_by_muon == (width == 5)


@pytest.mark.parametrize(("family", "style"), KINDS)
def test_the_bounds_are_those_of_quadrature(family, style):
    model, x = _tiny(family, style, unit_variance=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        exact = _exact(model, x)
        found = [label_bound(model, _batch(x), 50, generator=generator) for _ in range(40)]
    values = torch.stack([bound.value for bound in found])
    z = (values.mean(0) - exact) / (values.std(0) / math.sqrt(len(values)))
    assert z.abs().max() < 5
    assert (values.mean(0) - exact).abs().max() < 0.15


@pytest.mark.parametrize(("family", "style"), KINDS)
def test_gradients_are_those_of_quadrature(family, style):
    model, x = _tiny(family, style)
    if family is VonMisesFisherFamily:
        # a direction that is read from close to 0 turns faster than a grid sees
        model.style_decoder.rest[-1].bias.data[0] = 3.0
    parameters = list(model.parameters())

    def flat(loss):
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([gradient.flatten() for gradient in found])

    bound, alpha, share = _exact(model, x), model.label_weight, 0.4
    z1, step = _grid(model.latent.manifold, 160)
    weights = (model.posterior(x[3:]).log_prob(z1[:, None]) + step).exp()
    log_label = model.class_logits(z1).log_softmax(-1)[:, LABELS[3:]]
    exact = (1 - share) * bound[:3].mean() + share * bound[3:].mean()
    exact = -flat(exact + alpha * (weights * log_label).sum(0).mean())
    generator = torch.Generator().manual_seed(0)
    draws = [label_bound(model, _batch(x), 50, generator=generator).loss() for _ in range(40)]
    gradients = torch.stack([flat(loss) for loss in draws])
    error = gradients.std(0) / math.sqrt(len(gradients))
    assert ((gradients.mean(0) - exact).abs() / error.clamp(min=1e-7)).max() < 5
    assert exact.abs().max() > 0.05


def test_gradients_of_fixed_draws_are_finite_differences():
    model, x = _tiny(NormalFamily, "R1")
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def loss(values):
        torch.nn.utils.vector_to_parameters(values, model.parameters())
        return label_bound(model, _batch(x), 2, generator=torch.Generator().manual_seed(3)).loss(
            0.7
        )

    gradients = torch.autograd.grad(loss(flat.clone()), list(model.parameters()))
    gradient = torch.cat([values.flatten() for values in gradients])
    with torch.no_grad():
        for place in range(0, len(flat), 17):
            step = torch.zeros_like(flat)
            step[place] = 1e-6
            difference = (loss(flat + step) - loss(flat - step)) / 2e-6
            assert difference == pytest.approx(gradient[place].item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("family", "style"), KINDS)
def test_a_certain_class_makes_the_bound_that_of_its_label(family, style):
    model, x = _tiny(family, style)
    last = model.classifier[-1]
    last.weight.data.zero_()
    last.bias.data = torch.tensor([0.0, 0.0, 60.0], dtype=torch.float64)
    labels = torch.full((5,), 2)

    def bound(given):
        generator = torch.Generator().manual_seed(0)
        return label_bound(model, Batch(x, labels, given, 1.0), 3, generator=generator)

    torch.testing.assert_close(bound(0).value, bound(5).value, rtol=0, atol=1e-12)
    assert bound(5).class_kl.detach() == pytest.approx(math.log(3))
    last.bias.data.zero_()
    assert bound(0).class_kl.abs().max() < 1e-12
    assert (bound(0).value - bound(5).value).abs().min() > 1e-3


@pytest.mark.parametrize(("family", "style"), KINDS)
def test_importance_weights_average_to_the_likelihood(family, style):
    model, x = _tiny(family, style)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        _, _, evidence = _by_quadrature(model, x)
        found = measure(model, x, Settings(3_000, 999), generator)
        bound = label_bound(model, _batch(x, given=0), 2_000, generator=generator)
    assert (found["log_likelihood"] - evidence).abs().max() < 0.1
    for name in ("reconstruction", "kl", "style_kl", "class_kl"):
        torch.testing.assert_close(found[name], getattr(bound, name), atol=0.15, rtol=0)
    assert (found["reconstruction"] - found["kl"] < evidence).all()


@pytest.mark.parametrize("style", ["R2", "S2"])
def test_the_prior_of_latent_vectors_is_that_of_the_model(style):
    model, _ = _tiny(VonMisesFisherFamily, style)
    drawn = model.prior().draw((20_000,), torch.Generator().manual_seed(0)).value
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        styles = model.style_prior().draw((20_000,), generator).value
        mean = model.latent_given(styles[None]).mean.flatten(0, 1)
    error = (drawn.var(0) / len(drawn) + mean.var(0) / 20_000).sqrt()
    assert ((drawn.mean(0) - mean.mean(0)) / error).abs().max() < 5
    assert (drawn.norm(dim=-1) - 1).abs().max() < 1e-6


def test_the_loss_weighs_observations_as_the_formula_says():
    model, x = _tiny(NormalFamily, "R1")
    bound = label_bound(model, _batch(x), generator=torch.Generator().manual_seed(0))
    value = bound.reconstruction - 0.5 * bound.kl
    mean = 0.6 * value[:3].mean() + 0.4 * value[3:].mean() + 0.3 * bound.log_label.mean()
    assert bound.loss(0.5).item() == pytest.approx(-mean.item())
    assert bound.columns["elbo"].shape == (3,)
    assert bound.columns["accuracy"].shape == bound.columns["log_label"].shape == (2,)


def test_classes_that_are_all_but_excluded_are_not_computed(monkeypatch):
    model, x = _tiny(VonMisesFisherFamily, "R1")
    last = model.classifier[-1]
    last.weight.data.zero_()
    rows = []
    encode = model.style_posteriors
    monkeypatch.setattr(
        model, "style_posteriors", lambda z, c: rows.append(c.tolist()) or encode(z, c)
    )
    for logits, expected in (([0.0, -9, -12], [0, 0, 0, 1, 1, 1]), ([0.0, -20, -20], [0, 0, 0])):
        last.bias.data = torch.tensor(logits, dtype=torch.float64)
        label_bound(model, _batch(x))
        label_bound(model, _batch(x, given=0))
        with_labels, without = rows[-2:]
        assert with_labels == sorted([*expected, *([2] * 3 if logits[2] > -16 else []), 0, 2])
        assert len(without) == 5 * len({*expected, *([2] if logits[2] > -16 else [])})


def test_labels_that_are_not_given_measure_the_accuracy_and_nothing_else():
    model, x = _tiny(VonMisesFisherFamily, "R1")
    loc = model.posterior(x).loc
    right = model.class_logits(loc).argmax(-1)
    columns = []
    for labels in (right, (right + 1) % 3, right.where(torch.arange(5) < 2, -1)):
        share = (labels >= 0).double().mean().item()
        batch = Batch(x, labels, 0, share)
        columns.append(
            label_bound(model, batch, generator=torch.Generator().manual_seed(0)).columns
        )
    assert [c.pop("accuracy").mean().item() for c in columns] == pytest.approx([1.0, 0.0, 1.0])
    for name, values in columns[0].items():
        assert all(torch.equal(values, other[name]) for other in columns), name
    assert "accuracy" not in label_bound(model, Batch(x, torch.full((5,), -1), 0, 0.0)).columns


@pytest.mark.parametrize("first", [1, 4])
@pytest.mark.parametrize("hidden", [(7,), (7, 5)])
def test_a_network_of_classes_reads_the_class_beside_the_vector(first, hidden):
    torch.manual_seed(0)
    network = OfClasses(5, 4, hidden, 3).double()
    x = torch.randn(first, 2, 6, 5, dtype=torch.float64)
    codes = torch.eye(4, dtype=torch.float64)[:, None, None].expand(4, 2, 6, 4)
    weight = torch.cat([network.vector.weight, network.label.weight], -1)
    joined = torch.cat([x.expand(4, -1, -1, -1), codes], -1)
    expected = network.rest(F.linear(joined, weight, network.vector.bias).relu())
    torch.testing.assert_close(network(x), expected)
    classes = torch.tensor([3, 0, 2, 2, 1, 3])
    own = expected[classes, 0, torch.arange(6)]
    rows = x.expand(4, -1, -1, -1)[classes, 0, torch.arange(6)]
    torch.testing.assert_close(network(rows, classes), own)


def test_importance_weights_are_those_of_the_log_likelihood():
    model, x = _tiny(VonMisesFisherFamily, "R1")
    settings, seeded = Settings(20, 100), partial(torch.Generator().manual_seed, 3)
    columns = measure(model, x, settings, seeded())
    weight, log_x, draw = log_weights(model, x, 20, seeded())
    torch.testing.assert_close(log_mean_exp(weight), columns["log_likelihood"])
    torch.testing.assert_close(log_x, model.likelihood(draw.value).log_prob(x))
