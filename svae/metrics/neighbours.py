"""How well a latent space tells labels apart: k-NN accuracy, silhouette and clusters.

In torch, on the device: scikit-learn, the tests' oracle, takes longer to import than most of this
takes, and has neither k-means nor a silhouette of 10,000 points under the geodesic distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from svae.manifolds import Manifold

NEIGHBOURS = 5
LABELLED = (100, 600, 1000)
DRAWS = 20
_CLUSTERED = 10_000  # points at most that clusters and silhouette are made of
_BLOCK = 2**22  # distances that are held at once


def separation(
    train: dict[str, Tensor],
    test: dict[str, Tensor],
    generator: torch.Generator,
    manifold: Manifold,
) -> dict[str, float]:
    """Return k-NN accuracy, NMI and silhouette of the posterior means of labelled observations.

    `train` and `test` hold the means `loc` (N, m) and the `labels` (N,). Accuracy is the share of
    the test set whose label the nearest labelled means vote for, where 100, 600 and 1000 labelled
    ones are drawn uniformly from the training set, or `balanced`, as many of each label: mean and
    standard deviation of 20 draws (Davidson et al. 2018, Table 2, which does not say how they were
    drawn). NMI compares the labels with as many clusters of k-means as there are labels; the
    silhouette is that of the labels themselves. Both are of the test set, or of 10,000 of a larger
    one. Distances are those of the `manifold`, for k-NN the straight ones, which have the same
    order on a sphere.

    Sizes that the training set does not have are left out, and everything is if the test set has
    one label only.
    """
    labels, groups = torch.cat([train["labels"], test["labels"]]).unique(return_inverse=True)
    known, wanted = groups.split([len(train["loc"]), len(test["loc"])])
    if len(wanted.unique()) < 2:
        return {}
    sets = train["loc"], known, test["loc"], wanted
    metrics = _accuracies(*sets, _uniform, generator)
    chosen = torch.randperm(len(wanted), generator=generator, device=wanted.device)[:_CLUSTERED]
    points, (labels, groups) = test["loc"][chosen], wanted[chosen].unique(return_inverse=True)
    clusters = k_means(points, len(labels), generator, manifold)
    metrics["nmi"] = normalised_mutual_information(clusters, groups).item()
    metrics["silhouette"] = silhouette(points, groups, manifold).item()
    metrics |= _accuracies(*sets, _balanced, generator, "_balanced")
    return {f"test/{name}": value for name, value in metrics.items()}


def _accuracies(train, known, test, wanted, ordered, generator, how="") -> dict[str, float]:
    draws = {size: [] for size in LABELLED if size <= len(train)}
    for _ in range(DRAWS):
        order = ordered(known, generator)
        for size, accuracies in draws.items():
            chosen = order[:size]
            votes = classify(test, train[chosen], known[chosen])
            accuracies.append((votes == wanted).double().mean())
    metrics = {}
    for size, accuracies in draws.items():
        std, mean = torch.std_mean(torch.stack(accuracies))
        metrics[f"knn_accuracy_{size}{how}"] = mean.item()
        metrics[f"knn_accuracy_{size}{how}_std"] = std.item()
    return metrics


def _uniform(labels: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(labels), generator=generator, device=labels.device)


def _balanced(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return an order (N,) in which the labels 0, 1, ... take turns for as long as they last."""
    order = _uniform(labels, generator)
    by_label = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    first = (counts.cumsum(0) - counts)[labels[by_label]]
    turn = torch.arange(len(labels), device=labels.device) - first
    return by_label[turn.argsort(stable=True)]


def classify(
    points: Tensor, references: Tensor, labels: Tensor, neighbours: int = NEIGHBOURS
) -> Tensor:
    """Return the label (Q,) that most of the nearest `references` (R, m) of each point have.

    Of labels with as many votes the one wins that the nearest of their voters has. |q - r| has the
    order of |r|^2 - 2 q.r, which for unit vectors is also that of the angle; both are seen from the
    middle of the references, so that those close together do not round to one.
    """
    middle = references.mean(0)
    points, references = points - middle, references - middle
    squares = references.square().sum(-1)
    # each of the halves outweighs all later ones, and together they are less than a vote
    ranks = torch.arange(1, neighbours + 1, device=points.device)[:, None]
    weights, members = 1 + 0.5**ranks, F.one_hot(labels)
    found = []
    for block in points.split(max(1, _BLOCK // len(references))):
        order = torch.addmm(squares, block, references.T, alpha=-2)
        nearest = order.topk(neighbours, largest=False).indices
        found.append((weights * members[nearest]).sum(1).argmax(1))
    return torch.cat(found)


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
        square = torch.cdist(points, points[chosen]).amin(1).square()
        another = torch.multinomial(square + 1e-12, 1, generator=generator)  # all may be one point
        chosen = torch.cat([chosen, another])
    return points[chosen]


def _lloyd(points: Tensor, centres: Tensor, manifold: Manifold, steps: int) -> tuple[Tensor, float]:
    """Return the cluster of each point and the sum of squared distances."""
    nearest = None
    for _ in range(steps):
        last, (cost, nearest) = nearest, torch.cdist(points, centres).min(1)
        if last is not None and torch.equal(last, nearest):
            break
        members = F.one_hot(nearest, len(centres)).to(points)
        is_empty = members.sum(0)[:, None] == 0
        centres = torch.where(is_empty, centres, manifold.centres(points, members))
    return nearest, cost.square().sum().item()


def normalised_mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Return 2 I(a; b) / (H(a) + H(b)) of two labellings (N,) by 0, 1, ...; one has two labels.

    0 for independent ones, 1 for the same up to names (Strehl and Ghosh 2002, with the arithmetic
    mean).
    """
    pairs = first * (second.max() + 1) + second
    a, b, both = (torch.special.entr(x.bincount() / len(x)).sum() for x in (first, second, pairs))
    return 2 * (a + b - both) / (a + b)


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
