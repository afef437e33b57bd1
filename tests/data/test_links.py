"""Graphs split into links to learn from and links to predict: splits that leak nothing."""

import math

import numpy as np
import pytest
import torch

from svae.data import planetoid, sphere_graph
from svae.data.links import normalised, split_links
from tests.data.test_planetoid import PUBLISHED, needs_files
from tests.support.graphs import random_graph, small, tuples


def _check_no_leak(data, edges):
    nodes = len(data.train)
    all_edges = {(i, j) for i, j in tuples(torch.as_tensor(edges)) if i != j}
    train_edges = tuples(data.train.edges)
    positive, negative = {}, {}
    for name in ("validation", "test"):
        pairs = getattr(data, name).pairs
        half = pairs.shape[1] // 2
        positive[name], negative[name] = tuples(pairs[:, :half]), tuples(pairs[:, half:])
        assert len(positive[name]) == len(negative[name]) == half
        assert (pairs[0] < pairs[1]).all()
    count = len(all_edges)
    counts = [len(train_edges), len(positive["validation"]), len(positive["test"])]
    assert counts == [count - count // 20 - count // 10, count // 20, count // 10]
    # the three hold every edge once, so none is in two of them
    assert train_edges | positive["validation"] | positive["test"] == all_edges
    assert not (negative["validation"] | negative["test"]) & all_edges
    assert not negative["validation"] & negative["test"]
    assert tuples(data.validation.edges) == train_edges | positive["validation"]
    assert tuples(data.test.edges) == all_edges
    # what the encoder sees: the training edges in both directions, and self-loops
    for split in (data.train, data.validation, data.test):
        seen = split.adjacency.to_dense()
        assert torch.equal(seen, seen.T)
        assert tuples(seen.triu(1).nonzero().T) == train_edges
        assert (seen.diagonal() > 0).all()
        assert int((seen > 0).sum()) == nodes + 2 * len(train_edges)


def test_a_hundred_random_graphs_are_split_without_a_leak():
    for seed in range(100):
        values, edges = random_graph(seed)
        _check_no_leak(split_links(values, edges, seed=seed), edges)


@needs_files
@pytest.mark.parametrize(
    ("name", "counts"), [("cora", (4488, 263, 527)), ("citeseer", (3870, 227, 455))]
)
def test_the_published_graphs_are_split_without_a_leak(name, counts):
    data = planetoid.load(name, str(PUBLISHED), split_seed=3)
    _, edges, *_ = planetoid.read(PUBLISHED, name)
    _check_no_leak(data, edges)
    held = [split.pairs.shape[1] // 2 for split in (data.validation, data.test)]
    assert (data.train.edges.shape[1], *held) == counts


def test_a_split_is_drawn_by_its_seed():
    values, edges = random_graph(0)
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


def test_the_closest_pairs_are_joined():
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(200, 1)]
    i, j = sphere_graph.closest_pairs(points, 500)
    ours = np.linalg.norm(points[i] - points[j], axis=1)
    np.testing.assert_allclose(np.sort(ours), np.sort(distances)[:500])
    assert len(tuples(torch.tensor(np.stack([i, j])))) == 500
    with pytest.raises(ValueError, match=r"dataset\.edges=100: 10 nodes"):
        sphere_graph.load(nodes=10, edges=100)


def test_sampled_pairs_are_uniform():
    data = small("sampled", nodes=8, edges=20)
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


def _as_one(graph):
    """Return the codes of the edges of a batch: hidden, visible."""
    return [tuples(edges) for edges in (graph.edges, graph.visible)]


def _messages(graph):
    """Return the pairs of distinct nodes between which messages pass."""
    return tuples(graph.adjacency.to_dense().fill_diagonal_(0).nonzero().T)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_a_hidden_edge_is_in_no_message_and_nothing_else_is_added(share):
    for seed in range(30):
        values, edges = random_graph(seed)
        data = split_links(values, edges, seed=seed, mask_edges=share)
        _check_no_leak(data, edges)
        whole = tuples(data.train.edges)
        (graph,) = data.train.batches(generator=torch.Generator().manual_seed(seed))
        hidden, visible = _as_one(graph)
        assert len(hidden) == max(1, round(share * len(whole)))
        assert hidden | visible == whole
        assert not hidden & visible
        assert _messages(graph) == visible
        torch.testing.assert_close(
            graph.adjacency.to_dense(), normalised(graph.visible, len(graph)).to_dense()
        )
        # what validates and tests hides nothing
        for split in (data.validation, data.test):
            (seen,) = split.batches(generator=torch.Generator())
            assert seen.visible is None
            assert _messages(seen) == whole


def test_each_edge_is_hidden_as_often_as_any_other():
    data, generator = small(mask_edges=0.3), torch.Generator().manual_seed(0)
    counts, draws = torch.zeros(40, 40), 2000
    for _ in range(draws):
        counts[tuple(data.train.observe(generator=generator).edges)] += 1
    chosen = counts[tuple(data.train.edges)]
    p = round(0.3 * len(chosen)) / len(chosen)
    z = (chosen / draws - p) / math.sqrt(p * (1 - p) / draws)
    assert z.abs().max() < 5


def test_hiding_edges_leaves_the_draw_of_pairs_as_it_is():
    found = [
        small("sampled", mask_edges=share).train.observe(generator=torch.Generator().manual_seed(3))
        for share in (0.0, 0.5)
    ]
    assert torch.equal(found[0].sampled, found[1].sampled)
    assert found[0].visible is None


@pytest.mark.parametrize("nodes", [40, 200])
def test_labels_to_predict_are_drawn_by_the_seed_and_apart_from_the_others(nodes):
    found = [small(nodes=nodes, split_seed=seed).test for seed in (0, 0, 1)]
    assert torch.equal(found[0].unlabelled, found[1].unlabelled)
    assert not torch.equal(found[0].unlabelled, found[2].unlabelled)
    numbers = torch.arange(nodes)[:, None]
    known, wanted = found[0].by_label(numbers)
    assert len(wanted["loc"]) == nodes // 3
    assert torch.equal(torch.cat([known["loc"], wanted["loc"]]).flatten().sort()[0], numbers[:, 0])
    for part in (known, wanted):
        assert torch.equal(part["labels"], found[0].labels[part["loc"][:, 0]])


def test_messages_along_validation_edges_have_no_test_edge_among_them():
    for seed in range(20):
        values, edges = random_graph(seed)
        data = split_links(values, edges, seed=seed)
        half = data.test.pairs.shape[1] // 2
        held_out = tuples(data.test.pairs[:, :half])
        informed = _messages(data.test.with_messages(data.validation.edges))
        assert held_out
        assert not informed & held_out
        assert informed | held_out == tuples(data.test.edges)
        assert informed - tuples(data.train.edges) == tuples(data.validation.pairs) & informed
