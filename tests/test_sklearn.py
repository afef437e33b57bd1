"""The estimator of scikit-learn, by scikit-learn's own checks and in its own places."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import check_estimator

import svae
from svae.sklearn import SphericalVAE

KEYS = {"trainer": {"max_epochs": 2, "warmup_epochs": 1}, "network.hidden": [8], "threads": 1}
EXCEPTIONS = {
    # their `transform` passes; an ELBO is estimated by samples, which rows draw in their order
    "check_methods_sample_order_invariance": "score_samples draws",
    "check_methods_subset_invariance": "score_samples draws",
}
RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 2, 80)
X = RANDOM.normal(size=(80, 6)) + 3 * CLASSES[:, None]


def _estimator(**parameters):
    return SphericalVAE(2, **{"keys": KEYS, "random_state": 0, **parameters})


@pytest.mark.slow
def test_scikit_learn_finds_nothing_wrong():
    results = check_estimator(
        _estimator(), on_skip=None, on_fail=None, expected_failed_checks=EXCEPTIONS
    )
    assert len(results) > 40
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    excepted = {r["check_name"]: r["exception"] for r in results if r["status"] == "xfail"}
    assert excepted.keys() == EXCEPTIONS.keys()
    assert all(str(error).lstrip().find("score_samples") >= 0 for error in excepted.values())


@pytest.fixture(scope="module")
def fitted():
    return _estimator().fit(X)


def test_it_is_what_svae_fit_makes(fitted):
    z = fitted.transform(X)
    assert (z.shape, z.dtype) == ((80, 3), np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
    assert fitted.inverse_transform(z).shape == X.shape
    assert list(fitted.get_feature_names_out()) == [f"sphericalvae{k}" for k in range(3)]
    assert len(fitted.history_) == 2
    assert fitted.score(X) == pytest.approx(fitted.score_samples(X).mean())


def test_it_is_cloned_with_its_parameters():
    again = clone(_estimator(model="normal"))
    assert again.get_params() == _estimator(model="normal").get_params()
    assert not hasattr(again, "codec_")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "vfm"}, "did you mean vmf"),
        ({"likelihood": "poisson"}, "dataset.likelihood=poisson: expected one of"),
        ({"validation_fraction": 2}, "validation_fraction=2: expected a number between 0 and 1"),
        ({"keys": {"epochs": 3}}, "did you mean trainer.max_epochs"),
    ],
)
def test_a_wrong_parameter_is_refused_by_fit(parameters, words):
    with pytest.raises(ValueError, match=words):
        _estimator(**parameters).fit(X)


@pytest.mark.slow
def test_a_seed_repeats_it_and_a_pickle_keeps_it(fitted):
    np.testing.assert_array_equal(_estimator().fit_transform(X), fitted.transform(X))
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    other = _estimator(random_state=check_random_state(0)).fit(X)
    assert other.seed_ != fitted.seed_


@pytest.mark.slow
def test_it_works_in_a_pipeline_a_search_and_in_cross_validation():
    line = make_pipeline(StandardScaler(), _estimator(), KNeighborsClassifier(5))
    assert cross_val_score(line, X, CLASSES, cv=3).mean() > 0.9
    search = GridSearchCV(_estimator(), {"model": ["vmf", "normal"]}, cv=2).fit(X)
    assert search.best_params_["model"] in ("vmf", "normal")


@pytest.mark.slow
def test_its_parameters_are_those_of_the_same_fit(fitted):
    from svae.data.holdout import hold_out

    rows = hold_out(80, {"validation": 8}, "shuffled", 0)
    data = tuple(X[rows[name]] for name in ("train", "validation", "validation"))
    keys = {**KEYS, "dataset": {"likelihood": "gaussian"}, "plots": False}
    run = svae.fit(data, latent_dim=2, progress=False, **keys)
    np.testing.assert_array_equal(run.encode(X).loc, fitted.transform(X).astype(np.float32))
