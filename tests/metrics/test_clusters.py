"""Clusters, how they agree with labels, and silhouettes, against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from svae.manifolds import Euclidean, Sphere
from svae.metrics import clusters
from tests.support.labelled import distances_of, labelled_points, manifold_of


def test_information_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(7, (400,), generator=generator)
    b = torch.where(torch.rand(400, generator=generator) < 0.5, a % 4, 3)
    expected = normalized_mutual_info_score(a, b)
    assert clusters.normalised_mutual_information(a, b).item() == pytest.approx(expected)
    names = torch.randperm(7, generator=generator)
    assert clusters.normalised_mutual_information(a, names[a]).item() == pytest.approx(1)
    one = torch.zeros_like(a)
    assert clusters.normalised_mutual_information(a, one).item() == pytest.approx(0)


@pytest.mark.parametrize("geodesic", [True, False])
def test_silhouette_agrees_with_scikit_learn(geodesic, monkeypatch):
    monkeypatch.setattr(clusters, "_BLOCK", 5000)
    points, labels = labelled_points(300, geodesic=geodesic)
    labels[17] = 5  # alone with its label
    distances = distances_of(points, points, geodesic).numpy()
    np.fill_diagonal(distances, 0)
    expected = silhouette_score(distances, labels, metric="precomputed")
    found = clusters.silhouette(points, labels, manifold_of(geodesic)).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_clusters_are_as_tight_as_those_of_scikit_learn():
    points, _ = labelled_points(1000)
    found = clusters.k_means(points, 5, torch.Generator().manual_seed(0), Euclidean(4))
    inertia = sum(
        float((points[found == k] - points[found == k].mean(0)).square().sum()) for k in range(5)
    )
    assert inertia <= KMeans(5, n_init=10, random_state=0).fit(points).inertia_ * 1.01


def test_spherical_clusters_are_those_of_the_nearest_mean_direction():
    points, labels = labelled_points(1000, geodesic=True)
    found = clusters.k_means(points, 5, torch.Generator().manual_seed(0), Sphere(3))
    means = F.normalize(torch.stack([points[found == k].sum(0) for k in range(5)]), dim=-1)
    assert torch.equal((points @ means.T).argmax(1), found)
    # no worse than the groups the points were drawn from
    truth = F.normalize(torch.stack([points[labels == k].sum(0) for k in range(5)]), dim=-1)
    assert (points @ means.T).amax(1).mean() >= (points @ truth.T).amax(1).mean()


@pytest.mark.parametrize("manifold", [Sphere(2), Euclidean(3)])
def test_points_at_one_place_are_apart_by_nothing(manifold):
    points = F.normalize(torch.tensor([[1.0, 2.0, 3.0]]).expand(9, 3), dim=-1)
    assert clusters.silhouette(points, torch.arange(9) % 3, manifold) == 0


def _labellings(seed, count=400):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(7, (count,), generator=generator)
    return a, torch.where(torch.rand(count, generator=generator) < 0.6, (3 * a) % 7 % 5, 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_adjusted_index_agrees_with_scikit_learn(seed):
    a, b = _labellings(seed)
    expected = adjusted_rand_score(a, b)
    assert clusters.adjusted_rand_index(a, b).item() == pytest.approx(expected)
    shuffled = b[torch.randperm(len(b), generator=torch.Generator().manual_seed(seed))]
    expected = adjusted_rand_score(a, shuffled)
    assert clusters.adjusted_rand_index(a, shuffled).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"), [([0, 0, 0], [0, 0, 0]), ([0, 1, 2], [2, 0, 1]), ([0, 0, 0], [0, 1, 2])]
)
def test_the_adjusted_index_of_trivial_labellings(first, second):
    found = clusters.adjusted_rand_index(torch.tensor(first), torch.tensor(second)).item()
    assert found == adjusted_rand_score(first, second)


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_matched_as_well_as_can_be(seed):
    a, b = _labellings(seed)
    a = a % 4
    best = max(
        sum(int(((a == k) & (b == name)).sum()) for k, name in enumerate(names))
        for names in permutations(range(5), 4)
    )
    assert clusters.matched_share(a, b).item() == pytest.approx(best / len(a))
    assert clusters.matched_share(b, b).item() == 1


def test_one_label_among_the_points_that_are_drawn_has_no_clusters():
    points, labels = torch.randn(30, 3), torch.zeros(30, dtype=torch.int64)
    assert clusters.clustering(points, labels, torch.Generator(), Euclidean(3)) == {}


def test_tight_clusters_are_found_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    centre = F.normalize(torch.randn(11, generator=generator), dim=0)
    centres = centre + 1e-4 * torch.randn(4, 11, generator=generator)
    points = centres[labels] + 1e-5 * torch.randn(400, 11, generator=generator)
    found = clusters.clustering(F.normalize(points, dim=1), labels, generator, Sphere(10))
    assert found["ari"] == 1
