"""Undirected graphs, split into edges to train on and held-out pairs of nodes to predict."""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from svae.data.splits import DataSet, digest

# by which part of the edges validation and test are counted: 5 % and 10 %
_VALIDATION, _TEST = 20, 10
_HIGHEST = 100  # degree that is told from higher ones
_UNLABELLED = 1000  # nodes, as many as Planetoid's


@dataclass(frozen=True)
class GraphSplit:
    """A graph of N nodes as one purpose sees it: itself the only batch.

    `values` (N, F) are the features, float32, dense or sparse CSR; `transposed` (F, N) is what they
    are in the other direction, where they are sparse. `adjacency` (N, N), sparse CSR,
    is what an encoder passes messages along: the training edges with self-loops, normalised.
    `edges` (2, E), each once with i < j, are the edges whose likelihood is measured: those of
    training, with those of validation, or all. `pairs` (2, 2P) are the held-out edges and after
    them as many non-edges. `labels` (N,) are classes of the nodes; those of the nodes `unlabelled`
    (K,) are to be predicted from the others. Where `is_sampled`, each batch brings `sampled`
    (2, E), pairs drawn uniformly, that stand for all N^2.

    With `mask_edges` above 0 each batch hides this share of the edges, drawn anew: `edges` are then
    the hidden ones, which no message passes, and `visible` the rest, along which all messages pass
    and whose likelihood is not measured.
    """

    values: Tensor
    adjacency: Tensor
    edges: Tensor
    pairs: Tensor | None = None
    labels: Tensor | None = None
    unlabelled: Tensor | None = None
    is_sampled: bool = False
    sampled: Tensor | None = None
    mask_edges: float = 0.0
    visible: Tensor | None = None
    transposed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known(self) -> dict[str, Tensor]:
        """What is known of each node, by name."""
        return {} if self.labels is None else {"labels": self.labels}

    def to(self, device: torch.device) -> "GraphSplit":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {k: v.to(device) for k, v in tensors.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def by_label(self, points: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return `loc` (K, m) and `labels` (K,) of the labelled nodes, and of the unlabelled."""
        is_known = torch.ones(len(self), dtype=torch.bool, device=points.device)
        is_known[self.unlabelled] = False
        rows = (is_known, self.unlabelled)
        known, wanted = ({"loc": points[row], "labels": self.labels[row]} for row in rows)
        return known, wanted

    def observe(
        self, index: slice = slice(None), generator: torch.Generator | None = None
    ) -> "GraphSplit":
        """Return the whole graph, with pairs and hidden edges freshly drawn where it asks."""
        sampled = self._pairs(generator) if self.is_sampled else None
        seen = self._masked(generator) if self.mask_edges else self
        return seen if sampled is None else replace(seen, sampled=sampled)

    def with_messages(self, edges: Tensor) -> "GraphSplit":
        """Return the same with messages along `edges` (2, E) and no others."""
        return replace(self, adjacency=normalised(edges, len(self)))

    def _masked(self, generator: torch.Generator | None) -> "GraphSplit":
        count = self.edges.shape[1]
        hidden = min(max(1, round(self.mask_edges * count)), count)
        order = torch.randperm(count, generator=generator, device=self.edges.device)
        visible = self.edges[:, order[hidden:]]
        return replace(
            self.with_messages(visible), edges=self.edges[:, order[:hidden]], visible=visible
        )

    def _pairs(self, generator: torch.Generator | None) -> Tensor:
        shape, device = self.edges.shape, self.edges.device
        i, j = torch.empty(shape, dtype=torch.int64, device=device).random_(generator=generator)
        i, j = i % len(self), j % (len(self) - 1)
        return torch.stack([i, j + (j >= i)])

    def batches(
        self, batch_size: int | None = None, generator: torch.Generator | None = None
    ) -> Iterator["GraphSplit"]:
        """Yield the graph once."""
        yield self.observe(generator=generator)

    def shuffled(
        self, batch_size: int | None = None, generator: torch.Generator | None = None
    ) -> Iterator[slice]:
        """Yield once what is to `observe`: the whole graph."""
        yield slice(None)


def split_links(
    values: Tensor | int,
    edges: np.ndarray,
    labels: Tensor | None = None,
    unlabelled: np.ndarray | None = None,
    *,
    seed: int = 0,
    negatives: str = "all",
    mask_edges: float = 0.0,
    data_hash: str | None = None,
) -> DataSet:
    """Split a graph's edges 85/5/10 at random into training, validation and test.

    Validation takes floor(E/20) of the E edges, test floor(E/10), each with as many non-edges, all
    distinct: no pair of nodes is in two splits, in either direction, and none is a self-loop. What
    is not in the training edges is unknown to the encoder.

    Args:
        values: (N, F), features of the nodes, dense or sparse CSR; of N nodes without features
            their number: each gets the number of its training edges, one-hot, and all that have a
            hundred or more the same.
        edges: (2, M) node numbers in any order and direction; repetitions and self-loops are
            dropped.
        labels: (N,), classes of the nodes.
        unlabelled: (K,), the nodes whose labels are to be predicted from the others; None: 1,000
            drawn by `seed`, of a small graph a third.
        seed: of the split.
        negatives: "all", the loss is over all pairs of nodes, or "sampled", over as many as edges.
        mask_edges: the share of the training edges that are hidden from the encoder in each step.
        data_hash: what tells the graph from others; None: the `digest` of all that it is made of.

    Raises:
        ValueError: when there are too few edges or non-edges.
    """
    nodes = values if isinstance(values, int) else len(values)
    codes = unique_edges(edges, nodes)
    random = np.random.default_rng(seed)
    validation, test = len(codes) // _VALIDATION, len(codes) // _TEST
    if not validation:
        raise ValueError(f"a graph of {len(codes)} edges: expected at least {_VALIDATION} to split")
    parts = np.split(random.permutation(codes), [validation, validation + test])
    others = _non_edges(codes, nodes, validation + test, random)
    held_out = (others[:validation], others[validation:])
    if labels is not None and unlabelled is None:
        unlabelled = random.permutation(nodes)[: min(_UNLABELLED, nodes // 3)]
    options = {"is_sampled": negatives == "sampled", "mask_edges": mask_edges}
    if labels is not None:
        options |= {"labels": labels, "unlabelled": torch.as_tensor(unlabelled)}
    found = _degrees(_pairs(parts[2], nodes), nodes) if isinstance(values, int) else values
    data = _data_set(found, parts, held_out, options)
    return replace(data, data_hash=data_hash or _hash_of(values, codes, labels))


def _degrees(edges: Tensor, nodes: int) -> Tensor:
    """Return how many of `edges` (2, E) each node has, one-hot (N, F), sparse CSR."""
    degrees = torch.bincount(edges.flatten(), minlength=nodes).clamp(max=_HIGHEST)
    index = torch.stack([torch.arange(nodes), degrees])
    shape = (nodes, _HIGHEST + 1)
    return sparse(torch.sparse_coo_tensor(index, torch.ones(nodes), shape, check_invariants=False))


def _hash_of(values: Tensor | int, codes: np.ndarray, labels: Tensor | None) -> str:
    if isinstance(values, int):
        return digest("degrees", values, codes, "none" if labels is None else labels)
    features = [values]
    if values.layout == torch.sparse_csr:
        features = [values.crow_indices(), values.col_indices(), values.values()]
    return digest(str(tuple(values.shape)), *features, codes, "none" if labels is None else labels)


def unique_edges(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Return the codes i N + j, i < j, of the distinct edges of a (2, M) array, in order.

    Raises:
        ValueError: for a node that does not exist.
    """
    low, high = edges.min(0), edges.max(0)
    if edges.size and (low.min() < 0 or high.max() >= nodes):
        missing = low.min() if low.min() < 0 else high.max()
        raise ValueError(
            f"an edge to node {missing}: the graph has {nodes} nodes, 0 to {nodes - 1}"
        )
    keep = low != high
    return np.unique(low[keep].astype(np.int64) * nodes + high[keep])


def _non_edges(codes: np.ndarray, nodes: int, count: int, random) -> np.ndarray:
    """Return the codes of `count` distinct pairs i < j outside the sorted `codes`, at random."""
    available = nodes * (nodes - 1) // 2 - len(codes)
    if available < count:
        raise ValueError(
            f"a graph of {nodes} nodes and {len(codes)} edges: expected at least {count} pairs "
            f"without an edge to hold out, found {available}"
        )
    found = np.empty(0, np.int64)
    while len(found) < count:
        pairs = random.integers(nodes, size=(2, 2 * count))
        fresh = pairs.min(0) * nodes + pairs.max(0)
        fresh = fresh[(pairs[0] != pairs[1]) & ~np.isin(fresh, codes)]
        found = np.concatenate([found, fresh])
        found = found[np.sort(np.unique(found, return_index=True)[1])]  # the first of each, in turn
    return found[:count]


def _data_set(values, parts, held_out, options) -> DataSet:
    """Put the codes of the splits together: of edges by validation, test and training."""
    nodes, (validation, test, train) = len(values), parts
    train_edges = _pairs(train, nodes)
    whole = GraphSplit(
        values,
        normalised(train_edges, nodes),
        train_edges,
        transposed=sparse(values.transpose(0, 1)) if values.layout == torch.sparse_csr else None,
        **options,
    )
    seen = np.concatenate([train, validation])
    splits = {
        "validation": (seen, np.concatenate([validation, held_out[0]])),
        "test": (np.concatenate([seen, test]), np.concatenate([test, held_out[1]])),
    }
    held = {
        name: replace(whole, edges=_pairs(edges, nodes), pairs=_pairs(pairs, nodes), mask_edges=0.0)
        for name, (edges, pairs) in splits.items()
    }
    found = hashlib.sha256(b"".join(part.tobytes() for part in (*parts, *held_out)))
    return DataSet(
        train=whole,
        **held,
        likelihood="edges",
        fingerprint=found.hexdigest(),
        origin="at random, and as many pairs without an edge",
    )


def _pairs(codes: np.ndarray, nodes: int) -> Tensor:
    return torch.from_numpy(np.stack(np.divmod(codes, nodes)))


def normalised(edges: Tensor, nodes: int) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 as sparse CSR, D the degrees of A + I.

    Kipf and Welling 2017, "Semi-supervised classification with graph convolutional networks",
    eq. 2.
    """
    loops = torch.arange(nodes).expand(2, -1)
    index = torch.cat([edges, edges.flip(0), loops], 1)
    root = torch.bincount(index[0], minlength=nodes).float().rsqrt()
    weights = root[index[0]] * root[index[1]]
    return sparse(torch.sparse_coo_tensor(index, weights, (nodes, nodes), check_invariants=False))


def sparse(matrix: Tensor) -> Tensor:
    """Return a dense or COO matrix as sparse CSR."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return matrix.to_sparse_csr()
