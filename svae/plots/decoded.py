"""Pictures that the decoder makes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from svae.data.splits import DataSet
from svae.plots.style import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def reconstructions(model, data: DataSet, generator: torch.Generator, count: int = 10) -> "Figure":
    """Draw test observations above the mean image decoded from a posterior sample of each."""
    observed = data.test.observe(slice(0, count), generator)
    latent = model.posterior(observed).draw((), generator).value
    decoded = model.likelihood(latent).mean
    chart = figure(count, 2.4)
    chart.suptitle("test images (above) and their reconstructions")
    _grid(chart, torch.cat([observed, decoded]), data.image_shape, rows=2)
    return chart


@torch.no_grad()
def samples(model, shape: tuple[int, int], generator: torch.Generator, side: int = 8) -> "Figure":
    """Draw mean images decoded from samples of the prior."""
    latent = model.prior().draw((side * side,), generator).value
    chart = figure(6, 6.4)
    chart.suptitle("decoded samples of the prior")
    _grid(chart, model.likelihood(latent).mean, shape, rows=side)
    return chart


def _grid(chart: "Figure", images: Tensor, shape: tuple[int, int], rows: int) -> None:
    axes = chart.subplots(rows, len(images) // rows).flat
    for cell, image in zip(axes, images.cpu().view(-1, *shape), strict=True):
        cell.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        cell.axis("off")
