"""Graphs: splits that leak nothing, a loss that is what it says, runs that continue bit for bit."""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest
from sklearn.metrics import average_precision_score, roc_auc_score

from svae.data import planetoid, sphere_graph
from svae.data.graph import normalised, sparse, split_links
from svae.metrics.ranking import auc, average_precision
from svae.models.graph import (
    GraphAutoEncoder,
    GraphConvolution,
    InnerProductEdges,
    SoftplusOfProducts,
)
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.objectives import link_loss, link_scores
from svae.recording import checkpoint
from svae.training.learner import Settings
from tests.data.test_planetoid import PUBLISHED, needs_files
from tests.support.training import save_state, train

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _random_graph(seed):
    """Node features and edges in both directions, with repetitions and self-loops."""
    random = np.random.default_rng(seed)
    nodes = int(random.integers(40, 200))
    edges = random.integers(nodes, size=(2, int(random.integers(60, 400))))
    return torch.rand(nodes, 3), edges


def _tuples(pairs):
    return {tuple(sorted(pair)) for pair in pairs.T.tolist()}


def _check_no_leak(data, edges):
    nodes = len(data.train)
    all_edges = {(i, j) for i, j in _tuples(torch.as_tensor(edges)) if i != j}
    train_edges = _tuples(data.train.edges)
    positive, negative = {}, {}
    for name in ("validation", "test"):
        pairs = getattr(data, name).pairs
        half = pairs.shape[1] // 2
        positive[name], negative[name] = _tuples(pairs[:, :half]), _tuples(pairs[:, half:])
        assert len(positive[name]) == len(negative[name]) == half
        assert (pairs[0] < pairs[1]).all()
    count = len(all_edges)
    counts = [len(train_edges), len(positive["validation"]), len(positive["test"])]
    assert counts == [count - count // 20 - count // 10, count // 20, count // 10]
    # the three hold every edge once, so none is in two of them
    assert train_edges | positive["validation"] | positive["test"] == all_edges
    assert not (negative["validation"] | negative["test"]) & all_edges
    assert not negative["validation"] & negative["test"]
    assert _tuples(data.validation.edges) == train_edges | positive["validation"]
    assert _tuples(data.test.edges) == all_edges
    # what the encoder sees: the training edges in both directions, and self-loops
    for split in (data.train, data.validation, data.test):
        seen = split.adjacency.to_dense()
        assert torch.equal(seen, seen.T)
        assert _tuples(seen.triu(1).nonzero().T) == train_edges
        assert (seen.diagonal() > 0).all()
        assert int((seen > 0).sum()) == nodes + 2 * len(train_edges)


def test_a_hundred_random_graphs_are_split_without_a_leak():
    for seed in range(100):
        values, edges = _random_graph(seed)
        _check_no_leak(split_links(values, edges, seed=seed), edges)


@needs_files
@pytest.mark.parametrize(
    ("name", "counts"), [("cora", (4488, 263, 527)), ("citeseer", (3870, 227, 455))]
)
def test_the_published_graphs_are_split_without_a_leak(name, counts):
    data = planetoid.load(name, str(PUBLISHED), split_seed=3)
    _, edges, _ = planetoid.read(PUBLISHED, name)
    _check_no_leak(data, edges)
    held = [split.pairs.shape[1] // 2 for split in (data.validation, data.test)]
    assert (data.train.edges.shape[1], *held) == counts


def test_a_split_is_drawn_by_its_seed():
    values, edges = _random_graph(0)
    prints = [split_links(values, edges, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_held_out_pairs_are_uniform():
    # of the non-edges of a small graph each is as likely as any other
    values, edges = torch.rand(12, 2), np.array([(i, j) for i in range(9) for j in range(i)]).T
    counts = torch.zeros(12, 12)
    draws = 2000
    for seed in range(draws):
        pairs = split_links(values, edges, seed=seed).test.pairs[:, 3:]
        counts[tuple(pairs)] += 1
    chosen = counts[counts > 0]
    assert len(chosen) == 12 * 11 / 2 - edges.shape[1]
    p = 3 / len(chosen)
    z = (chosen / draws - p) / math.sqrt(p * (1 - p) / draws)
    assert z.abs().max() < 5


@pytest.mark.parametrize(
    ("nodes", "edges", "words"),
    [
        (50, np.arange(38).reshape(2, 19), "a graph of 19 edges: expected at least 20 to split"),
        (50, np.zeros((2, 100), int), "a graph of 0 edges"),
        (50, np.empty((2, 0), int), "a graph of 0 edges"),
        (8, np.array([(i, j) for i in range(8) for j in range(i)]).T, "without an edge"),
        (30, np.array([[3, 4], [-2, 29]]), "an edge to node -2: the graph has 30 nodes, 0 to 29"),
        (30, np.array([[-1], [30]]), "an edge to node -1: "),
        (30, np.arange(40).reshape(2, 20), "an edge to node 39: the graph has 30 nodes"),
    ],
)
def test_a_graph_that_cannot_be_split_is_refused(nodes, edges, words):
    with pytest.raises(ValueError, match=words):
        split_links(torch.rand(nodes, 2), edges)


def test_normalisation_is_that_of_the_definition():
    edges = torch.tensor([[0, 1, 1], [1, 2, 3]])
    adjacency = torch.eye(5)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 1
    root = adjacency.sum(1).rsqrt()
    expected = root[:, None] * adjacency * root
    torch.testing.assert_close(normalised(edges, 5).to_dense(), expected)


def _values(nodes, features, layout):
    values = torch.rand(nodes, features, generator=torch.Generator().manual_seed(1))
    values[values < 0.6] = 0
    return values if layout == "dense" else sparse(values)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_convolution_is_that_of_the_definition(layout):
    edges = torch.tensor([[0, 1, 1, 2], [1, 2, 3, 3]])
    values, layer = _values(5, 4, layout), GraphConvolution(4, 3).double()
    torch.nn.init.uniform_(layer.bias)
    adjacency = torch.eye(5, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 1
    root = adjacency.sum(1).rsqrt()
    dense = values.to_dense().double()
    expected = torch.diag(root) @ adjacency @ torch.diag(root) @ dense @ layer.lin.weight.T
    ours = layer(values.double(), normalised(edges, 5).double())
    torch.testing.assert_close(ours, expected + layer.bias, rtol=1e-6, atol=1e-7)


def test_weights_start_uniform_in_their_bounds_and_biases_at_zero():
    torch.manual_seed(0)
    layer, bound = GraphConvolution(300, 200), math.sqrt(6 / 500)
    torch.manual_seed(0)
    drawn = torch.empty(2, 200, 300).uniform_(-bound, bound)
    assert torch.equal(layer.lin.weight, drawn[1])  # a seed gives the second draw
    uniform = (layer.lin.weight.detach().flatten().numpy() / bound + 1) / 2
    assert kstest(uniform, "uniform").pvalue > 1e-4
    assert not layer.bias.any()


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_convolution_has_the_bits_of_torch_geometric(layout):
    with warnings.catch_warnings():
        # it compiles its classes when it is imported
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        peer = pytest.importorskip("torch_geometric.nn")
    values, adjacency = _values(40, 30, layout), _small().train.adjacency
    found = []
    for make in (lambda: GraphConvolution(30, 9), lambda: peer.GCNConv(30, 9, normalize=False)):
        torch.manual_seed(5)
        layer = make()
        after, state = torch.rand(2), layer.state_dict()
        torch.nn.init.uniform_(layer.bias)
        output = layer(values, adjacency)
        gradients = torch.autograd.grad(output.square().sum(), layer.parameters())
        found.append((list(state), *state.values(), after, output, *gradients))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


def test_the_closest_pairs_are_joined():
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(200, 1)]
    i, j = sphere_graph.closest_pairs(points, 500)
    ours = np.linalg.norm(points[i] - points[j], axis=1)
    np.testing.assert_allclose(np.sort(ours), np.sort(distances)[:500])
    assert len(_tuples(torch.tensor(np.stack([i, j])))) == 500
    with pytest.raises(ValueError, match=r"dataset\.edges=100: 10 nodes"):
        sphere_graph.load(nodes=10, edges=100)


@pytest.mark.parametrize("distinct", [3, 50, 10**9])
def test_ranking_agrees_with_scikit_learn(distinct):
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 10, 400):
        scores = torch.randint(distinct, (count,), generator=generator).double()
        labels = torch.rand(count, generator=generator) < 0.4
        labels[0], labels[-1] = True, False
        ours = auc(scores, labels).item(), average_precision(scores, labels).item()
        theirs = roc_auc_score(labels, scores), average_precision_score(labels, scores)
        assert ours == pytest.approx(theirs, abs=1e-12)


def _model(family, features=8, **options):
    torch.manual_seed(0)
    return GraphAutoEncoder(features, family(3), hidden=(8,), **options)


def _small(negatives="all", nodes=40, edges=120):
    return sphere_graph.load(nodes=nodes, edges=edges, features=8, negatives=negatives)


@pytest.mark.parametrize("block", [1, 300, 10**6])
def test_the_sum_over_all_pairs_and_its_gradient_in_blocks(monkeypatch, block):
    monkeypatch.setattr("svae.models.graph._block", lambda _: block)
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
    graph = getattr(_small(), split)
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
    graph, model = _small().train, _model(family)
    bound = link_loss(model, graph, generator=torch.Generator().manual_seed(0))
    draw = model.posterior(graph).draw((1,), torch.Generator().manual_seed(0))
    nodes = len(graph)
    balanced = model.likelihood(draw.value).sums(graph).balanced / nodes**2
    expected = -balanced.mean() + 0.5 * bound.kl.mean() / nodes
    torch.testing.assert_close(bound.loss(0.5), expected)
    columns = bound.columns
    torch.testing.assert_close(columns["elbo"].mean(), bound.reconstruction[0] - bound.kl.mean())
    assert set(columns) >= {"elbo", "reconstruction", "kl", "loss", "proposals"}


def test_sampled_pairs_leave_the_loss_unbiased():
    data = _small("sampled")
    z = torch.randn(1, len(data.train), 4)
    edges = InnerProductEdges(z, torch.tensor(1.5))
    dense = edges.sums(_small().train)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(400):
        (graph,) = data.train.batches(generator=generator)
        assert graph.sampled.shape == graph.edges.shape
        assert (graph.sampled[0] != graph.sampled[1]).all()
        draws.append(edges.sums(graph).balanced)
    draws = torch.cat(draws).double()
    z_score = (draws.mean() - dense.balanced.item()) / (draws.std() / math.sqrt(len(draws)))
    assert abs(z_score) < 5
    # and they differ: this is an estimate
    assert draws.std() > 0


def test_sampled_pairs_are_uniform():
    data = _small("sampled", nodes=8, edges=20)
    generator = torch.Generator().manual_seed(0)
    counts, draws = torch.zeros(8, 8), 3000
    for _ in range(draws):
        (graph,) = data.train.batches(generator=generator)
        counts.index_put_(tuple(graph.sampled), torch.ones(1), accumulate=True)
    total = draws * graph.sampled.shape[1]
    p = 1 / 56
    z = (counts / total - p) / math.sqrt(p * (1 - p) / total)
    assert z[~torch.eye(8, dtype=torch.bool)].abs().max() < 5
    assert counts.diagonal().sum() == 0


def _gradient(gradient, baseline, samples, seeds):
    graph = _small().train
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


@pytest.mark.parametrize("family", FAMILIES)
def test_isolated_nodes_without_features_have_a_valid_posterior(family):
    values, edges = _random_graph(1)
    values = torch.cat([values, torch.zeros(3, 3)])
    data = split_links(sparse(values), edges)
    model = _model(family, 3)
    posterior = model.posterior(data.train)
    bound = link_loss(model, data.train)
    bound.loss().backward()
    assert torch.isfinite(posterior.loc).all()
    assert torch.isfinite(posterior.draw((5,)).value).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    if family is not NormalFamily:
        assert (posterior.loc.norm(dim=-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_sparse_and_dense_features_give_the_same(dropout):
    data = _small()
    model = _model(NormalFamily, dropout=dropout).train(False)
    thin = split_links(sparse(data.train.values), data.test.edges.numpy())
    thick = split_links(data.train.values, data.test.edges.numpy())
    torch.testing.assert_close(model.posterior(thin.train).loc, model.posterior(thick.train).loc)


def test_dropout_keeps_the_mean_of_sparse_features():
    model = _model(NormalFamily, dropout=0.3).train()
    torch.manual_seed(0)
    values = sparse((torch.rand(40, 50) > 0.5).float())
    drops = torch.stack([model._drop(values).to_dense() for _ in range(2000)])
    kept = drops[:, values.to_dense() > 0]
    z = (kept.mean(0) - 1) / math.sqrt(0.3 / 0.7 / 2000)
    assert z.abs().max() < 5
    assert drops[:, values.to_dense() == 0].abs().max() == 0


def test_networks_refuse_the_other_kind_of_data():
    with pytest.raises(ValueError, match="no likelihood bernoulli, expected edges"):
        GraphAutoEncoder(5, NormalFamily(2), likelihood="bernoulli")
    with pytest.raises(ValueError, match="precision=bf16"):
        GraphAutoEncoder(5, NormalFamily(2), half=True)


def test_posterior_means_rank_the_pairs():
    data, model = _small(), _model(VonMisesFisherFamily).eval()
    posterior = model.posterior(data.test)
    scores, is_edge = link_scores(model, posterior, data.test)
    left, right = posterior.mean[data.test.pairs[0]], posterior.mean[data.test.pairs[1]]
    torch.testing.assert_close(scores, model.log_scale.exp() * (left * right).sum(-1))
    assert is_edge.tolist() == [True] * 12 + [False] * 12


@pytest.mark.parametrize("negatives", ["all", "sampled"])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_continued_graph_run_equals_one_without_a_break(negatives, stop, tmp_path):
    data = _small(negatives)
    settings = Settings(5, 1e-2, 2, 5, 1.0, 1, objective="val/auc")

    def fresh():
        model = _model(VonMisesFisherFamily, dropout=0.4)
        return model, torch.optim.Adam(model.parameters(), lr=1e-2)

    model, optimizer = fresh()
    whole = list(train(model, optimizer, data, settings))
    again, second = fresh()
    for epoch in train(again, second, data, settings):
        if epoch.number == stop:
            break
    tensors = checkpoint.tensors(again, second)
    rows = [{"epoch": n, "seconds": 1.0} for n in range(1, stop + 1)]
    best = {"model": tensors["model"], "epoch": 1, "features": 6, "likelihood": "edges"}
    state = checkpoint.State(tensors, epoch, rows, 0, best)
    path = save_state(tmp_path, state)
    third, optimizer = fresh()
    last = checkpoint.restore(path, third, optimizer).epoch
    torch.rand(7)  # whatever else draws from torch's own generator changes nothing
    rest = list(train(third, optimizer, data, settings, last))
    for ours, theirs in zip(rest, whole[stop:], strict=True):
        drop = {"seconds": 0}
        assert {**ours.metrics, **drop} == {**theirs.metrics, **drop}
    for a, b in zip(third.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
