"""Cora, Citeseer and Pubmed in the Planetoid files: found or downloaded, verified, then read."""

import hashlib
import io
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from svae.data.download import download
from svae.data.links import sparse, split_links
from svae.data.splits import DataSet

# torch_geometric's names of the folders
FOLDERS = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
# not x and y: they are the beginning of allx and ally
PARTS = ("tx", "allx", "ty", "ally", "graph", "test.index")
MIRRORS = (
    "https://raw.githubusercontent.com/kimiyoung/planetoid/master/data",
    "https://raw.githubusercontent.com/tkipf/gcn/master/gcn/data",
)
_LONGEST = 600.0  # seconds to download a graph
# SHA-256 of the published files; of one only the SHA-1 that git knows it by
HASHES = {
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    "ind.pubmed.tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
    "ind.pubmed.allx": "git:3b86bccf08111c37c632a9dd8ab63db25ea76361",
    "ind.pubmed.ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
    "ind.pubmed.ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
    "ind.pubmed.graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
    "ind.pubmed.test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
}


def load(
    name: str,
    root: str | None = None,
    split_seed: int = 0,
    negatives: str = "all",
    mask_edges: float = 0.0,
) -> DataSet:
    """Return a citation graph, its links split by `split_seed` (see `split_links`).

    The files `ind.NAME.*` are looked for in `root` (or `root/NAME/raw`, torch_geometric's layout),
    then in the user's cache, and at last downloaded into that. Features are sparse.

    Raises:
        ValueError: when there is no such graph, or a file is altered or not to be had.

    Reference: Sen et al. 2008, "Collective classification in network data"; Yang, Cohen and
    Salakhutdinov 2016, "Revisiting semi-supervised learning with graph embeddings".
    """
    if name not in FOLDERS:
        raise ValueError(f"dataset.name={name}: expected one of {', '.join(FOLDERS)}")
    features, edges, labels, unlabelled = read(find(name, root), name)
    options = {"seed": split_seed, "negatives": negatives, "mask_edges": mask_edges}
    return split_links(features, edges.numpy(), labels, unlabelled, **options)


def read(folder: Path, name: str, hashes: Mapping[str, str] = HASHES) -> tuple:
    """Return features (N, F) sparse CSR, edges (2, E), labels (N,) and the nodes of the test set.

    Edges stand in both directions, each once, sorted by their second node, without self-loops. A
    node that is in none of the files but `graph` (Citeseer has 15) has zero features and class 0.

    Nothing is unpickled before every file has been found to have its hash in `hashes`: by file
    name, SHA-256 in hexadecimal or `git:` and the SHA-1 of the file as a git blob. The pickles
    are read without importing anything that they name.

    Raises:
        ValueError: when a file is missing or not the one that the hash belongs to, or a pickle
            names what those of the published files do not.
    """
    *pickles, test = [_verify(folder / file, hashes[file]) for file in _files(name)]
    tx, allx, ty, ally, graph = map(_Unpickler.read, pickles)
    index = np.array([int(number) for number in test.split()])
    features = _rows(allx.toarray(), tx.toarray(), index)
    labels = _rows(ally, ty, index).argmax(1)
    edges = _edges(graph, len(labels))
    arrays = (edges, labels, np.sort(index))
    return sparse(torch.from_numpy(features)), *map(torch.from_numpy, arrays)


def _rows(known: np.ndarray, test: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the rows of all nodes: `known`, then those of `test` at `index`; others are zero."""
    rows = np.zeros((index.max() + 1, known.shape[1]), np.float32)
    rows[: len(known)] = known
    rows[index] = test
    return rows


def _edges(graph: Mapping[int, list[int]], nodes: int) -> np.ndarray:
    """Return the distinct edges (2, E) of a node's neighbours, sorted, without self-loops."""
    i, j = np.array([(i, j) for i, neighbours in graph.items() for j in neighbours]).T
    codes = np.unique((j * nodes + i)[i != j])
    return np.stack([codes % nodes, codes // nodes])


class _Matrix:
    """What the files hold of a scipy matrix: `data`, `indices`, `indptr` and `_shape`."""

    def toarray(self) -> np.ndarray:
        dense = np.zeros(self._shape, self.data.dtype)
        rows = np.repeat(np.arange(len(dense)), np.diff(self.indptr))
        dense[rows, self.indices] = self.data
        return dense


def _dtype(name: str, align: int, copy: int) -> np.dtype:
    return np.dtype(name, bool(align), bool(copy))


class _Unpickler(pickle.Unpickler):
    """Reads the published pickles and no others: each name stands for what is in the table."""

    # Python 2's names, and modules that numpy and scipy have moved since
    NAMES = {
        ("__builtin__", "list"): list,
        ("collections", "defaultdict"): defaultdict,
        ("numpy", "dtype"): _dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy.core.multiarray", "_reconstruct"): np.ndarray.__new__,
        ("scipy.sparse.csr", "csr_matrix"): _Matrix,
    }

    @classmethod
    def read(cls, content: bytes):
        # Python 2's strings hold bytes
        return cls(io.BytesIO(content), encoding="latin1").load()

    def find_class(self, module: str, name: str):
        if (module, name) not in self.NAMES:
            known = ", ".join(".".join(pair) for pair in self.NAMES)
            raise ValueError(f"a pickle names {module}.{name}, expected only {known}")
        return self.NAMES[module, name]


def find(name: str, root: str | None = None) -> Path:
    """Return a folder with all files of a graph: below `root`, the cache, or freshly downloaded.

    Raises:
        ValueError: when there is none and the download fails; says why and what to put where.
    """
    import pooch

    cache = Path(pooch.os_cache("svae")) / "planetoid"
    given = cache if root is None else Path(os.path.expanduser(root))
    for folder in (given, given / FOLDERS[name] / "raw"):
        if folder != cache and all((folder / file).is_file() for file in _files(name)):
            return folder
    _download(name, cache, given)
    return cache


def _files(name: str) -> list[str]:
    return [f"ind.{name}.{part}" for part in PARTS]


def _verify(path: Path, expected: str) -> bytes:
    """Return what is in a file, after it has been found to have the hash `expected`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if expected.startswith("git:"):
        blob = b"blob %d\0" % len(content) + content
        found = "git:" + hashlib.sha1(blob, usedforsecurity=False).hexdigest()
    else:
        found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{path}: hash {found}, expected {expected}: not the published file")
    return content


def _download(name: str, cache: Path, wanted: Path) -> None:
    """Fetch what the cache lacks from the first mirror that has it."""
    deadline = time.monotonic() + _LONGEST
    for file in _files(name):
        reasons = []
        for mirror in MIRRORS:
            try:
                # so that another mirror has its turn
                half = (deadline - time.monotonic()) / 2
                _fetch(f"{mirror}/{file}", file, cache, half)
                break
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                reasons.append(f"{mirror}: {_reason(error)}")
        else:
            lacking = _lacking(name, wanted) or [file]
            all_of = f"ind.{name}.{{{','.join(PARTS)}}}"
            raise ValueError(
                f"dataset={name}: {', '.join(lacking)}: neither in {wanted} nor to be downloaded "
                f"({'; '.join(reasons)}); expected all of {all_of} in one folder, given as "
                "dataset.root"
            )


def _lacking(name: str, folder: Path) -> list[str]:
    """Return the files that are not in a folder, or where torch_geometric has them below it."""
    places = (folder, folder / FOLDERS[name] / "raw")
    return min(([f for f in _files(name) if not (p / f).is_file()] for p in places), key=len)


def _fetch(url: str, file: str, cache: Path, seconds: float) -> None:
    """Download a file, unless the cache has it; what is not the published one is not kept."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    # it does not verify the file: it knows no hash of git's
    pooch.retrieve(url, None, file, cache, downloader=partial(download, seconds=seconds))
    try:
        _verify(cache / file, HASHES[file])
    except ValueError:
        (cache / file).unlink()
        raise


def _reason(error: Exception) -> str:
    """Return the innermost cause of a failed download, on one line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return " ".join(str(error).split()) or type(error).__name__
