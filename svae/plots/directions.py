"""Directions that were observed beside directions that a model makes."""

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.data.splits import DataSet
from svae.plots.latent import hammer
from svae.plots.style import COLOURS, figure, label, legend, scatter

_SHOWN = 4  # pairs


@torch.no_grad()
def directions(model, data: DataSet, generator: torch.Generator) -> Figure:
    """Draw the test set's directions above as many of the model's, from prior and likelihood.

    Of circles, pairs of angles one against the other, as Ramachandran's plot; of unit vectors of
    three numbers maps, of others a histogram of the first number. A Gaussian's samples are divided
    by their length.
    """
    observed = data.test.values
    likelihood = model.likelihood(model.prior().draw((len(observed),), generator).value)
    p = data.test.directions
    both = [v.cpu().unflatten(-1, (-1, p)).numpy() for v in (observed, likelihood.sample())]
    if p == 2:
        angles = [np.rad2deg(np.arctan2(v[..., 1], v[..., 0])) for v in both]
        draw = _pairs if angles[0].shape[1] > 1 else _histogram
        chart = draw(*angles, "angle (degrees)")
    elif p == 3:
        chart = _spheres(*(v[:, 0] / np.linalg.norm(v[:, 0], axis=-1, keepdims=True) for v in both))
    else:
        chart = _histogram(*(v[:, 0, :1] for v in both), "first coordinate")
    chart.suptitle("directions of the test set and samples of the model")
    return chart


def _pairs(observed: np.ndarray, made: np.ndarray, name: str) -> Figure:
    count = min(observed.shape[1] // 2, _SHOWN)
    rows, columns, height = (2, count, 5.2) if count > 1 else (1, 2, 3.2)
    chart = figure(2.4 * columns + 0.6, height)
    cells = chart.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    both = zip(cells.reshape(2, count), (observed, made), ("test set", "model"), strict=True)
    for row, points, whose in both:
        for k, axes in enumerate(row):
            scatter(axes, points[:, 2 * k], points[:, 2 * k + 1], None)
            label(axes, f"{whose}, direction {2 * k + 2} by {2 * k + 1}")
    ticks = (-180, -90, 0, 90, 180)
    cells[0, 0].set(xticks=ticks, yticks=ticks, xlim=(-180, 180), ylim=(-180, 180))
    chart.supxlabel(name, fontsize="medium")
    chart.supylabel(name, fontsize="medium")
    return chart


def _spheres(observed: np.ndarray, made: np.ndarray) -> Figure:
    chart = figure(11, 3.6)
    places = chart.subplots(1, 2, subplot_kw={"projection": "hammer"})
    for axes, points, name in zip(places, (observed, made), ("test set", "model"), strict=True):
        hammer(axes, points, None)
        axes.set_title(name)
    return chart


def _histogram(observed: np.ndarray, made: np.ndarray, name: str) -> Figure:
    chart = figure(5, 3.8)
    axes = chart.subplots()
    edges = np.histogram_bin_edges(np.concatenate([observed, made]), 40)
    axes.hist(observed[:, 0], edges, density=True, color=COLOURS[4], label="test set")
    shown = {"histtype": "step", "color": COLOURS[7], "lw": 1.5, "label": "model"}
    axes.hist(made[:, 0], edges, density=True, **shown)
    axes.set(xlabel=name, ylabel="density")
    legend(chart, axes, 2)
    return chart
