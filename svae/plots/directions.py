"""Directions that were observed beside directions that a model makes."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from svae.data.splits import DataSet
from svae.plots.latent import hammer
from svae.plots.style import COLOURS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 8  # circles


@torch.no_grad()
def directions(model, data: DataSet, generator: torch.Generator) -> "Figure":
    """Draw the test set's directions and samples of the model: of circles histograms, of S^2 maps.

    The model's are drawn from the prior and the likelihood; a Gaussian's are divided by their
    length. Of unit vectors with more numbers, the first is shown.
    """
    observed = data.test.values
    likelihood = model.likelihood(model.prior().draw((len(observed),), generator).value)
    p = data.test.directions
    both = [v.cpu().unflatten(-1, (-1, p)).numpy() for v in (observed, likelihood.sample())]
    if p == 2:
        chart = _circles(*(np.arctan2(v[..., 1], v[..., 0]) for v in both))
    elif p == 3:
        chart = _spheres(*(v[:, 0] / np.linalg.norm(v[:, 0], axis=-1, keepdims=True) for v in both))
    else:
        chart = _coordinates(*(v[:, 0, 0] for v in both))
    chart.suptitle("directions of the test set and samples of the model")
    return chart


def _circles(observed: np.ndarray, made: np.ndarray) -> "Figure":
    count = min(observed.shape[1], _SHOWN)
    rows = math.ceil(count / 4)
    chart = figure(2.9 * math.ceil(count / rows), 3.0 * rows + 0.5)
    cells = chart.subplots(rows, math.ceil(count / rows), squeeze=False).flat
    edges = np.linspace(-180, 180, 37)
    for k, axes in zip(range(count), cells, strict=False):
        kwargs = {"bins": edges, "density": True}
        axes.hist(np.rad2deg(observed[:, k]), color=COLOURS[4], label="test set", **kwargs)
        shown = {"histtype": "step", "color": COLOURS[7], "lw": 1.5, "label": "model"}
        axes.hist(np.rad2deg(made[:, k]), **shown, **kwargs)
        axes.set(title=f"direction {k + 1}", xticks=(-180, -90, 0, 90, 180), yticks=[])
        axes.set(xlabel="angle (degrees)", ylabel="density")
    chart.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return chart


def _spheres(observed: np.ndarray, made: np.ndarray) -> "Figure":
    chart = figure(11, 3.6)
    places = chart.subplots(1, 2, subplot_kw={"projection": "hammer"})
    for axes, points, name in zip(places, (observed, made), ("test set", "model"), strict=True):
        hammer(axes, points, None)
        axes.set_title(name)
    return chart


def _coordinates(observed: np.ndarray, made: np.ndarray) -> "Figure":
    chart = figure(5, 3.8)
    axes = chart.subplots()
    axes.hist(observed, bins=40, density=True, color=COLOURS[4], label="test set")
    axes.hist(made, bins=40, density=True, histtype="step", color=COLOURS[7], label="model")
    axes.set(xlabel="first coordinate", ylabel="density")
    chart.legend(loc="outside lower center", ncols=2)
    return chart
