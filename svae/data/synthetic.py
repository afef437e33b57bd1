"""Points of a circle or a sphere hidden in R^D by a random map: their latent truth is known."""

import math

import numpy as np
import torch

from svae.data.splits import DataSet, Split, digest


def load(
    dimension: int = 1,
    components: int = 3,
    concentration: float = 5.0,
    features: int = 100,
    noise: float = 0.3,
    observations: int = 7000,
    seed: int = 0,
) -> DataSet:
    """Draw a mixture of von Mises-Fisher clusters on S^1 or S^2 and send it to R^D.

    x = B tanh(A z + a) + noise * e, with the entries of A (D, m) from N(0, 1), of a from
    N(0, 1/4), of B (D, D) from N(0, 1/D), and e from N(0, I): all drawn once from `seed`. The means
    of the clusters are spread evenly. `labels` are the clusters, `positions` the points z; 5/7 of
    the observations train, 1/7 validate, 1/7 test. The mixture on the circle is that of Davidson et
    al. 2018, figure 1, where neither the map nor the concentration is published.

    Args:
        dimension: d, 1 for the circle or 2 for the sphere.
        components: how many clusters.
        concentration: kappa of each.
        features: D.
        noise: standard deviation of the noise.
        observations: how many points, of all splits.
        seed: of everything that is drawn here.

    Raises:
        ValueError: for another dimension, or fewer than 7 observations.
    """
    if dimension not in (1, 2):
        raise ValueError(f"dataset.dimension={dimension}: expected 1 (circle) or 2 (sphere)")
    if observations < 7:
        raise ValueError(f"dataset.observations={observations}: expected 7 or more to split")
    random = np.random.default_rng(seed)
    into_map = random.normal(size=(dimension + 1, features)), random.normal(size=features) / 2
    out_of_map = random.normal(size=(features, features)) / math.sqrt(features)
    labels = random.integers(components, size=observations)
    draw, centres = (_on_circle, _circle) if dimension == 1 else (_on_sphere, _sphere)
    positions = draw(random, centres(components)[labels], concentration)
    values = np.tanh(positions @ into_map[0] + into_map[1]) @ out_of_map
    values += noise * random.normal(size=values.shape)
    arrays = [torch.from_numpy(a) for a in (values.astype("f4"), labels, positions.astype("f4"))]
    whole = Split(arrays[0], arrays[1], positions=arrays[2])
    held_out = observations // 7
    splits = whole.cut(observations - 2 * held_out, held_out, held_out)
    made = (dimension, components, concentration, features, noise, observations, seed)
    return DataSet(
        *splits,
        likelihood="gaussian",
        origin="generated",
        data_hash=digest("synthetic", *made),
        fingerprint=digest(*map(len, splits)),
    )


def _circle(count: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _sphere(count: int) -> np.ndarray:
    """Return points of the Fibonacci lattice (Swinbank and Purser 2006)."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - math.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])


def _on_circle(random: np.random.Generator, means: np.ndarray, concentration: float) -> np.ndarray:
    angle = random.vonmises(np.arctan2(means[:, 1], means[:, 0]), concentration)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _on_sphere(random: np.random.Generator, means: np.ndarray, concentration: float) -> np.ndarray:
    """Draw by inverting the distribution function of the height (Jakob 2012)."""
    u = random.random(len(means))
    height = 1 + np.log1p(np.expm1(-2 * concentration) * u) / concentration
    tangent = random.normal(size=means.shape)
    tangent -= (tangent * means).sum(1, keepdims=True) * means
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    sine = np.sqrt(np.maximum(1 - height**2, 0))
    return height[:, None] * means + sine[:, None] * tangent
