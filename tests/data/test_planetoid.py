"""Citation graphs: nothing is read unverified, and what is read is the published graph."""

import hashlib
import os
import pickle
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from svae.data import planetoid
from svae.data.links import sparse

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "planetoid"
needs_files = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason=f"the published files of Cora and Citeseer are not in {PUBLISHED}",
)

# today's names in pickles -> those in the published files, which Python 2 wrote
OLD_NAMES = {
    b"cbuiltins\n": b"c__builtin__\n",
    b"cnumpy._core.multiarray\n": b"cnumpy.core.multiarray\n",
    b"cscipy.sparse._csr\n": b"cscipy.sparse.csr\n",
}


def _pickled(content) -> bytes:
    """Return `content` as Python 2 would have: its names in protocol 2, but bytes as of 3."""
    pickled = b"\x80\x02" + pickle.dumps(content, protocol=3)[2:]
    for new, old in OLD_NAMES.items():
        pickled = pickled.replace(new, old)
    return pickled


def _graph(nodes=560) -> tuple[np.ndarray, np.ndarray, dict[int, list[int]]]:
    """Return features, labels one-hot, and each node's neighbours, some twice or itself."""
    random = np.random.default_rng(0)
    features = (random.random((nodes, 12)) > 0.7).astype(np.float32)
    labels = np.eye(3, dtype=np.int32)[random.integers(3, size=nodes)]
    neighbours = defaultdict(list)
    for i, j in random.integers(nodes - 5, size=(1500, 2)).tolist():  # the last five are isolated
        neighbours[i].append(j)
        neighbours[j].append(i)
    return features, labels, {i: neighbours[i] for i in range(nodes)}


def write_graph(folder: Path, name="cora", missing=()) -> dict[str, str]:
    """Write a generated graph as the files of `name`; return their hashes.

    Its last 20 nodes are for the test, in random order; of those in `missing` no row is written.
    """
    from scipy.sparse import csr_matrix

    features, labels, neighbours = _graph()
    test = len(features) - 20
    index = np.random.default_rng(1).permutation(np.setdiff1d(test + np.arange(20), missing))
    contents = {
        "x": csr_matrix(features[:10]),
        "allx": csr_matrix(features[:test]),
        "tx": csr_matrix(features[index]),
        "y": labels[:10],
        "ally": labels[:test],
        "ty": labels[index],
        "graph": defaultdict(list, neighbours),
    }
    for part, content in contents.items():
        (folder / f"ind.{name}.{part}").write_bytes(_pickled(content))
    (folder / f"ind.{name}.test.index").write_text("".join(f"{i}\n" for i in index))
    files = sorted(folder.glob(f"ind.{name}.*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("layout", ["", "Cora/raw"])
def test_files_are_found_in_both_layouts(tmp_path, layout):
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    hashes = write_graph(folder)
    assert planetoid.find("cora", str(tmp_path)) == folder
    features, edges, labels, unlabelled = planetoid.read(folder, "cora", hashes)
    assert features.shape == (560, 12)
    assert features.layout == torch.sparse_csr
    assert labels.shape == (560,)
    assert sorted(unlabelled.tolist()) == [*range(540, 560)]
    assert edges.max() < 555


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("this-ran",)


def test_an_altered_file_is_refused_before_it_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hashes = write_graph(tmp_path)
    (tmp_path / "ind.cora.graph").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ValueError, match=r"ind\.cora\.graph: hash .*not the published file"):
        planetoid.read(tmp_path, "cora", hashes)
    assert not Path("this-ran").exists()
    # the file would have run, had it been read
    pickle.loads((tmp_path / "ind.cora.graph").read_bytes())
    assert Path("this-ran").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (_Evil(), f"{os.name}.mkdir"),
        (OrderedDict(), "collections.OrderedDict"),
        (np.float64(1), "numpy.core.multiarray.scalar"),
    ],
)
def test_not_even_a_file_of_the_right_hash_names_anything_else(
    tmp_path, monkeypatch, content, named
):
    monkeypatch.chdir(tmp_path)
    hashes = write_graph(tmp_path)
    file = tmp_path / "ind.cora.graph"
    file.write_bytes(_pickled(content))
    hashes[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"a pickle names {named}, expected only"):
        planetoid.read(tmp_path, "cora", hashes)
    assert not Path("this-ran").exists()


def _by_torch_geometric(folder, name):
    with warnings.catch_warnings():
        # it compiles its classes when it is imported, and the pickles are of old numpy
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("torch_geometric.io")
        graph = peer.read_planetoid_data(str(folder), name)
    return sparse(graph.x), graph.edge_index, graph.y, graph.test_mask.nonzero().flatten()


def _assert_equal_bits(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype, a.layout) == (b.shape, b.dtype, b.layout)
    for part in (torch.Tensor.crow_indices, torch.Tensor.col_indices, torch.Tensor.values):
        assert torch.equal(part(ours[0]), part(theirs[0]))
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("name", "missing"), [("cora", []), ("citeseer", [545, 546, 558])])
def test_a_graph_is_read_as_by_torch_geometric(tmp_path, name, missing):
    hashes = write_graph(tmp_path, name=name, missing=missing)
    _assert_equal_bits(planetoid.read(tmp_path, name, hashes), _by_torch_geometric(tmp_path, name))


@needs_files
@pytest.mark.parametrize("name", ["cora", "citeseer"])
def test_the_published_graphs_are_read_as_by_torch_geometric(name):
    _assert_equal_bits(planetoid.read(PUBLISHED, name), _by_torch_geometric(PUBLISHED, name))


@pytest.mark.parametrize(("name", "missing"), [("cora", []), ("citeseer", [545, 546, 558])])
def test_what_was_written_is_read(tmp_path, name, missing):
    features, edges, labels, unlabelled = planetoid.read(
        tmp_path, name, write_graph(tmp_path, name=name, missing=missing)
    )
    written, one_hot, neighbours = _graph()
    classes = one_hot.argmax(1)
    written[missing], classes[missing] = 0, 0
    np.testing.assert_array_equal(features.to_dense(), written)
    np.testing.assert_array_equal(labels, classes)
    assert sorted(unlabelled.tolist()) == sorted({*range(540, 560)} - {*missing})
    expected = {(i, j) for i, row in neighbours.items() for j in row if i != j}
    assert edges.T.tolist() == [[i, j] for j, i in sorted((j, i) for i, j in expected)]


def test_a_hash_may_be_that_of_a_git_blob(tmp_path):
    (tmp_path / "a").write_bytes(b"what is up, doc?")
    planetoid._verify(tmp_path / "a", "git:bd9dbf5aae1a3862dd1526723246b20206e5fc37")
    with pytest.raises(ValueError, match="hash git:bd9d"):
        planetoid._verify(tmp_path / "a", "git:" + "0" * 40)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Every connection is refused, and the cache is empty."""
    import socket

    def refuse(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("missing", [["ally"], ["tx", "graph"], list(planetoid.PARTS)])
def test_without_a_network_what_is_missing_is_told_with_what_to_do(tmp_path, missing):
    write_graph(tmp_path)
    for part in missing:
        (tmp_path / f"ind.cora.{part}").unlink()
    with pytest.raises(ValueError, match="dataset=cora") as error:
        planetoid.load("cora", root=str(tmp_path))
    text = str(error.value)
    assert "\n" not in text
    names = ", ".join(f"ind.cora.{part}" for part in planetoid.PARTS if part in missing)
    assert text.startswith(f"dataset=cora: {names}: neither in {tmp_path} nor")
    assert all(words in text for words in ("ind.cora.{tx,allx,", "unreachable", "dataset.root"))
    assert all(mirror in text for mirror in planetoid.MIRRORS)


@pytest.mark.usefixtures("no_network")
def test_the_cache_needs_no_network_and_keeps_nothing_altered(tmp_path, monkeypatch):
    cache = tmp_path / "cache" / "svae" / "planetoid"
    cache.mkdir(parents=True)
    monkeypatch.setattr(planetoid, "HASHES", write_graph(cache))
    assert planetoid.find("cora") == planetoid.find("cora", str(tmp_path)) == cache
    (cache / "ind.cora.tx").write_bytes(b"altered")
    with pytest.raises(ValueError, match=r"hash .*not the published file; .*unreachable"):
        planetoid.find("cora")
    assert not (cache / "ind.cora.tx").exists()


@pytest.mark.usefixtures("no_network")
def test_the_second_mirror_serves_when_the_first_does_not(tmp_path, monkeypatch):
    source, cache = tmp_path / "source", tmp_path / "svae"
    source.mkdir()
    hashes = write_graph(source)
    asked = []

    def fetch(url, file, folder, seconds):
        asked.append(url)
        if url.startswith(planetoid.MIRRORS[0]):
            raise OSError("no such host")
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes((source / file).read_bytes())

    monkeypatch.setattr(planetoid, "_fetch", fetch)
    planetoid._download("cora", cache, tmp_path)
    assert len(asked) == 2 * len(planetoid.PARTS)
    assert planetoid.read(cache, "cora", hashes)[0].shape == (560, 12)


def test_another_graph_is_refused():
    with pytest.raises(ValueError, match=r"dataset\.name=core: expected one of cora"):
        planetoid.load("core")


@needs_files
@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "isolated"),
    [("cora", 2708, 1433, 5278, 0), ("citeseer", 3327, 3703, 4552, 48)],
)
def test_the_published_graphs(name, nodes, features, edges, isolated):
    values, links, labels, unlabelled = planetoid.read(PUBLISHED, name)
    assert values.shape == (nodes, features)
    assert len(labels) == nodes
    assert len(unlabelled.unique()) == 1000
    once = links[:, links[0] < links[1]]
    assert len(once.T.unique(dim=0)) == edges
    assert nodes - len(links.unique()) == isolated
