"""A geometric random graph on the sphere S^2: its latent truth is known, no file is needed."""

import numpy as np
import torch

from svae.data.links import split_links
from svae.data.splits import DataSet, digest


def load(
    nodes: int = 1000,
    edges: int = 5000,
    features: int = 32,
    noise: float = 0.5,
    seed: int = 0,
    split_seed: int = 0,
    negatives: str = "all",
    mask_edges: float = 0.0,
) -> DataSet:
    """Draw nodes uniformly on S^2 and join the `edges` closest pairs.

    Features are a random linear map of the position and Gaussian noise of the deviation `noise`;
    the labels are the eight octants. `seed` draws the graph, `split_seed` splits it.

    Raises:
        ValueError: when there are fewer pairs than edges, or too few edges to split.
    """
    if edges > nodes * (nodes - 1) // 2:
        raise ValueError(f"dataset.edges={edges}: {nodes} nodes have fewer pairs")
    random = np.random.default_rng(seed)
    positions = random.normal(size=(nodes, 3))
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    values = positions @ random.normal(size=(3, features)) + noise * random.normal(
        size=(nodes, features)
    )
    octants = (positions > 0) @ (1, 2, 4)
    return split_links(
        torch.from_numpy(values.astype(np.float32)),
        closest_pairs(positions, edges),
        torch.from_numpy(octants),
        seed=split_seed,
        negatives=negatives,
        mask_edges=mask_edges,
        data_hash=digest("sphere_graph", nodes, edges, features, noise, seed),
    )


def closest_pairs(positions: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` closest pairs (2, count), i < j, of points (N, 3) on the unit sphere."""
    from sklearn.neighbors import NearestNeighbors

    pairs = len(positions) * (len(positions) - 1) // 2
    search = NearestNeighbors().fit(positions)
    # a cap of chord c holds c^2/4 of the sphere
    square = 4 * count / pairs
    while True:
        radius = min(2.0, square**0.5)
        near = search.radius_neighbors_graph(radius=radius, mode="distance").tocoo()
        once = near.row < near.col
        if once.sum() >= count or radius == 2:
            break
        square *= 1.2
    nearest = np.argpartition(near.data[once], count - 1)[:count]
    return np.stack([near.row[once][nearest], near.col[once][nearest]]).astype(np.int64)
