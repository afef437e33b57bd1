"""How well the nearest labelled points predict the labels of others.

In torch, on the device: scikit-learn, the tests' oracle, takes longer to import than most of this
takes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 5
LABELLED = (100, 600, 1000)
DRAWS = 20
_BLOCK = 2**22  # distances that are held at once


def knn_accuracies(
    train: Tensor,
    known: Tensor,
    test: Tensor,
    wanted: Tensor,
    generator: torch.Generator,
    *,
    balanced: bool = False,
) -> dict[str, float]:
    """Return the share of `test` (Q, m) whose label `wanted` (Q,) the nearest of `train` vote for.

    Of `train` (N, m) with the labels `known` (N,), 0, 1, ..., so many are drawn: 100, 600 and 1000,
    as far as there are, uniformly or, `balanced`, as many of each label. Mean and standard
    deviation of 20 draws (Davidson et al. 2018, Table 2, which does not say how they were drawn).
    """
    ordered, how = (_balanced, "_balanced") if balanced else (_uniform, "")
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
