"""Pictures that the decoder makes."""

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from svae.data.splits import DataSet, Split
from svae.manifolds import Grid
from svae.plots import Missing
from svae.plots.style import figure


@torch.no_grad()
def reconstructions(
    model, data: DataSet, generator: torch.Generator, count: int = 10, split: str = "test"
) -> Figure:
    """Draw observations of a split above the mean image decoded from a posterior sample of each."""
    observed = getattr(data, split).observe(slice(0, count), generator)
    latent = model.posterior(observed).draw((), generator).value
    decoded = mean_of(model, latent)
    chart = figure(count, 2.4, f"{split} images (above) and their reconstructions")
    return draw_rows(chart, torch.cat([observed, decoded]), data, rows=2)


@torch.no_grad()
def samples(model, data: DataSet, generator: torch.Generator, side: int = 8) -> Figure:
    """Draw mean images decoded from samples of the prior."""
    latent = model.prior().draw((side * side,), generator).value
    chart = figure(6, 6.4, "decoded samples of the prior")
    return draw_rows(chart, mean_of(model, latent), data, rows=side)


@torch.no_grad()
def interpolations(
    model, data: DataSet, generator: torch.Generator, rows: int = 8, steps: int = 11
) -> Figure:
    """Draw the decoded walk between the posterior means of pairs of test images.

    Along the shortest way on the manifold. Both ends are posterior means, decoded.
    """
    if len(data.test) < 2:
        raise Missing("fewer than two test images")
    chosen = torch.randperm(len(data.test), generator=generator, device=data.device)[: 2 * rows]
    manifold = model.latent.manifold
    posterior = model.posterior(data.test.observe(chosen, generator))
    if not hasattr(posterior, "loc"):
        raise Missing("no `loc`")
    ends = posterior.loc
    first, last = ends[: len(ends) // 2], ends[len(ends) // 2 : len(ends) // 2 * 2]
    share = torch.linspace(0, 1, steps, device=ends.device)
    points = manifold.geodesic(first, last, share)
    title = f"from one test image to another, along {manifold.path}"
    chart = figure(steps * 0.75, len(first) * 0.75 + 0.6, title)
    return draw_rows(chart, mean_of(model, points.flatten(0, 1)), data, rows=len(first))


@torch.no_grad()
def walk(model, data: DataSet, grid: Grid) -> Figure:
    """Draw what decodes from the grid of a manifold, which covers the prior evenly."""
    like, (points, rows, name) = next(model.parameters()), grid
    columns = len(points) // rows
    chart = figure(columns * 0.5, rows * 0.5 + 0.9)
    return draw_rows(chart, mean_of(model, points.to(like)), data, rows=rows, title=name)


def mean_of(model, latent: Tensor) -> Tensor:
    """Return the mean observations (N, D) of latent vectors (N, m).

    Raises:
        Missing: when a likelihood of a person's own has none.
    """
    try:
        return model.likelihood(latent).mean
    except (AttributeError, NotImplementedError):
        raise Missing("no `mean` of the likelihood") from None


def draw_rows(chart: Figure, images: Tensor, data: DataSet, rows: int, title: str = "") -> Figure:
    """Draw images (N, D) in rows on one pair of axes, as one picture: fast however many.

    White is the lowest number of the training images and black the highest; of those that are drawn
    as 0 or 1, these. Levels of bytes and colours are light: the lowest is black.
    """
    (*channels, height, width), axes, train = data.image_shape, chart.subplots(), data.train
    is_light = train.has_levels or bool(channels)
    low, high = _range(train)
    images = images.cpu().view(rows, -1, *channels, height, width)
    padded = F.pad(images, (1, 1, 1, 1), value=high if is_light else low)
    # (rows, height, columns, width) and the colours
    whole = padded.movedim(-2, 1).movedim(-1, 3).reshape(rows * (height + 2), -1, *channels)
    style = {"cmap": "gray" if is_light else "gray_r", "vmin": low, "vmax": high}
    if channels:  # which imshow takes from 0 to 1 only
        whole, style = ((whole - low) / max(high - low, 1e-30)).clamp(0, 1), {}
    axes.imshow(whole.numpy(), **style, interpolation="nearest")
    axes.set_title(title, fontsize="medium")
    axes.axis("off")
    return chart


def _range(train: Split) -> tuple[float, float]:
    """Return the lowest and the highest number that images are drawn with."""
    if train.binary or train.has_levels:
        return 0, 1
    return train.values.min().item(), train.values.max().item()
