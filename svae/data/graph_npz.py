"""A graph in an .npz file.

| key | what it holds |
|---|---|
| `edges` | node numbers (2, E) or (E, 2), from 0 up |
| `adjacency` | in place of `edges`: (N, N), an edge where a number is not 0 |
| `features` | numbers (N, F) |
| `feature_indptr`, `feature_indices`, `feature_data`, `shape` | the same as CSR, and (N, F) |
| `labels` | whole numbers or words (N,) |
| `nodes` | N, where neither features nor labels nor edges say it |

Only `edges` or `adjacency` is needed. What `scipy.sparse.save_npz` writes is an adjacency.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from svae.data.archive import reading, unpacked
from svae.data.graph_parts import Parts, classes, feature_matrix, finite
from svae.data.links import sparse

_CSR = ("feature_indptr", "feature_indices", "feature_data", "shape")
_KEYS = ("edges", "adjacency", "features", *_CSR, "labels", "nodes")
_SCIPY = {"indices", "indptr", "format", "shape", "data"}
_SCIPY_COO = {"row", "col", "format", "shape", "data"}


def read(path: Path) -> Parts:
    """Return what the file holds.

    Raises:
        ValueError: when it cannot be read, or holds something else.
    """
    with reading(path, ".npz"):
        arrays = unpacked(path)
    try:
        if "format" in arrays:
            return _scipy(arrays)
        return _parts(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parts(arrays: dict[str, np.ndarray]) -> Parts:
    if unknown := sorted(set(arrays) - set(_KEYS)):
        raise ValueError(f"unknown key {unknown[0]}, expected {', '.join(_KEYS)}")
    if len({"edges", "adjacency"} & set(arrays)) != 1:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"expected either edges or adjacency, found {found}")
    labels, class_names = classes(arrays["labels"]) if "labels" in arrays else (None, [])
    nodes = _nodes(arrays["nodes"]) if "nodes" in arrays else None
    notes = ()
    if "edges" in arrays:
        edges = _edges(arrays["edges"])
    else:
        edges, nodes, notes = _of_adjacency(arrays["adjacency"])
    return Parts(
        edges,
        _features(arrays),
        labels,
        nodes,
        notes,
        class_names,
    )


def _nodes(array: np.ndarray) -> int:
    if array.ndim or array.dtype.kind not in "iu" or array < 1:
        raise ValueError(f"nodes={array}: expected a whole number from 1 up")
    return int(array)


def _edges(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or 2 not in array.shape:
        raise ValueError(f"edges of shape {array.shape}, expected (2, E) or (E, 2)")
    if array.dtype.kind not in "iu":
        raise ValueError(f"edges of type {array.dtype}, expected whole numbers")
    return (array if len(array) == 2 else array.T).astype(np.int64)


def _of_adjacency(array: np.ndarray) -> tuple[np.ndarray, int, tuple[str, ...]]:
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"adjacency of shape {array.shape}, expected (N, N)")
    weights = finite(array, "adjacency")
    rows, columns = np.nonzero(weights)
    return np.stack([rows, columns]), len(array), _of_weights(weights[rows, columns])


def _of_weights(weights: np.ndarray) -> tuple[str, ...]:
    """Say that weights other than 1 are not used, where there are some."""
    return () if (weights == 1).all() else ("weights are not used",)


def _features(arrays: dict[str, np.ndarray]) -> Tensor | None:
    given = [key for key in _CSR if key in arrays]
    if not given:
        return feature_matrix(arrays["features"]) if "features" in arrays else None
    if "features" in arrays or len(given) < len(_CSR):
        raise ValueError(f"found {given[0]}, expected features alone, or all of {', '.join(_CSR)}")
    shape = arrays["shape"]
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or not _fits(shape):
        raise ValueError(f"shape={shape.tolist()}: expected two whole numbers, N and F")
    parts = (arrays[key] for key in _CSR[:3])
    return _csr(*parts, tuple(shape.tolist()), "feature")


def _fits(shape: np.ndarray) -> bool:
    return bool(((shape > 0) & (shape < 2**31)).all())


def _csr(indptr, indices, data, shape: tuple[int, int], name: str) -> Tensor:
    """Return a matrix of `shape` as sparse CSR, float32, columns in order and each once."""
    rows, columns = shape
    for key, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name}_{key}: expected whole numbers, found {array.dtype}")
    for key, array in (("indptr", indptr), ("indices", indices), ("data", data)):
        if array.ndim != 1:
            raise ValueError(f"{name}_{key} of shape {array.shape}, expected one axis")
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    if len(indptr) != rows + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError(f"{name}_indptr: expected {rows + 1} numbers that rise from 0")
    if not len(indices) == len(data) == indptr[-1]:
        found = f"{len(indices)} indices and {len(data)} values"
        raise ValueError(f"{name}_indptr: ends at {indptr[-1]}, and there are {found}")
    if len(indices) and not 0 <= indices.min() <= indices.max() < columns:
        bad = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"{name}_indices: expected 0 to {columns - 1}, found {bad}")
    numbers = np.repeat(np.arange(rows), np.diff(indptr))
    index = torch.from_numpy(np.stack([numbers, indices]))
    values = torch.from_numpy(finite(data, f"{name}_data"))
    return sparse(torch.sparse_coo_tensor(index, values, shape, check_invariants=False))


def _scipy(arrays: dict[str, np.ndarray]) -> Parts:
    """Return the graph of an adjacency that `scipy.sparse.save_npz` has written."""
    kind = "".join(str(part) for part in arrays["format"].astype("U").flat)
    keys = _SCIPY_COO if kind == "coo" else _SCIPY
    if kind not in ("csr", "csc", "coo") or not keys <= set(arrays):
        raise ValueError(f"a sparse matrix of format {kind}, expected csr, csc or coo")
    shape = tuple(arrays["shape"].flatten().tolist())
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"a sparse matrix of shape {shape}, expected (N, N)")
    if kind == "coo":
        edges, weights = _edges(np.stack([arrays["row"], arrays["col"]])), arrays["data"]
        weights = finite(weights, "data")
        if edges.shape[1] != len(weights):
            raise ValueError(f"{edges.shape[1]} pairs and {len(weights)} values")
        edges, weights = edges[:, weights != 0], weights[weights != 0]
    else:  # of edges without direction the columns may stand for the rows
        matrix = _csr(arrays["indptr"], arrays["indices"], arrays["data"], shape, "matrix")
        edges, weights = matrix.to_sparse_coo().indices().numpy(), matrix.values().numpy()
        edges, weights = edges[:, weights != 0], weights[weights != 0]
    return Parts(edges, nodes=shape[0], notes=_of_weights(weights))
