"""Small graphs, and pairs of nodes as sets."""

import numpy as np
import torch

from svae.data import sphere_graph


def random_graph(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Node features and edges in both directions, with repetitions and self-loops."""
    random = np.random.default_rng(seed)
    nodes = int(random.integers(40, 200))
    edges = random.integers(nodes, size=(2, int(random.integers(60, 400))))
    return torch.rand(nodes, 3), edges


def tuples(pairs: torch.Tensor) -> set[tuple[int, int]]:
    return {tuple(sorted(pair)) for pair in pairs.T.tolist()}


def small(negatives="all", nodes=40, edges=120, **options):
    return sphere_graph.load(nodes=nodes, edges=edges, features=8, negatives=negatives, **options)
