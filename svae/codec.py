"""A trained model at work: between a person's own observations and latent vectors, in batches."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from svae.data.binarise import bernoulli
from svae.data.given import as_array
from svae.data.units import Units
from svae.evaluate import Settings
from svae.tasks import task_of
from svae.training.streams import stream

_BOUNDS = {"elbo": "elbo", "iwae": "log_likelihood"}


class Encoded(NamedTuple):
    """Posteriors of observations, row by row.

    `loc` (N, m) is the mean, on the sphere its direction. `spread` is there the concentration
    (N,), of Gaussians the standard deviation (N, d), None for posteriors with neither.
    """

    loc: np.ndarray
    spread: np.ndarray | None


class Codec:
    """A model that was trained, and the units of the data that it was trained on.

    Args:
        model: as `svae.models.dense.AutoEncoder`, ready for use, of vectors and not of a graph.
        units: those of a person's observations.
        is_binary: whether observations are drawn as 0 or 1, of the probabilities that rows are.
        batch_size: how many rows, or decoded latent vectors, are in memory at once.
    """

    def __init__(self, model: nn.Module, units: Units, is_binary: bool, batch_size: int = 4096):
        self.model, self.units = model, units
        self.is_binary, self.batch_size = is_binary, batch_size

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    @torch.no_grad()
    def spread(self) -> str | None:
        """What the spread of its posteriors is called: concentration, scale or nothing."""
        return _spread_of(self._posterior(torch.zeros(2, self.units.features)))

    @torch.no_grad()
    def encode(
        self, x: Any, name: str = "x", progress: Callable[[list], Iterable] = iter
    ) -> Encoded:
        """Return the posteriors of observations (N, *shape), in their order.

        `progress` wraps the list of where batches begin, to show how far it is.

        Nothing is drawn: of grey levels the encoder reads the probabilities, so that a row has one
        posterior, whichever rows are beside it.

        Raises:
            ValueError: when they are not as the training data were, or posteriors have no `loc`.
        """
        array, found = as_array(x, name), {}
        for start, rows in self._batches(array, name, progress=progress):
            posterior = self._posterior(rows)
            if not hasattr(posterior, "loc"):
                raise ValueError("the posteriors of this model have no `loc`, which encode gives")
            for own in filter(None, ("loc", _spread_of(posterior))):
                values = getattr(posterior, own).float().cpu().numpy()
                if own not in found:
                    found[own] = np.empty((len(array), *values.shape[1:]), np.float32)
                found[own][start : start + len(values)] = values
        loc = found.pop("loc")
        return Encoded(loc, next(iter(found.values()), None))

    def decode(self, z: Any) -> np.ndarray:
        """Return the mean observations (N, *shape), in the units of the data, of latent vectors.

        Raises:
            ValueError: when they are no (N, m) finite numbers on the manifold, or a likelihood of
                one's own has no mean.
        """
        return self._decoded(self._latent(as_array(z, "z")))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Return mean observations (count, *shape) decoded from samples of the prior.

        Raises:
            ValueError: when `count` is no whole number from 0 up.
        """
        if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 0:
            raise ValueError(f"n={count!r}: expected a whole number from 0 up")
        generator, prior = stream(self.device, seed, "sample"), self.model.prior()
        starts = range(0, int(count), self.batch_size) or (0,)
        sizes = [min(self.batch_size, int(count) - start) for start in starts]
        with torch.no_grad():
            draws = (prior.draw((size,), generator).value for size in sizes)
            return np.concatenate([self._decoded(latent) for latent in draws])

    def interpolate(self, a: Any, b: Any, steps: int = 11) -> np.ndarray:
        """Return what decodes from the shortest way between the posterior means of `a` and `b`.

        Of observations (N, *shape) it is (N, steps, *shape), of one each (steps, *shape); both ends
        are decoded posterior means.

        Raises:
            ValueError: when the two are not as many, or not as the training data were.
        """
        if not isinstance(steps, int) or steps < 2:
            raise ValueError(f"steps={steps!r}: expected a whole number from 2 up")
        ends = [as_array(x, name) for x, name in ((a, "a"), (b, "b"))]
        is_one = ends[0].shape == self.units.shape
        ends = [x[None] if x.shape == self.units.shape else x for x in ends]
        found = [self.encode(x, name).loc for x, name in zip(ends, "ab", strict=True)]
        if len(found[0]) != len(found[1]):
            raise ValueError(f"a has {len(found[0])} observations and b {len(found[1])}")
        first, last = (torch.from_numpy(loc).to(self.device) for loc in found)
        share = torch.linspace(0, 1, steps, device=self.device)
        points = self.model.latent.manifold.geodesic(first, last, share)
        walks = self._decoded(points.flatten(0, 1)).reshape(-1, steps, *self.units.shape)
        return walks[0] if is_one else walks

    def score(
        self, x: Any, bound: str = "elbo", importance_samples: int = 100, seed: int = 0
    ) -> np.ndarray:
        """Return a lower bound of log p(x), in nats, of each of the observations (N, *shape).

        `bound` is "elbo", its reconstruction averaged over so many samples, or "iwae", the
        importance-weighted one of so many, which is tighter (Burda, Grosse and Salakhutdinov 2016,
        eq. 8). Grey levels are first drawn as 0 or 1, as in training; all that is drawn follows
        from `seed`. Of numbers that are no pixels it is the density per unit of theirs; of angles
        per radian, and by a Gaussian likelihood that of (cos, sin) in the plane.

        Raises:
            ValueError: for another bound, or when `x` is not as the training data were.
        """
        if bound not in _BOUNDS:
            raise ValueError(f"bound={bound}: expected one of {', '.join(_BOUNDS)}")
        if not isinstance(importance_samples, int) or importance_samples < 1:
            raise ValueError(
                f"importance_samples={importance_samples!r}: expected a whole number from 1 up"
            )
        array, generator = as_array(x, "x"), stream(self.device, seed, "score")
        settings = Settings(importance_samples, self.batch_size)
        measure = task_of("vectors", self.model).measure
        size, found = max(1, self.batch_size // importance_samples), [np.empty(0, np.float32)]
        for _, rows in self._batches(array, "x", size):
            observed = rows.to(self.device)
            observed = bernoulli(observed, generator) if self.is_binary else observed
            columns = measure(self.model, observed, settings, generator)
            columns["elbo"] = columns["reconstruction"] - columns["kl"]
            found.append(columns[_BOUNDS[bound]].float().cpu().numpy())
        return np.concatenate(found)

    def _batches(
        self,
        array: np.ndarray,
        name: str,
        size: int | None = None,
        progress: Callable[[list], Iterable] = iter,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield where each batch of rows begins, and the batch; an empty one where there is none.

        An array that is mapped from a file is read no further than that.
        """
        self.units.divisor(array, name)  # of the whole, whose shape is the one that is known
        size = size or self.batch_size
        if array.ndim == 0 or not len(array):
            yield 0, self.units.rows(array, name)
            return
        for start in progress(list(range(0, len(array), size))):
            yield start, self.units.rows(array[start : start + size], name)

    def _posterior(self, rows: Tensor):
        return self.model.posterior(rows.to(self.device))

    def _latent(self, z: np.ndarray) -> Tensor:
        manifold = self.model.latent.manifold
        m = manifold.ambient_dim
        if z.ndim != 2 or z.shape[1] != m:
            raise ValueError(f"z: expected latent vectors of shape (N, {m}), got {z.shape}")
        points = torch.from_numpy(z.astype(np.float32))
        if not points.isfinite().all():
            raise ValueError("z: expected finite numbers, found one that is not")
        if len(points) and not manifold.contains(points):
            raise ValueError(f"z: expected points of {manifold}, the latent space of this run")
        return points.to(self.device)

    @torch.no_grad()
    def _decoded(self, latent: Tensor) -> np.ndarray:
        found = np.empty((len(latent), *self.units.shape), np.float32)
        for start in range(0, len(latent), self.batch_size):
            law = self.model.likelihood(latent[start : start + self.batch_size])
            try:
                mean = law.mean
            except (AttributeError, NotImplementedError):
                raise ValueError("the likelihood of this model has no `mean` to decode") from None
            found[start : start + len(mean)] = self.units.observations(mean)
        return found


def _spread_of(posterior) -> str | None:
    return next((name for name in ("concentration", "scale") if hasattr(posterior, name)), None)


def units_of(state: dict) -> Units:
    """Return the units of the data of a checkpoint; earlier versions say only what follows.

    Raises:
        ValueError: when they are not those of its model.
    """
    shape, is_binary = state.get("image_shape"), state["likelihood"] == "bernoulli"
    divisors = {"float32": 1, "bool": 1, "uint8": 255} if is_binary else {"float32": 1}
    units = Units(tuple(shape or (state["features"],)), divisors, 1 if is_binary else None)
    if (known := state.get("units")) is not None:
        units = Units.restored(known)
    if units.features != state["features"]:
        raise ValueError(
            f"units.shape: {units.shape} are not the {state['features']} numbers of a row"
        )
    return units
