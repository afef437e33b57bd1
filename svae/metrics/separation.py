"""How well a latent space tells labels apart: by neighbours, by a linear map, by clusters."""

import torch
from torch import Tensor

from svae.manifolds import Manifold
from svae.metrics.clusters import clustering
from svae.metrics.neighbours import knn_accuracies
from svae.metrics.probe import probe_accuracy


def separation(
    train: dict[str, Tensor],
    test: dict[str, Tensor],
    generator: torch.Generator,
    manifold: Manifold,
    clustered: dict[str, Tensor] | None = None,
) -> dict[str, float]:
    """Return how the posterior means of labelled observations tell the labels.

    `train` and `test` hold the means `loc` (N, m) and the `labels` (N,). Labels of the test set are
    predicted by neighbours (`knn_accuracies`, by straight distances, which on a sphere have the
    order of the angles) and by a linear map (`probe_accuracy`) from those of the training set;
    `clustering`, which needs none, is of the test set, or of `clustered`. Sizes that the training
    set does not have are left out, and everything is if the test set has one label only.
    """
    labels = torch.cat([train["labels"], test["labels"]]).unique(return_inverse=True)[1]
    known, wanted = labels.split([len(train["loc"]), len(test["loc"])])
    if len(wanted.unique()) < 2:
        return {}
    both = train["loc"], known, test["loc"], wanted
    found = knn_accuracies(*both, generator)
    found["probe_accuracy"] = probe_accuracy(*both)
    whole = clustered or test
    found |= clustering(whole["loc"], whole["labels"], generator, manifold)
    found |= knn_accuracies(*both, generator, balanced=True)
    return {f"test/{name}": value for name, value in found.items()}
