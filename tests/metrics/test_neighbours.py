"""k-NN, clusters and silhouette, against scikit-learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from svae.manifolds import Euclidean, Sphere
from svae.metrics import neighbours


def _points(count, seed=0, geodesic=False):
    """Labelled points in R^4 or on S^3, of five overlapping groups, float64."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = torch.randint(5, (count,), generator=generator)
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    points = 2 * centres[labels] + noise
    return (F.normalize(points, dim=-1) if geodesic else points), labels


def _manifold(geodesic):
    return Sphere(3) if geodesic else Euclidean(4)


def _near_first(distances):
    """The weights that let the nearest voter decide between labels with as many votes."""
    return 1 + 0.5 ** np.arange(1, distances.shape[1] + 1) * np.ones_like(distances)


def _distances(points, others, geodesic):
    return (points @ others.T).clamp(-1, 1).acos() if geodesic else torch.cdist(points, others)


@pytest.mark.parametrize("geodesic", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_votes_agree_with_scikit_learn(geodesic, count, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 1000)  # several pieces
    references, labels = _points(300, 1, geodesic)
    points, _ = _points(500, 2, geodesic)
    oracle = KNeighborsClassifier(count, metric="precomputed", weights=_near_first)
    oracle.fit(_distances(references, references, geodesic), labels)
    expected = oracle.predict(_distances(points, references, geodesic))
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


def test_information_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(7, (400,), generator=generator)
    b = torch.where(torch.rand(400, generator=generator) < 0.5, a % 4, 3)
    expected = normalized_mutual_info_score(a, b)
    assert neighbours.normalised_mutual_information(a, b).item() == pytest.approx(expected)
    names = torch.randperm(7, generator=generator)
    assert neighbours.normalised_mutual_information(a, names[a]).item() == pytest.approx(1)
    one = torch.zeros_like(a)
    assert neighbours.normalised_mutual_information(a, one).item() == pytest.approx(0)


@pytest.mark.parametrize("geodesic", [True, False])
def test_silhouette_agrees_with_scikit_learn(geodesic, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 5000)
    points, labels = _points(300, geodesic=geodesic)
    labels[17] = 5  # alone with its label
    distances = _distances(points, points, geodesic).numpy()
    np.fill_diagonal(distances, 0)
    expected = silhouette_score(distances, labels, metric="precomputed")
    found = neighbours.silhouette(points, labels, _manifold(geodesic)).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_clusters_are_as_tight_as_those_of_scikit_learn():
    points, _ = _points(1000)
    clusters = neighbours.k_means(points, 5, torch.Generator().manual_seed(0), Euclidean(4))
    inertia = sum(
        float((points[clusters == k] - points[clusters == k].mean(0)).square().sum())
        for k in range(5)
    )
    assert inertia <= KMeans(5, n_init=10, random_state=0).fit(points).inertia_ * 1.01


def test_spherical_clusters_are_those_of_the_nearest_mean_direction():
    points, labels = _points(1000, geodesic=True)
    clusters = neighbours.k_means(points, 5, torch.Generator().manual_seed(0), Sphere(3))
    means = F.normalize(torch.stack([points[clusters == k].sum(0) for k in range(5)]), dim=-1)
    assert torch.equal((points @ means.T).argmax(1), clusters)
    # no worse than the groups the points were drawn from
    truth = F.normalize(torch.stack([points[labels == k].sum(0) for k in range(5)]), dim=-1)
    assert (points @ means.T).amax(1).mean() >= (points @ truth.T).amax(1).mean()


def _split(count, seed, geodesic):
    points, labels = _points(count, seed, geodesic)
    return {"loc": points.float(), "labels": labels * 10 - 20}


def _any(labels, size, random):
    return random.choice(len(labels), size, replace=False)


def _of_each(labels, size, random):
    kinds = np.unique(labels)
    own = (np.flatnonzero(labels == kind) for kind in kinds)
    return np.concatenate([random.choice(rows, size // len(kinds), replace=False) for rows in own])


@pytest.mark.parametrize(
    ("geodesic", "how", "drawn"),
    [(True, "", _any), (False, "", _any), (True, "_balanced", _of_each)],
)
def test_accuracy_is_that_of_such_draws(geodesic, how, drawn):
    train, test = _split(3000, 1, geodesic), _split(800, 2, geodesic)
    rare = train["labels"] == -20
    kept = ~rare | (rare.cumsum(0) <= 201)
    train = {name: values[kept] for name, values in train.items()}
    found = neighbours.separation(
        train, test, torch.Generator().manual_seed(0), _manifold(geodesic)
    )
    random = np.random.default_rng(0)
    for size in (100, 600, 1000):
        accuracies = []
        for _ in range(20):
            chosen = drawn(train["labels"].numpy(), size, random)
            oracle = KNeighborsClassifier(5, weights=_near_first)
            oracle.fit(train["loc"][chosen], train["labels"][chosen])
            accuracies.append(oracle.score(test["loc"], test["labels"]))
        std = np.std(accuracies, ddof=1)
        name = f"test/knn_accuracy_{size}{how}"
        error = np.hypot(found[f"{name}_std"], std) / np.sqrt(20)
        assert abs(found[name] - np.mean(accuracies)) < 5 * error
        assert 0.5 < found[f"{name}_std"] / std < 2
    assert 0.3 < found["test/nmi"] < 1
    assert 0 < found["test/silhouette"] < 1


def test_sizes_that_the_training_set_lacks_are_left_out():
    test = _split(50, 2, False)
    generator = torch.Generator().manual_seed(0)
    found = neighbours.separation(_split(600, 1, False), test, generator, Euclidean(4))
    sizes = ("100", "600", "100_balanced", "600_balanced")
    names = [f"test/knn_accuracy_{size}{std}" for size in sizes for std in ("", "_std")]
    assert [n for n in found if n.startswith("test/knn")] == names
    few = neighbours.separation(_split(99, 1, False), test, generator, Euclidean(4))
    assert set(few) == {"test/nmi", "test/silhouette"}
    one = {"loc": test["loc"], "labels": torch.zeros_like(test["labels"])}
    assert neighbours.separation(one, one, generator, Euclidean(4)) == {}


def test_points_that_are_all_one_have_no_clusters():
    test = _split(200, 2, False)
    test["loc"] = torch.zeros_like(test["loc"])
    found = neighbours.separation(test, test, torch.Generator().manual_seed(0), Euclidean(4))
    assert found["test/nmi"] == pytest.approx(0)
    assert found["test/silhouette"] == 0


@pytest.mark.parametrize("manifold", [Sphere(2), Euclidean(3)])
def test_points_at_one_place_are_apart_by_nothing(manifold):
    points = F.normalize(torch.tensor([[1.0, 2.0, 3.0]]).expand(9, 3), dim=-1)
    assert neighbours.silhouette(points, torch.arange(9) % 3, manifold) == 0


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("manifold", [Sphere(2), Euclidean(3)])
def test_points_close_together_keep_their_distances(manifold, spread):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    points = torch.randn(60, 3, generator=generator) + 2 * labels[:, None]
    points = F.normalize(torch.tensor([1.0, -2.0, 0.5]) + spread * points, dim=-1)
    exact = points.double().numpy()
    expected = silhouette_score(exact, labels.numpy())  # so near, the chord is the angle
    found = neighbours.silhouette(points, labels, manifold).item()
    assert found == pytest.approx(expected, abs=1e-4 if spread > 1e-3 else 1e-5)
    oracle = KNeighborsClassifier(neighbours.NEIGHBOURS).fit(exact[:40], labels[:40].numpy())
    votes = neighbours.classify(points[40:], points[:40], labels[:40])
    assert votes.tolist() == oracle.predict(exact[40:]).tolist()
