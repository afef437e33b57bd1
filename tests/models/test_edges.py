"""Edges given latent vectors: likelihoods, losses and their gradients are what they say."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from svae.models.edges import InnerProductEdges, SoftplusOfProducts
from svae.models.graph import GraphAutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.objectives import link_loss, link_scores
from tests.support.graphs import small

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _model(family, features=8, **options):
    torch.manual_seed(0)
    return GraphAutoEncoder(features, family(3), hidden=(8,), **options)


@pytest.mark.parametrize("block", [1, 300, 10**6])
def test_the_sum_over_all_pairs_and_its_gradient_in_blocks(monkeypatch, block):
    monkeypatch.setattr("svae.models.edges._block", lambda _: block)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(37, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    scale = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    naive = F.softplus(scale * z @ z.T).sum()
    ours = SoftplusOfProducts.apply(z, scale)
    torch.testing.assert_close(ours, naive)
    expected = torch.autograd.grad(naive, (z, scale))
    for a, b in zip(torch.autograd.grad(ours, (z, scale)), expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("split", ["train", "test"])
def test_likelihoods_agree_with_naive_ones(split):
    graph = getattr(small(), split)
    nodes, count = len(graph), graph.edges.shape[1]
    z = torch.randn(2, nodes, 4, dtype=torch.float64)
    sums = InnerProductEdges(z, torch.tensor(2.0, dtype=torch.float64)).sums(graph)
    target = torch.zeros(nodes, nodes, dtype=torch.float64)
    target[tuple(graph.edges)] = 1
    for sample in range(2):
        logits = 2 * z[sample] @ z[sample].T
        upper = torch.triu_indices(nodes, nodes, 1)
        expected = -F.binary_cross_entropy_with_logits(
            logits[tuple(upper)], target[tuple(upper)], reduction="sum"
        )
        torch.testing.assert_close(sums.log_prob[sample], expected)
        # Kipf and Welling's loss, as their text and code have it
        label = target + target.T + torch.eye(nodes)
        ones = 2 * count
        weight = torch.tensor((nodes**2 - ones) / ones, dtype=torch.float64)
        norm = nodes**2 / (2 * (nodes**2 - ones))
        loss = norm * F.binary_cross_entropy_with_logits(logits, label, pos_weight=weight)
        torch.testing.assert_close(-sums.balanced[sample] / nodes**2, loss)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_published_one(family):
    graph, model = small().train, _model(family)
    bound = link_loss(model, graph, generator=torch.Generator().manual_seed(0))
    draw = model.posterior(graph).draw((1,), torch.Generator().manual_seed(0))
    nodes = len(graph)
    balanced = model.likelihood(draw.value).sums(graph).balanced / nodes**2
    expected = -balanced.mean() + 0.5 * bound.kl.mean() / nodes
    torch.testing.assert_close(bound.loss(0.5), expected)
    columns = bound.columns
    torch.testing.assert_close(columns["elbo"].mean(), bound.reconstruction[0] - bound.kl.mean())
    assert set(columns) >= {"elbo", "reconstruction", "kl", "loss", "proposals"}


def test_visible_edges_are_no_part_of_the_likelihoods():
    graph = small(mask_edges=0.4).train.observe(generator=torch.Generator().manual_seed(0))
    nodes, count = len(graph), graph.edges.shape[1]
    z = torch.randn(1, nodes, 4, dtype=torch.float64)
    logits = 2 * z[0] @ z[0].T
    target, is_known = torch.zeros(nodes, nodes), torch.zeros(nodes, nodes, dtype=torch.bool)
    target[tuple(graph.edges)] = 1
    is_known[tuple(graph.visible)] = True
    ours = InnerProductEdges(z, torch.tensor(2.0, dtype=torch.float64)).sums(graph)

    def log_prob(chosen, label, **options):
        given = logits[chosen], label[chosen].double()
        return -F.binary_cross_entropy_with_logits(*given, reduction="sum", **options)

    upper = torch.ones(nodes, nodes).triu(1).bool() & ~is_known
    torch.testing.assert_close(ours.log_prob[0], log_prob(upper, target))
    pairs = ~(is_known | is_known.T)
    square, ones = int(pairs.sum()), 2 * count
    weight = torch.tensor((square - ones) / ones, dtype=torch.float64)
    whole = log_prob(pairs, target + target.T + torch.eye(nodes), pos_weight=weight)
    torch.testing.assert_close(ours.balanced[0], whole * square / (2 * (square - ones)))


@pytest.mark.parametrize("mask_edges", [0.0, 0.4])
def test_sampled_pairs_leave_the_loss_unbiased(mask_edges):
    data = small("sampled", mask_edges=mask_edges)
    z = torch.randn(1, len(data.train), 4)
    edges = InnerProductEdges(z, torch.tensor(1.5))
    exact = small(mask_edges=mask_edges).train.observe(generator=torch.Generator().manual_seed(1))
    dense = edges.sums(exact)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(400):
        (graph,) = data.train.batches(generator=generator)
        assert graph.sampled.shape == data.train.edges.shape
        graph = replace(exact, sampled=graph.sampled)
        assert (graph.sampled[0] != graph.sampled[1]).all()
        draws.append(edges.sums(graph).balanced)
    draws = torch.cat(draws).double()
    z_score = (draws.mean() - dense.balanced.item()) / (draws.std() / math.sqrt(len(draws)))
    assert abs(z_score) < 5
    # and they differ: this is an estimate
    assert draws.std() > 0


def _gradient(gradient, baseline, samples, seeds):
    graph = small().train
    rows = []
    for seed in seeds:
        torch.manual_seed(1)
        model = GraphAutoEncoder(8, VonMisesFisherFamily(3, gradient=gradient), hidden=(4,))
        generator = torch.Generator().manual_seed(seed)
        link_loss(model, graph, samples, baseline, generator).loss().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.layers.parameters()]))
    return torch.stack(rows).double()


def _largest_z(a, b):
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return float(((a.mean(0) - b.mean(0)) / error.clamp(min=1e-9)).abs().max())


@pytest.mark.parametrize(
    ("gradient", "baseline"), [("corrected", "leave_one_out"), ("score", "leave_one_out")]
)
def test_score_terms_of_the_whole_graph_leave_the_gradient_unbiased(gradient, baseline):
    exact = _gradient("implicit", "none", 50, range(20))
    ours = _gradient(gradient, baseline, 50, range(100, 180))
    assert _largest_z(exact, ours) < 5


def test_the_pathwise_gradient_alone_is_rejected_on_graphs():
    exact = _gradient("implicit", "none", 50, range(30))
    assert _largest_z(exact, _gradient("pathwise", "none", 50, range(100, 130))) > 6


def test_posterior_means_rank_the_pairs():
    data, model = small(), _model(VonMisesFisherFamily).eval()
    posterior = model.posterior(data.test)
    scores, is_edge = link_scores(model, posterior, data.test)
    left, right = posterior.mean[data.test.pairs[0]], posterior.mean[data.test.pairs[1]]
    torch.testing.assert_close(scores, model.log_scale.exp() * (left * right).sum(-1))
    assert is_edge.tolist() == [True] * 12 + [False] * 12
