"""Pictures that the decoder makes."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from svae.data.splits import DataSet
from svae.plots.style import Missing, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def reconstructions(model, data: DataSet, generator: torch.Generator, count: int = 10) -> "Figure":
    """Draw test observations above the mean image decoded from a posterior sample of each."""
    observed = data.test.observe(slice(0, count), generator)
    latent = model.posterior(observed).draw((), generator).value
    decoded = _mean(model, latent)
    chart = figure(count, 2.4)
    chart.suptitle("test images (above) and their reconstructions")
    _grid(chart.subplots(), torch.cat([observed, decoded]), data.image_shape, rows=2)
    return chart


@torch.no_grad()
def samples(model, shape: tuple[int, int], generator: torch.Generator, side: int = 8) -> "Figure":
    """Draw mean images decoded from samples of the prior."""
    latent = model.prior().draw((side * side,), generator).value
    chart = figure(6, 6.4)
    chart.suptitle("decoded samples of the prior")
    _grid(chart.subplots(), _mean(model, latent), shape, rows=side)
    return chart


@torch.no_grad()
def interpolations(
    model, data: DataSet, generator: torch.Generator, rows: int = 8, steps: int = 11
) -> "Figure":
    """Draw the decoded walk between the posterior means of pairs of test images.

    Along the great circle on a sphere, along the straight line in R^d. Both ends are posterior
    means, decoded.
    """
    chosen = torch.randperm(len(data.test), generator=generator, device=data.device)[: 2 * rows]
    on_sphere = _geometry(model)
    posterior = model.posterior(data.test.observe(chosen, generator))
    if not hasattr(posterior, "loc"):
        raise Missing("no `loc`")
    ends = posterior.loc
    first, last = ends[: len(ends) // 2], ends[len(ends) // 2 : len(ends) // 2 * 2]
    share = torch.linspace(0, 1, steps, device=ends.device)
    points = great_circles(first, last, share) if on_sphere else lines(first, last, share)
    chart = figure(steps * 0.75, len(first) * 0.75 + 0.6)
    words = "along the great circle" if on_sphere else "along the straight line"
    chart.suptitle(f"from one test image to another, {words}")
    images = _mean(model, points.flatten(0, 1))
    _grid(chart.subplots(), images, data.image_shape, rows=len(first))
    return chart


@torch.no_grad()
def walk(model, shape: tuple[int, int]) -> "Figure":
    """Draw what decodes from a grid that covers the prior evenly, for one or two dimensions.

    S^1: a turn, starting at (1, 0); S^2: Lambert's cylindrical equal-area grid of longitude and
    sine of the latitude; R^d: quantiles of the standard Gaussian in each dimension (Kingma and
    Welling 2014, figure 4).
    """
    like = next(model.parameters())
    if _geometry(model):
        points, rows, name = _sphere_grid(model.latent.embedding)
    else:
        points, rows, name = _normal_grid(model.latent.embedding)
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


def _geometry(model) -> bool:
    """Return whether latent vectors lie on the sphere, else in R^d.

    Raises:
        Missing: when they lie in neither.
    """
    if model.latent.has_unit_length is None:
        raise Missing("neither a sphere nor R^d")
    return model.latent.has_unit_length


def great_circles(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Return points (N, S, m) at the shares (S,) of the arcs from `first` to `last` (N, m).

    sin((1 - s) t) / sin t first + sin(s t) / sin t last, t the angle between them (Shoemake 1985).
    Where both are the same they are returned; opposite ends have no shortest arc.
    """
    angle = 2 * torch.asin((torch.linalg.vector_norm(first - last, dim=-1) / 2).clamp(max=1))
    angle = angle.clamp(1e-4, math.pi - 1e-4)[:, None, None]
    share = share[:, None]
    points = (
        torch.sin((1 - share) * angle) * first[:, None] + torch.sin(share * angle) * last[:, None]
    )
    return torch.nn.functional.normalize(points, dim=-1)


def lines(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Return points (N, S, d) at the shares (S,) of the lines from `first` to `last` (N, d)."""
    return torch.lerp(first[:, None], last[:, None], share[:, None])


def _sphere_grid(m: int) -> tuple[Tensor, int, str]:
    if m == 2:
        turn = torch.arange(40) * (2 * math.pi / 40)
        points = torch.stack([turn.cos(), turn.sin()], -1)
        return points, 2, "once round the circle, 9 degrees a step, in two rows"
    sine = 1 - (torch.arange(10) + 0.5) / 5
    turn = torch.linspace(-math.pi, math.pi, 21)[:-1] + math.pi / 20
    sine, turn = torch.meshgrid(sine, turn, indexing="ij")
    radius = (1 - sine**2).sqrt()
    points = torch.stack([radius * turn.cos(), radius * turn.sin(), sine], -1).flatten(0, 1)
    words = "the whole sphere: longitude -180 to 180 degrees across, sine of the latitude 1 to -1"
    return points, 10, f"{words} down (equal areas)"


def _normal_grid(d: int) -> tuple[Tensor, int, str]:
    count = 40 if d == 1 else 15
    quantiles = torch.special.ndtri((torch.arange(count) + 0.5) / count)
    if d == 1:
        return quantiles[:, None], 2, "quantiles of the prior from 1.25 % to 98.75 %, in two rows"
    down, across = torch.meshgrid(-quantiles, quantiles, indexing="ij")
    points = torch.stack([across, down], -1).flatten(0, 1)
    return points, count, "quantiles of the prior from 3 % to 97 %: z1 across, z2 up (equal shares)"


def _grid(axes, images: Tensor, shape: tuple[int, int], rows: int) -> None:
    """Draw images (N, D) in rows on one pair of axes, as one picture: fast however many."""
    height, width = shape
    padded = torch.nn.functional.pad(images.cpu().view(rows, -1, height, width), (1, 1, 1, 1))
    whole = padded.permute(0, 2, 1, 3).reshape(rows * (height + 2), -1)
    axes.imshow(whole.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
