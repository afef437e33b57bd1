"""What a model has found of a circle or a sphere that is known."""

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.manifolds import Manifold
from svae.metrics.recovery import align, angles, directions
from svae.plots import Missing
from svae.plots.latent import hammer
from svae.plots.style import COLOURS, class_legend, classes_of, figure, scatter


def recovered(latents: dict[str, np.ndarray], manifold: Manifold) -> Figure:
    """Draw the true positions of the test set, what was found of them, and one against the other.

    What was found is turned or reflected to lie on the truth as well as it can.

    Raises:
        Missing: for posteriors without means.
    """
    if "loc" not in latents:
        raise Missing("no `loc`")
    truth, loc, classes = latents["positions"], latents["loc"], classes_of(latents)
    true = torch.from_numpy(truth).double()
    found = align(true, directions(torch.from_numpy(loc).double(), manifold))
    error = angles(true, found)
    draw = _circle if truth.shape[1] == 2 else _sphere
    chart = draw(truth, loc, found.numpy(), classes)
    chart.suptitle(f"recovery of the true positions: mean error {error.mean():.1f} degrees")
    class_legend(chart, classes)
    return chart


def _circle(truth: np.ndarray, loc: np.ndarray, found: np.ndarray, classes) -> Figure:
    chart = figure(11.5, 3.9)
    left, middle, right = chart.subplots(1, 3)
    turn = np.linspace(0, 2 * np.pi, 200)
    for axes, points, title in ((left, truth, "the truth"), (middle, loc, "posterior means")):
        axes.plot(np.cos(turn), np.sin(turn), color=COLOURS[9], lw=1, zorder=0)
        radius = np.random.default_rng(0).normal(1, 0.03, (len(points), 1))
        on_circle = np.allclose(np.linalg.norm(points, axis=1), 1, atol=1e-3)
        scatter(axes, *(points * radius if on_circle else points).T, classes)
        axes.set_aspect("equal", "datalim")
        axes.set(title=title, xlabel="first coordinate", ylabel="second coordinate")
    across = [np.rad2deg(np.arctan2(points[:, 1], points[:, 0])) for points in (truth, found)]
    right.plot([-180, 180], [-180, 180], color=COLOURS[9], lw=1, zorder=0)
    scatter(right, *across, classes)
    ticks = (-180, -90, 0, 90, 180)
    right.set(
        xlabel="true angle (degrees)", ylabel="angle found (degrees)", title="one by the other"
    )
    right.set(xticks=ticks, yticks=ticks, aspect="equal")
    return chart


def _sphere(truth: np.ndarray, loc: np.ndarray, found: np.ndarray, classes) -> Figure:
    chart = figure(12.5, 3.8)
    grid = chart.add_gridspec(1, 3, width_ratios=(4, 4, 3))
    for place, points, title in ((grid[0], truth, "the truth"), (grid[1], found, "found")):
        axes = chart.add_subplot(place, projection="hammer")
        hammer(axes, points, classes)
        axes.set_title(title)
    axes = chart.add_subplot(grid[2])
    error = angles(torch.from_numpy(truth).double(), torch.from_numpy(found))
    axes.hist(error.numpy(), bins=30, color=COLOURS[0])
    axes.set(xlabel="angle between the two (degrees)", ylabel="test observations")
    return chart
