"""A person's own graph, from an .npz file, an edge list, or a folder of CSV files."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from svae.data import graph_npz, graph_text
from svae.data.graph_parts import Parts
from svae.data.links import sparse, split_links, unique_edges
from svae.data.splits import DataSet

FEATURELESS = ("one_hot", "degree")


def load(
    file: str,
    featureless: str = "one_hot",
    split_seed: int = 0,
    negatives: str = "all",
    mask_edges: float = 0.0,
) -> DataSet:
    """Return a graph, its links split by `split_seed` (see `split_links`).

    `file` is an .npz (see `svae.data.graph_npz`), or an edge list or a folder of CSV files (see
    `svae.data.graph_text`). Edges have neither direction nor weight, those given more than once
    count once, self-loops are dropped, nodes without edges stay. Where nodes have no features,
    `featureless` says what stands for them: "one_hot", a number of each node's own, or "degree",
    the number of its training edges, one-hot.

    Raises:
        ValueError: when the file is missing or damaged, or its parts do not fit together.
    """
    if file is None:
        raise ValueError("dataset.file=null: expected an .npz file, an edge list or a folder")
    if featureless not in FEATURELESS:
        expected = ", ".join(FEATURELESS)
        raise ValueError(f"dataset.featureless={featureless}: expected one of {expected}")
    path = Path(os.path.expanduser(file))
    parts = graph_npz.read(path) if path.suffix == ".npz" else graph_text.read(path)
    try:
        parts = parts.checked()
        data = split_links(
            _features(parts, featureless),
            parts.edges,
            None if parts.labels is None else torch.from_numpy(parts.labels),
            seed=split_seed,
            negatives=negatives,
            mask_edges=mask_edges,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return replace(data, source=_source(parts, featureless), class_names=_names(parts))


def _names(parts: Parts) -> Sequence[str]:
    """Return what labels stand for, nothing where they stand for themselves."""
    names = parts.class_names
    return () if [*names] == [*map(str, range(len(names)))] else names


def _features(parts: Parts, featureless: str) -> Tensor | int:
    """Return what `split_links` takes: features, or how many nodes have none."""
    if parts.features is not None:
        return parts.features
    if featureless == "degree":
        return parts.nodes
    ones = torch.arange(parts.nodes).expand(2, -1)
    shape = (parts.nodes, parts.nodes)
    unit = torch.ones(parts.nodes)
    return sparse(torch.sparse_coo_tensor(ones, unit, shape, check_invariants=False))


def _source(parts: Parts, featureless: str) -> str:
    """Say what was read, and what is done with it."""
    codes = unique_edges(parts.edges, parts.nodes)
    loops = int((parts.edges[0] == parts.edges[1]).sum())
    repeated = parts.edges.shape[1] - loops - len(codes)
    alone = parts.nodes - len(np.unique(np.concatenate(np.divmod(codes, parts.nodes))))
    kinds = {"one_hot": "one-hot numbers", "degree": "one-hot training degrees"}
    told = [
        f"{len(codes):,} edges without direction",
        _count(repeated, "edge given again, counted once", "edges given again, counted once"),
        _count(loops, "self-loop dropped", "self-loops dropped"),
        _count(alone, "node without edges kept", "nodes without edges kept"),
        "" if parts.features is not None else f"no features: {kinds[featureless]} of the nodes",
        "no labels" if parts.labels is None else f"{len(np.unique(parts.labels))} labels",
        *parts.notes,
    ]
    return ", ".join(filter(None, told))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}" if number else ""
