"""Citation graphs: nothing is read unverified, and what is read is the published graph."""

import hashlib
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from svae.data import planetoid

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "planetoid"
needs_files = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason=f"the published files of Cora and Citeseer are not in {PUBLISHED}",
)


def write_graph(folder: Path, nodes=560, seed=0) -> dict[str, str]:
    """Write a generated graph as the files of Cora; return their hashes."""
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(seed)
    features = csr_matrix((random.random((nodes, 12)) > 0.7).astype(np.float32))
    labels = np.eye(3, dtype=np.int32)[random.integers(3, size=nodes)]
    neighbours = defaultdict(list)
    for i, j in random.integers(nodes - 5, size=(1500, 2)).tolist():  # the last five are isolated
        neighbours[i].append(j)
        neighbours[j].append(i)
    test = nodes - 20
    contents = {
        "x": features[:10],
        "allx": features[:test],
        "tx": features[test:],
        "y": labels[:10],
        "ally": labels[:test],
        "ty": labels[test:],
        "graph": defaultdict(list, {i: neighbours[i] for i in range(nodes)}),
    }
    for part, content in contents.items():
        (folder / f"ind.cora.{part}").write_bytes(pickle.dumps(content, protocol=2))
    index = "".join(f"{i}\n" for i in range(test, nodes))
    (folder / "ind.cora.test.index").write_text(index)
    files = sorted(folder.glob("ind.cora.*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("layout", ["", "Cora/raw"])
def test_files_are_found_in_both_layouts(tmp_path, layout):
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    hashes = write_graph(folder)
    assert planetoid.find("cora", str(tmp_path)) == folder
    features, edges, labels = planetoid.read(folder, "cora", hashes)
    assert features.shape == (560, 12)
    assert features.layout == torch.sparse_csr
    assert labels.shape == (560,)
    assert edges.max() < 555


class _Evil:
    def __reduce__(self):
        return Path.touch, (Path("this-ran"),)


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
def test_without_a_network_a_missing_file_is_told_with_what_to_do(tmp_path):
    write_graph(tmp_path)
    (tmp_path / "ind.cora.ally").unlink()
    with pytest.raises(ValueError, match="dataset=cora") as error:
        planetoid.load("cora", root=str(tmp_path))
    text = str(error.value)
    assert "\n" not in text
    for words in (str(tmp_path), "ind.cora.{x,tx,allx,", "unreachable", "dataset.root"):
        assert words in text
    assert all(mirror in text for mirror in planetoid.MIRRORS)


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
    values, links, labels = planetoid.read(PUBLISHED, name)
    assert values.shape == (nodes, features)
    assert len(labels) == nodes
    once = links[:, links[0] < links[1]]
    assert len(once.T.unique(dim=0)) == edges
    assert nodes - len(links.unique()) == isolated
