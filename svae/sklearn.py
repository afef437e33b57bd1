"""The auto-encoder as a scikit-learn estimator: for pipelines, searches and cross-validation."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from svae.configuration.schema import flatten
from svae.data.holdout import hold_out
from svae.fitting import fit

_FLOATS = [np.float64, np.float32]


class SphericalVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational auto-encoder with a latent space of its own choice, by default a sphere.

    `transform` gives the posterior means: of model="vmf" unit vectors (N, latent_dim + 1), which a
    cosine compares. Rows are measurements with a Gaussian likelihood, whose deviations are learned:
    put a StandardScaler before it. A tenth of the rows, drawn at random, validates. For everything
    else that there is of a run, such as pictures, see `svae.fit`.

    Args:
        latent_dim: dimension of the latent manifold.
        model: vmf, normal, power_spherical or another choice of the command.
        likelihood: of the rows: gaussian, heteroscedastic, bernoulli (numbers in [0, 1]) or vmf.
        validation_fraction: of the rows, by which early stopping chooses the epoch.
        keys: further keys of the command, such as {"trainer": {"max_epochs": 30}}.
        random_state: an int is the command's `seed`; None, or a RandomState, draws one.
        verbose: whether progress is shown.

    Attributes:
        codec_: the trained model, an `svae.codec.Codec`.
        history_: a row per epoch.
        seed_: what all random numbers followed from.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        latent_dim: int = 10,
        *,
        model: str = "vmf",
        likelihood: str = "gaussian",
        validation_fraction: float = 0.1,
        keys: dict[str, Any] | None = None,
        random_state=None,
        verbose: bool = False,
    ):
        self.latent_dim = latent_dim
        self.model = model
        self.likelihood = likelihood
        self.validation_fraction = validation_fraction
        self.keys = keys
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train on rows (N, D); `y` is not looked at.

        Raises:
            ValueError: for rows or parameters that cannot be.
        """
        X = validate_data(self, X, dtype=_FLOATS, ensure_min_samples=2)
        self.seed_ = self._seed()
        if not 0 < self.validation_fraction < 1:
            share = self.validation_fraction
            raise ValueError(f"validation_fraction={share}: expected a number between 0 and 1")
        count = min(len(X) - 1, max(1, int(self.validation_fraction * len(X))))
        rows = hold_out(len(X), {"validation": count}, "shuffled", self.seed_)
        held_out = X[rows["validation"]]
        keys = {
            "latent_dim": self.latent_dim,
            "model": self.model,
            "dataset.likelihood": self.likelihood,
            "seed": self.seed_,
            "plots": False,
            "evaluation.importance_samples": 1,  # of numbers that nobody sees
            **flatten(self.keys or {}),
        }
        if keys.get("trainer.replicas", 1) != 1:
            count = f"trainer.replicas={keys['trainer.replicas']}"
            raise ValueError(f"keys: {count}: an estimator has one model, expected 1")
        data = (X[rows["train"]], held_out, held_out)
        run = fit(data, store=False, progress=self.verbose, **keys)
        self.codec_, self.history_ = run.codec, run.history
        self._n_features_out = self.codec_.model.latent.manifold.ambient_dim
        return self

    def transform(self, X) -> np.ndarray:
        """Return the posterior means (N, m) of rows (N, D)."""
        X = self._checked(X)
        return self.codec_.encode(X).loc.astype(X.dtype)

    def inverse_transform(self, X) -> np.ndarray:
        """Return the mean rows (N, D) that decode from latent vectors (N, m)."""
        check_is_fitted(self)
        return self.codec_.decode(X).astype(np.float64)

    def score_samples(self, X) -> np.ndarray:
        """Return the evidence lower bound of each row (N,), in nats."""
        X = self._checked(X)
        return self.codec_.score(X, seed=self.seed_).astype(X.dtype)

    def score(self, X, y=None) -> float:
        """Return the mean evidence lower bound of the rows, in nats: the higher, the better."""
        return float(self.score_samples(X).mean())

    def _checked(self, X) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=_FLOATS, reset=False)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))
