"""Votes of the nearest, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from svae.metrics import neighbours
from tests.support.labelled import distances_of, labelled_points


def near_first(distances):
    """The weights that let the nearest voter decide between labels with as many votes."""
    return 1 + 0.5 ** np.arange(1, distances.shape[1] + 1) * np.ones_like(distances)


@pytest.mark.parametrize("geodesic", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_votes_agree_with_scikit_learn(geodesic, count, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 1000)  # several pieces
    references, labels = labelled_points(300, 1, geodesic)
    points, _ = labelled_points(500, 2, geodesic)
    oracle = KNeighborsClassifier(count, metric="precomputed", weights=near_first)
    oracle.fit(distances_of(references, references, geodesic), labels)
    expected = oracle.predict(distances_of(points, references, geodesic))
    assert neighbours.classify(points, references, labels, count).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("labels", "expected"), [([1, 0, 0, 1, 2], 1), ([0, 1, 1, 0, 2], 0), ([1, 0, 0, 2, 2], 0)]
)
def test_the_nearest_voter_decides_between_equals(labels, expected):
    references = torch.tensor([[1.0], [-2.0], [3.0], [-4.0], [5.0]])
    points = torch.zeros(1, 1)
    assert neighbours.classify(points, references, torch.tensor(labels), 5).tolist() == [expected]


def test_a_majority_outweighs_the_nearest():
    references, labels = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 1])
    assert neighbours.classify(torch.zeros(1, 1), references, labels, 3).tolist() == [1]


def test_euclidean_neighbours_are_not_those_by_angle():
    references, labels = torch.tensor([[1.0, 0.0], [4.0, 4.0]]), torch.tensor([0, 1])
    assert neighbours.classify(torch.tensor([[1.0, 1.0]]), references, labels, 1).tolist() == [0]
