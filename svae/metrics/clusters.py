"""How well clusters of points agree with labels, and how far labels lie apart.

In torch, on the device: scikit-learn, the tests' oracle, has neither spherical k-means nor a
silhouette of 10,000 points under the geodesic distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from svae.manifolds import Manifold

_CLUSTERED = 10_000  # points at most that clusters and silhouette are made of
_BLOCK = 2**22  # distances that are held at once


def clustering(
    points: Tensor, labels: Tensor, generator: torch.Generator, manifold: Manifold
) -> dict[str, float]:
    """Return how k-means finds the labels (N,) of points (N, m), or of 10,000 of more, again.

    As many clusters as labels are compared with them by `nmi` and `ari`; `cluster_accuracy` is the
    share of points whose cluster stands for their label, where each stands for one. `silhouette` is
    that of the labels themselves. Distances are those of the `manifold`. Nothing is found of points
    of one label.
    """
    chosen = torch.randperm(len(labels), generator=generator, device=labels.device)[:_CLUSTERED]
    points, (names, groups) = points[chosen], labels[chosen].unique(return_inverse=True)
    if len(names) < 2:
        return {}
    clusters = k_means(points, len(names), generator, manifold)
    found = {
        "nmi": normalised_mutual_information(clusters, groups),
        "ari": adjusted_rand_index(clusters, groups),
        "cluster_accuracy": matched_share(clusters, groups),
        "silhouette": silhouette(points, groups, manifold),
    }
    return {name: value.item() for name, value in found.items()}


def k_means(
    points: Tensor,
    clusters: int,
    generator: torch.Generator,
    manifold: Manifold,
    restarts: int = 5,
    steps: int = 100,
) -> Tensor:
    """Return the cluster (N,) of each point: the best of `restarts` runs of Lloyd's algorithm.

    The centres lie on the `manifold`: on a sphere they are mean directions (spherical k-means,
    Dhillon and Modha 2001). Minimises sum |x - c|^2; begins with the seeds of k-means++ (Arthur and
    Vassilvitskii 2007).
    """
    runs = []
    for _ in range(restarts):
        centres = _seeds(points, clusters, generator)
        runs.append(_lloyd(points, centres, manifold, steps))
    return min(runs, key=lambda run: run[1])[0]


def _seeds(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(len(points), (1,), generator=generator, device=points.device)
    for _ in range(clusters - 1):
        square = _distances(points, points[chosen]).amin(1).square()
        another = torch.multinomial(square + 1e-12, 1, generator=generator)  # all may be one point
        chosen = torch.cat([chosen, another])
    return points[chosen]


def _lloyd(points: Tensor, centres: Tensor, manifold: Manifold, steps: int) -> tuple[Tensor, float]:
    """Return the cluster of each point and the sum of squared distances."""
    nearest = None
    for _ in range(steps):
        last, (cost, nearest) = nearest, _distances(points, centres).min(1)
        if last is not None and torch.equal(last, nearest):
            break
        members = F.one_hot(nearest, len(centres)).to(points)
        is_empty = members.sum(0)[:, None] == 0
        centres = torch.where(is_empty, centres, manifold.centres(points, members))
    return nearest, cost.square().sum().item()


def _distances(points: Tensor, others: Tensor) -> Tensor:
    """Return straight distances, also of tight clusters: products of points would not tell them."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def normalised_mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Return 2 I(a; b) / (H(a) + H(b)) of two labellings (N,) by 0, 1, ...; one has two labels.

    0 for independent ones, 1 for the same up to names (Strehl and Ghosh 2002, with the arithmetic
    mean).
    """
    pairs = first * (second.max() + 1) + second
    a, b, both = (torch.special.entr(x.bincount() / len(x)).sum() for x in (first, second, pairs))
    return 2 * (a + b - both) / (a + b)


def _contingency(first: Tensor, second: Tensor) -> Tensor:
    """Return how many points (K, L) have each pair of the labels 0, 1, ... of two labellings."""
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    return (first * columns + second).bincount(minlength=rows * columns).reshape(rows, columns)


def adjusted_rand_index(first: Tensor, second: Tensor) -> Tensor:
    """Return (R - E R) / (max R - E R) of two labellings (N,) by 0, 1, ....

    R counts the pairs of points that both put together; E R is what it would be if both were drawn
    at random with their sizes, max R the mean of how many either puts together. 0 for independent
    ones, 1 for the same up to names (Hubert and Arabie 1985).
    """
    table = _contingency(first, second).double()
    both, a, b = (_pairs(x).sum() for x in (table, table.sum(1), table.sum(0)))
    expected = a * b / _pairs(table.sum()).clamp(min=1)
    most = (a + b) / 2
    return torch.where(most == expected, 1.0, (both - expected) / (most - expected))


def _pairs(counts: Tensor) -> Tensor:
    return counts * (counts - 1) / 2


def matched_share(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of points whose labels match, at the best pairing of the two labellings.

    Each label 0, 1, ... of `first` (N,) stands for at most one of `second` (N,): Kuhn 1955, "The
    Hungarian method for the assignment problem".
    """
    from scipy.optimize import linear_sum_assignment

    table = _contingency(first, second).cpu()
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return table[rows, columns].sum().double() / len(first)


def silhouette(points: Tensor, labels: Tensor, manifold: Manifold) -> Tensor:
    """Return the mean of (b - a) / max(a, b) over points (N, m) labelled 0, ..., K - 1, K > 1.

    a is a point's mean distance to the others of its label, b that to the nearest other label. A
    point alone with its label counts 0 (Rousseeuw 1987).
    """
    members = F.one_hot(labels).to(points)
    counts, parts = members.sum(0), []
    rows = max(1, _BLOCK // len(points))
    for block, own in zip(points.split(rows), members.split(rows), strict=True):
        sums = manifold.distances(block, points) @ members
        a = (sums * own).sum(1) / (own @ counts - 1)
        b = (sums / counts).masked_fill(own.bool(), torch.inf).amin(1)
        parts.append(((b - a) / torch.maximum(a, b)).nan_to_num(0.0))
    return torch.cat(parts).mean()
