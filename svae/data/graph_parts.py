"""What a file holds of a graph, and whether its parts fit together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from svae.data.archive import memory
from svae.data.links import sparse

_LARGEST = np.finfo(np.float32).max
_BYTES = 200  # of memory that a node takes, without its features


@dataclass(frozen=True)
class Parts:
    """A graph as it was read.

    `edges` (2, M) are node numbers, in any order and direction. `features` (N, F) are dense or
    sparse CSR, `labels` (N,) 0, 1, ..., which `class_names` stand for. `nodes` is N, where None it
    follows from features, labels, or else from the greatest number of an edge. `notes` say what of
    the file is not used.
    """

    edges: np.ndarray
    features: Tensor | None = None
    labels: np.ndarray | None = None
    nodes: int | None = None
    notes: tuple[str, ...] = ()
    class_names: Sequence[str] = ()

    def checked(self) -> "Parts":
        """Return the same with the number of its nodes.

        Raises:
            ValueError: when the parts are of different numbers of nodes, or there are too many.
        """
        counts = {"nodes": self.nodes}
        counts |= {name: len(part) for name, part in self._parts.items()}
        known = {name: count for name, count in counts.items() if count is not None}
        nodes = next(iter(known.values()), int(self.edges.max(initial=-1)) + 1)
        for name, count in known.items():
            if count != nodes:
                raise ValueError(f"{name} of {count} nodes, and {next(iter(known))} of {nodes}")
        if (most := memory() // _BYTES) < nodes:
            raise ValueError(f"a graph of {nodes} nodes, expected at most {most} on this machine")
        return replace(self, nodes=nodes)

    @property
    def _parts(self) -> dict:
        parts = {"features": self.features, "labels": self.labels}
        return {name: part for name, part in parts.items() if part is not None}


def feature_matrix(values: np.ndarray, name: str = "features") -> Tensor:
    """Return features (N, F), float32; sparse CSR where most are zero.

    Raises:
        ValueError: for another shape, or values that are no finite numbers.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} of shape {values.shape}, expected (N, F)")
    dense = torch.from_numpy(finite(values, name))
    is_sparse = np.count_nonzero(values) < values.size / 4
    return sparse(dense) if is_sparse else dense


def finite(values: np.ndarray, name: str) -> np.ndarray:
    """Return numbers as float32.

    Raises:
        ValueError: when they are none, or not finite in float32.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} of type {values.dtype}, expected numbers")
    if values.dtype.kind == "f" and (bad := ~(np.abs(values) <= _LARGEST)).any():
        raise ValueError(f"{name}: expected finite values, found {values[bad][0]}")
    return values.astype(np.float32)


def classes(labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return labels (N,), whole numbers or words, as 0, 1, ... in their order, and what they were.

    Raises:
        ValueError: for another shape or type.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        found = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"labels: expected whole numbers or words (N,), found {found}")
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), [*map(str, names.tolist())]
