"""Files that hold no graph: each is refused in one sentence."""

import numpy as np
import pytest

from svae.data import graph
from tests.data.test_graph import EDGES, FEATURES, SIDES, adjacency, as_csr, npz, write

GOOD = {"edges": EDGES, "features": FEATURES}
CSR = {"edges": EDGES, **as_csr(FEATURES)}
WRONG_ARCHIVES = {
    "unknown key edge, expected edges, adj": {"edge": EDGES},
    "expected either edges or adjacency, found features": {"features": FEATURES},
    "expected either edges or adjacency, found edges, adj": {
        "edges": EDGES,
        "adjacency": adjacency(),
    },
    r"edges of shape \(3, 78\), expected \(2, E\) or": {"edges": EDGES[[0, 1, 0]]},
    "edges of type float64, expected whole numbers": {"edges": EDGES / 1},
    "an edge to node -1: the graph has 34 nodes": {**GOOD, "edges": EDGES - 1},
    "an edge to node 34: the graph has 34 nodes, 0 to 33": {**GOOD, "edges": EDGES + 1},
    "a graph of 19 edges: expected at least 20": {"edges": EDGES[:, :19]},
    "a graph of 0 edges: expected at least 20": {"edges": np.zeros((2, 0), int)},
    r"adjacency of shape \(34, 30\), expected \(N, N\)": {"adjacency": adjacency()[:, :30]},
    "adjacency: expected finite values, found nan": {"adjacency": np.where(adjacency(), np.nan, 0)},
    "labels of 33 nodes, and features of 34": {**GOOD, "labels": SIDES[1:]},
    "labels: expected whole numbers or words .N,., found float64": {**GOOD, "labels": SIDES / 2},
    r"features of shape \(34,\), expected \(N, F\)": {**GOOD, "features": FEATURES[:, 0]},
    "features: expected finite values, found inf": {**GOOD, "features": np.full((34, 5), np.inf)},
    "features of type <U1, expected numbers": {**GOOD, "features": FEATURES.astype("U1")},
    "features of 34 nodes, and nodes of 40": {**GOOD, "nodes": 40},
    "nodes=0: expected a whole number from 1 up": {**GOOD, "nodes": 0},
    "found feature_indptr, expected features alone, or all of": {**GOOD, **CSR},
    "feature_indptr: expected 35 numbers that rise from 0": {**CSR, "feature_indptr": EDGES[0]},
    "feature_indices: expected 0 to 3, found 4": {**CSR, "shape": np.array([34, 4])},
    "feature_indptr: ends at 170, and there are 170 indices and 9 values": {
        **CSR,
        "feature_data": np.ones(9),
    },
    r"shape=\[34\]: expected two whole numbers": {**CSR, "shape": np.array([34])},
    "feature_indices: expected whole numbers, found float64": {
        **CSR,
        "feature_indices": CSR["feature_indices"] / 1,
    },
    "a graph of 9000000000000 nodes, expected at most": {
        "edges": np.array([[9 * 10**12 - 1], [0]]).repeat(30, 1)
    },
    "it holds objects": {"edges": np.array([EDGES, None], dtype=object)},
    r"a sparse matrix of shape \(34, 30\), expected \(N, N\)": {
        **dict.fromkeys(("indices", "indptr", "data"), np.ones(1)),
        "format": b"csr",
        "shape": (34, 30),
    },
    "a sparse matrix of format bsr, expected csr, csc or coo": {"format": b"bsr"},
}
WRONG_FOLDERS = {
    "expected edges.csv in the folder, found none": {"features": "1\n"},
    "edges.csv: line 2: expected two nodes, found '7'": {"edges": "1,2\n7\n"},
    "edges.csv: expected lines of two nodes each, found none": {"edges": "source,target\n"},
    "edges.csv: an edge to x, expected numbers of lines, or a column node": {"edges": "1,x\n"},
    "features.csv: line 2: 1 cells, expected 2": {"edges": "0,1\n", "features": "1,2\n3\n"},
    "features.csv: expected numbers, found 'x'": {"edges": "0,1\n", "features": "1,2\n3,x\n"},
    "features.csv: expected a line for each node, found none": {"edges": "0,1\n", "features": ""},
    "labels.csv: 2 labels of a node, expected one": {"edges": "0,1\n", "labels": "1,2\n1,3\n"},
    "features.csv: has node a twice, expected each once": {
        "edges": "a,b\n",
        "features": "node,x\na,1\na,2\n",
    },
    "edges.csv: an edge to c, which is no node": {"edges": "a,c\n", "labels": "node,x\na,1\nb,2\n"},
    "features.csv has a column node, and labels.csv has none": {
        "edges": "a,b\n",
        "features": "node,x\na,1\nb,2\n",
        "labels": "1\n2\n",
    },
    "labels.csv: node b is not in both features.csv and labels.csv": {
        "edges": "a,b\n",
        "features": "node,x\na,1\nb,2\n",
        "labels": "node,y\na,1\nc,1\n",
    },
}


def _refused(file, words, **options):
    with pytest.raises(ValueError, match=words) as error:
        graph.load(file, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("words", WRONG_ARCHIVES)
def test_an_archive_that_holds_no_graph_is_refused(tmp_path, words):
    file = npz(tmp_path, **WRONG_ARCHIVES[words])
    assert file in _refused(file, words)


@pytest.mark.parametrize("words", WRONG_FOLDERS)
def test_a_folder_that_holds_no_graph_is_refused(tmp_path, words):
    folder = write(tmp_path, **WRONG_FOLDERS[words])
    assert folder in _refused(folder, words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npz", b"no archive", "expected a readable .npz file"),
        ("x.npz", b"", "expected a readable .npz file"),
        ("x.txt", b"\xff\xfe\x00\x01", "expected a readable text file .it is no text."),
        ("x.txt", b"<graphml>\n", "line 1: expected two nodes, found '<graphml>'"),
        ("x.csv", b"a,b\n0.5,1.25\n", "line 2: expected two nodes, found the decimals 0.5 1.25"),
        ("x.gml", b"a b\n" * 30, "expected .npz, a folder, or an edge list .*csv, .edgelist, "),
        ("x.txt", b"a b\n" * 30, "a graph of 1 edges"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert name in _refused(str(tmp_path / name), words)


def test_no_file_and_another_substitute_are_refused(tmp_path):
    _refused(None, "dataset.file=null: expected an .npz file, an edge list or a folder")
    words = "dataset.featureless=age: expected one of one_hot, degree"
    _refused(npz(tmp_path, edges=EDGES), words, featureless="age")
