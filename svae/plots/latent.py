"""The latent space of a run, from its latents.npz."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from svae.plots.style import COLOURS, classes, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def latent_space(latents: Path) -> "Figure":
    """Draw the posterior means of the test set, coloured by label.

    A circle (m = 2), a plane and the sphere S^2 are drawn as they are; more dimensions by their
    first two principal components.
    """
    with np.load(latents) as arrays:
        loc, labels = arrays["loc"], arrays.get("labels")
    if loc.shape[1] == 3 and np.allclose(np.linalg.norm(loc, axis=1), 1, atol=1e-3):
        return _sphere(loc, labels)
    points, names = _plane(loc)
    chart = figure(6.4, 5.6)
    axes = chart.subplots()
    for number, (name, members) in enumerate(classes(labels, len(points))):
        axes.scatter(*points[members].T, s=3, color=COLOURS[number % 10], label=name, lw=0)
    axes.set(xlabel=names[0], ylabel=names[1], title="posterior means of the test set")
    axes.set_aspect("equal", "datalim")
    if labels is not None:
        axes.legend(
            markerscale=5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="label"
        )
    return chart


def _sphere(loc: np.ndarray, labels: np.ndarray | None) -> "Figure":
    """Draw the two halves of the sphere, seen from the first axis and from its opposite."""
    chart = figure(9, 4.6)
    chart.suptitle("posterior means of the test set on the sphere, from both sides")
    turn = np.linspace(0, 2 * np.pi, 200)
    for axes, side in zip(chart.subplots(1, 2), (1, -1), strict=True):
        axes.plot(np.cos(turn), np.sin(turn), color=COLOURS[9], lw=1)
        for number, (name, members) in enumerate(classes(labels, len(loc))):
            seen = members[side * loc[members, 0] >= 0]
            points = side * loc[seen, 1], loc[seen, 2]
            axes.scatter(*points, s=5, color=COLOURS[number % 10], label=name, lw=0)
        axes.set_aspect("equal")
        axes.axis("off")
    if labels is not None:
        axes.legend(
            markerscale=3, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="label"
        )
    return chart


def _plane(loc: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    if loc.shape[1] == 1:
        return np.column_stack([loc[:, 0], np.zeros(len(loc))]), ("z1", "")
    if loc.shape[1] == 2:
        return loc, ("z1", "z2")
    centred = loc - loc.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    return centred @ axes, ("first principal component", "second principal component")
