"""Pictures that the decoder makes."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from svae.data.splits import DataSet
from svae.manifolds import Grid
from svae.plots import Missing
from svae.plots.style import figure


@torch.no_grad()
def reconstructions(model, data: DataSet, generator: torch.Generator, count: int = 10) -> Figure:
    """Draw test observations above the mean image decoded from a posterior sample of each."""
    observed = data.test.observe(slice(0, count), generator)
    latent = model.posterior(observed).draw((), generator).value
    decoded = _mean(model, latent)
    chart = figure(count, 2.4)
    chart.suptitle("test images (above) and their reconstructions")
    _grid(chart.subplots(), torch.cat([observed, decoded]), data.image_shape, rows=2)
    return chart


@torch.no_grad()
def samples(model, shape: tuple[int, int], generator: torch.Generator, side: int = 8) -> Figure:
    """Draw mean images decoded from samples of the prior."""
    latent = model.prior().draw((side * side,), generator).value
    chart = figure(6, 6.4)
    chart.suptitle("decoded samples of the prior")
    _grid(chart.subplots(), _mean(model, latent), shape, rows=side)
    return chart


@torch.no_grad()
def interpolations(
    model, data: DataSet, generator: torch.Generator, rows: int = 8, steps: int = 11
) -> Figure:
    """Draw the decoded walk between the posterior means of pairs of test images.

    Along the shortest way on the manifold. Both ends are posterior means, decoded.
    """
    chosen = torch.randperm(len(data.test), generator=generator, device=data.device)[: 2 * rows]
    manifold = model.latent.manifold
    posterior = model.posterior(data.test.observe(chosen, generator))
    if not hasattr(posterior, "loc"):
        raise Missing("no `loc`")
    ends = posterior.loc
    first, last = ends[: len(ends) // 2], ends[len(ends) // 2 : len(ends) // 2 * 2]
    share = torch.linspace(0, 1, steps, device=ends.device)
    points = manifold.geodesic(first, last, share)
    chart = figure(steps * 0.75, len(first) * 0.75 + 0.6)
    chart.suptitle(f"from one test image to another, along {manifold.path}")
    images = _mean(model, points.flatten(0, 1))
    _grid(chart.subplots(), images, data.image_shape, rows=len(first))
    return chart


@torch.no_grad()
def walk(model, shape: tuple[int, int], grid: Grid) -> Figure:
    """Draw what decodes from the grid of a manifold, which covers the prior evenly."""
    like, (points, rows, name) = next(model.parameters()), grid
    columns = len(points) // rows
    chart = figure(columns * 0.5, rows * 0.5 + 0.9)
    axes = chart.subplots()
    _grid(axes, _mean(model, points.to(like)), shape, rows=rows)
    axes.set_title(name, fontsize="medium")
    return chart


def _mean(model, latent: Tensor) -> Tensor:
    """Return the mean observations (N, D) of latent vectors (N, m).

    Raises:
        Missing: when a likelihood of a person's own has none.
    """
    try:
        return model.likelihood(latent).mean
    except (AttributeError, NotImplementedError):
        raise Missing("no `mean` of the likelihood") from None


def _grid(axes, images: Tensor, shape: tuple[int, int], rows: int) -> None:
    """Draw images (N, D) in rows on one pair of axes, as one picture: fast however many."""
    height, width = shape
    padded = torch.nn.functional.pad(images.cpu().view(rows, -1, height, width), (1, 1, 1, 1))
    whole = padded.permute(0, 2, 1, 3).reshape(rows * (height + 2), -1)
    axes.imshow(whole.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
