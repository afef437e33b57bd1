"""A person's own graph: what is read of every format, and what is refused in one sentence."""

import numpy as np
import pytest
import torch
from scipy import sparse as scipy_sparse

from svae.data import graph
from svae.data.links import split_links
from tests.support.graphs import tuples

# Zachary 1977, "An information flow model for conflict and fission in small groups": the friends of
# each of the 34 members of a karate club, who come after them
KARATE = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
EDGES = np.array([(i, j) for i, friends in KARATE.items() for j in friends]).T
SIDES = np.array([int(node in (*range(9), 10, 11, 12, 13, 16, 17, 19, 21)) for node in range(34)])
FEATURES = np.random.default_rng(0).normal(size=(34, 5))


def npz(folder, **arrays):
    np.savez(folder / "graph.npz", **arrays)
    return str(folder / "graph.npz")


def as_csr(dense):
    matrix = scipy_sparse.csr_matrix(dense)
    parts = {f"feature_{name}": getattr(matrix, name) for name in ("indptr", "indices", "data")}
    return {**parts, "shape": np.array(dense.shape)}


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return str(folder)


def _as_csv(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def _edges(data):
    return tuples(data.test.edges)


def adjacency(weight=1):
    dense = np.zeros((34, 34))
    dense[tuple(EDGES)] = weight
    return dense + dense.T


def _scipy(folder, kind):
    matrix = scipy_sparse.coo_matrix(adjacency()).asformat(kind)
    scipy_sparse.save_npz(folder / "a.npz", matrix)
    return str(folder / "a.npz")


def _edge_list(folder, text):
    (folder / "karate.edgelist").write_text(text)
    return str(folder / "karate.edgelist")


def _networkx(folder):
    networkx = pytest.importorskip("networkx")
    made = networkx.Graph()
    made.add_edges_from(EDGES.T.tolist(), weight=3.0)
    networkx.write_edgelist(made, folder / "karate.edgelist")
    return str(folder / "karate.edgelist")


FORMATS = {
    "pairs": lambda at: npz(at, edges=EDGES),
    "rows": lambda at: npz(at, edges=EDGES.T.astype(np.uint8)),
    "adjacency": lambda at: npz(at, adjacency=adjacency(0.5)),
    "csr": lambda at: _scipy(at, "csr"),
    "csc": lambda at: _scipy(at, "csc"),
    "coo": lambda at: _scipy(at, "coo"),
    "folder": lambda at: write(at, edges="source,target\n" + _as_csv(EDGES.T)),
    "edge list": lambda at: _edge_list(at, "# karate\n\n" + _as_csv(EDGES.T).replace(",", "\t")),
    "networkx": _networkx,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_split_of_the_karate_club(tmp_path, name):
    data = graph.load(FORMATS[name](tmp_path))
    expected = split_links(torch.eye(34).to_sparse_csr(), EDGES)
    assert _edges(data) == {*map(tuple, EDGES.T.tolist())}
    assert (data.data_hash, data.split_hash) == (expected.data_hash, expected.split_hash)
    assert torch.equal(data.train.values.to_dense(), torch.eye(34))
    assert data.source.startswith("78 edges without direction, ")
    assert data.source.count("no features: one-hot numbers of the nodes, no labels") == 1
    assert ("not used" in data.source) == (name in ("adjacency", "networkx"))


@pytest.mark.parametrize("kind", ["dense", "csr", "csv", "named"])
def test_features_and_labels_are_those_of_the_file(tmp_path, kind):
    words = np.array(["officer", "hi"])[SIDES]
    if kind == "dense":
        file = npz(tmp_path, edges=EDGES, features=FEATURES, labels=words)
    elif kind == "csr":
        file = npz(tmp_path, edges=EDGES, **as_csr(FEATURES), labels=1 - SIDES.astype(np.int8))
    elif kind == "csv":
        rows, sides = _as_csv(FEATURES.tolist()), _as_csv(words[:, None].tolist())
        file = write(tmp_path, edges=_as_csv(EDGES.T), features=rows, labels="label\n" + sides)
    else:
        names = [f"member {node}" for node in range(34)]
        edges = _as_csv([(names[i], names[j]) for i, j in EDGES.T])
        rows = [(name, *row) for name, row in zip(names, FEATURES.tolist(), strict=True)]
        sides = list(zip(names, words, strict=True))[::-1]
        table = "node,a,b,c,d,e\n" + _as_csv(rows)
        file = write(tmp_path, edges=edges, features=table, labels="node,side\n" + _as_csv(sides))
    data = graph.load(file)
    assert _edges(data) == {*map(tuple, EDGES.T.tolist())}
    np.testing.assert_allclose(data.train.values.to_dense(), FEATURES, rtol=1e-6)
    assert data.train.values.dtype == torch.float32
    # in the order of the words: hi, officer
    np.testing.assert_array_equal(data.test.labels, 1 - SIDES)
    assert [*data.class_names] == ([] if kind == "csr" else ["hi", "officer"])
    assert "2 labels" in data.source
    assert "no features" not in data.source


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_labels_that_are_other_numbers_are_called_by_them(tmp_path, suffix):
    labels = np.array([20, 3, 2**62])[np.arange(34) % 3]
    table = "label\n" + _as_csv(labels[:, None].tolist())
    if suffix == "npz":
        data = graph.load(npz(tmp_path, edges=EDGES, labels=labels))
    else:
        data = graph.load(write(tmp_path, edges=_as_csv(EDGES.T), labels=table))
    names = data.naming["class_names"]
    np.testing.assert_array_equal(names[data.test.labels], labels.astype(str))


def test_words_that_look_like_one_number_are_two_classes(tmp_path):
    table = "label\n" + "07\n7\n" * 17
    data = graph.load(write(tmp_path, edges=_as_csv(EDGES.T), labels=table))
    assert {*data.naming["class_names"]} == {"07", "7"}


def test_most_zeros_are_kept_sparse(tmp_path):
    thin = graph.load(npz(tmp_path, edges=EDGES, features=np.eye(34)))
    assert thin.train.values.layout == torch.sparse_csr
    thick = graph.load(npz(tmp_path, edges=EDGES, features=FEATURES))
    assert thick.train.values.layout == torch.strided


def test_directions_repetitions_and_loops_are_said_and_dropped(tmp_path):
    doubled = np.concatenate([EDGES, EDGES[::-1], EDGES[:, :5], [[3, 4], [3, 4]]], 1)
    data = graph.load(npz(tmp_path, edges=doubled))
    assert _edges(data) == {*map(tuple, EDGES.T.tolist())}
    assert "78 edges without direction, 83 edges given again, counted once" in data.source
    assert "2 self-loops dropped" in data.source


@pytest.mark.parametrize("key", ["features", "nodes", "labels", "adjacency"])
def test_nodes_without_edges_stay(tmp_path, key):
    wide = np.zeros((37, 37))
    wide[:34, :34] = adjacency()
    given = {
        "features": {"edges": EDGES, "features": np.eye(37)},
        "nodes": {"edges": EDGES, "nodes": 37},
        "labels": {"edges": EDGES, "labels": np.arange(37) % 2},
        "adjacency": {"adjacency": wide},
    }[key]
    data = graph.load(npz(tmp_path, **given))
    assert len(data.train) == 37
    assert "3 nodes without edges kept" in data.source
    assert data.train.adjacency.to_dense()[34:, 34:].equal(torch.eye(3))


def test_degrees_in_place_of_features_are_those_of_the_training_edges(tmp_path):
    data = graph.load(npz(tmp_path, edges=EDGES), featureless="degree")
    counts = torch.bincount(data.train.edges.flatten(), minlength=34)
    assert torch.equal(data.train.values.to_dense().argmax(1), counts)
    assert torch.equal(data.test.values.to_dense(), data.train.values.to_dense())
    assert not torch.equal(counts, torch.bincount(data.test.edges.flatten(), minlength=34))
    assert "no features: one-hot training degrees of the nodes" in data.source
    hashes = {graph.load(npz(tmp_path, edges=EDGES)).data_hash, data.data_hash}
    assert len(hashes) == 2


def test_a_high_degree_is_told_from_no_higher_one():
    star = np.stack([np.zeros(400, int), np.arange(1, 401)])
    values = split_links(401, star).train.values
    assert values.shape == (401, 101)
    assert values.to_dense()[0].argmax() == 100
