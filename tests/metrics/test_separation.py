"""How labels are told apart, as a run reports it, against scikit-learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from svae.manifolds import Euclidean, Sphere
from svae.metrics import clusters, neighbours, probe
from svae.metrics.separation import separation
from tests.metrics.test_neighbours import near_first
from tests.support.labelled import labelled_points, manifold_of


def _split(count, seed, geodesic):
    points, labels = labelled_points(count, seed, geodesic)
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
    found = separation(train, test, torch.Generator().manual_seed(0), manifold_of(geodesic))
    random = np.random.default_rng(0)
    for size in (100, 600, 1000):
        accuracies = []
        for _ in range(20):
            chosen = drawn(train["labels"].numpy(), size, random)
            oracle = KNeighborsClassifier(5, weights=near_first)
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
    found = separation(_split(600, 1, False), test, generator, Euclidean(4))
    sizes = ("100", "600", "100_balanced", "600_balanced")
    names = [f"test/knn_accuracy_{size}{std}" for size in sizes for std in ("", "_std")]
    assert [n for n in found if n.startswith("test/knn")] == names
    few = separation(_split(99, 1, False), test, generator, Euclidean(4))
    names = ("probe_accuracy", "nmi", "ari", "cluster_accuracy", "silhouette")
    assert set(few) == {f"test/{name}" for name in names}
    one = {"loc": test["loc"], "labels": torch.zeros_like(test["labels"])}
    assert separation(one, one, generator, Euclidean(4)) == {}


def test_points_that_are_all_one_have_no_clusters():
    test = _split(200, 2, False)
    test["loc"] = torch.zeros_like(test["loc"])
    found = separation(test, test, torch.Generator().manual_seed(0), Euclidean(4))
    assert found["test/nmi"] == pytest.approx(0)
    assert found["test/silhouette"] == 0


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("manifold", [Sphere(2), Euclidean(3)])
def test_points_close_together_keep_theirdistances_of(manifold, spread):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    points = torch.randn(60, 3, generator=generator) + 2 * labels[:, None]
    points = F.normalize(torch.tensor([1.0, -2.0, 0.5]) + spread * points, dim=-1)
    exact = points.double().numpy()
    expected = silhouette_score(exact, labels.numpy())  # so near, the chord is the angle
    found = clusters.silhouette(points, labels, manifold).item()
    assert found == pytest.approx(expected, abs=1e-4 if spread > 1e-3 else 1e-5)
    oracle = KNeighborsClassifier(neighbours.NEIGHBOURS).fit(exact[:40], labels[:40].numpy())
    votes = neighbours.classify(points[40:], points[:40], labels[:40])
    assert votes.tolist() == oracle.predict(exact[40:]).tolist()


@pytest.mark.parametrize("geodesic", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_probe_is_a_logistic_regression(geodesic, dtype):
    points, labels = labelled_points(400, 1, geodesic)
    others, wanted = labelled_points(900, 2, geodesic)
    scaler = StandardScaler().fit(points)
    oracle = LogisticRegression(max_iter=1000, tol=1e-8).fit(scaler.transform(points), labels)
    found = probe.probe_accuracy(points.to(dtype), labels, others.to(dtype), wanted)
    assert found == pytest.approx(oracle.score(scaler.transform(others), wanted), abs=2e-3)
    weight, bias = probe.fit(torch.from_numpy(scaler.transform(points)), labels)
    # softmax does not see what is added to all classes
    np.testing.assert_allclose((weight - weight.mean(1, keepdim=True)).T, oracle.coef_, atol=1e-3)
    np.testing.assert_allclose(bias - bias.mean(), oracle.intercept_, atol=1e-3)


def test_the_probe_bears_coordinates_that_do_not_vary():
    points, labels = labelled_points(200, 1)
    points[:, 2] = 7.0
    assert 0.5 < probe.probe_accuracy(points, labels, points, labels) < 1


def test_clusters_may_be_of_more_than_the_test_set():
    train, test = _split(300, 1, False), _split(100, 2, False)
    whole = {name: torch.cat([train[name], test[name]]) for name in train}
    found = [
        separation(train, test, torch.Generator().manual_seed(0), Euclidean(4), clustered)
        for clustered in (None, test, whole)
    ]
    assert found[0] == found[1]
    assert found[2]["test/silhouette"] == pytest.approx(
        silhouette_score(whole["loc"], whole["labels"]), abs=1e-5
    )
    assert found[2]["test/probe_accuracy"] == found[0]["test/probe_accuracy"]
