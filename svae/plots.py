"""Pictures of a run: tensors in, matplotlib figures out."""

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from svae.data.splits import DataSet
from svae.ranking import auc, average_precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with any kind of colour vision, and two greys
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
    "#7F7F7F",
    "#BFBFBF",
)
_CURVES = (
    ("auc", "area under the ROC curve"),
    ("elbo", "ELBO (nats)"),
    ("kl", "KL (nats)"),
    ("acceptance_rate", "acceptance rate"),
    ("concentration_mean", "mean concentration"),
    ("scale_mean", "mean deviation"),
)


def figures(
    model, data: DataSet, folder: Path, generator: torch.Generator
) -> dict[str, Callable[[], "Figure"]]:
    """Return what can be drawn of a run, by name; each figure is made when it is called for."""
    drawings = {
        "curves": partial(curves, folder / "metrics.csv"),
        "latent": partial(latent_space, folder / "latents.npz"),
    }
    if data.is_graph:
        drawings["links"] = partial(link_curves, folder / "latents.npz")
    if data.image_shape:
        drawings |= {
            "reconstructions": partial(reconstructions, model, data, generator),
            "samples": partial(samples, model, data.image_shape, generator),
        }
    return drawings


def write(drawings: dict[str, Callable[[], "Figure"]], folder: Path) -> list[Path]:
    """Draw every figure into `folder` as PNG; return the paths."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, draw in drawings.items():
        paths.append(folder / f"{name}.png")
        draw().savefig(paths[-1], dpi=150)
    return paths


def curves(metrics: Path) -> "Figure":
    """Draw every metric against the epoch, training and validation together."""
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    shown = [(name, label) for name, label in _CURVES if f"val/{name}" in rows[0]]
    if all(float(row["train/acceptance_rate"]) == 1 for row in rows):
        shown = [curve for curve in shown if curve[0] != "acceptance_rate"]
    figure = _figure(4 * len(shown), 3.2)
    for axes, (name, label) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        for split, colour in (("train", COLOURS[0]), ("val", COLOURS[5])):
            if f"{split}/{name}" not in rows[0]:
                continue
            points = [(int(r["epoch"]), float(r[f"{split}/{name}"])) for r in rows]
            style = {"marker": "o"} if len(points) < 10 else {}
            axes.plot(*zip(*points, strict=True), color=colour, label=split, **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return figure


@torch.no_grad()
def reconstructions(model, data: DataSet, generator: torch.Generator, count: int = 10) -> "Figure":
    """Draw test observations above the mean image decoded from a posterior sample of each."""
    observed = data.test.observe(slice(0, count), generator)
    latent = model.posterior(observed).draw((), generator).value
    decoded = model.likelihood(latent).mean
    figure = _figure(count, 2.4)
    figure.suptitle("test images (above) and their reconstructions")
    _grid(figure, torch.cat([observed, decoded]), data.image_shape, rows=2)
    return figure


@torch.no_grad()
def samples(model, shape: tuple[int, int], generator: torch.Generator, side: int = 8) -> "Figure":
    """Draw mean images decoded from samples of the prior."""
    latent = model.prior().draw((side * side,), generator).value
    figure = _figure(6, 6.4)
    figure.suptitle("decoded samples of the prior")
    _grid(figure, model.likelihood(latent).mean, shape, rows=side)
    return figure


def link_curves(latents: Path) -> "Figure":
    """Draw the ROC and the precision-recall curve of the held-out links, with their areas."""
    with np.load(latents) as arrays:
        scores, is_edge = torch.from_numpy(arrays["scores"]), torch.from_numpy(arrays["is_edge"])
    hits = is_edge[scores.argsort(descending=True)].double().cumsum(0)
    false = torch.arange(1, len(hits) + 1) - hits
    recall, fall_out = hits / hits[-1], false / false[-1]
    precision = hits / (hits + false)
    area, mean = auc(scores, is_edge).item(), average_precision(scores, is_edge).item()
    figure = _figure(8, 4)
    left, right = figure.subplots(1, 2)
    left.plot(fall_out, recall, color=COLOURS[0])
    left.plot([0, 1], [0, 1], color=COLOURS[9], ls="--")
    left.set(xlabel="false positive rate", ylabel="true positive rate", title=f"AUC {area:.3f}")
    right.plot(recall, precision, color=COLOURS[0])
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"AP {mean:.3f}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle("held-out links of the test set")
    return figure


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
    figure = _figure(6.4, 5.6)
    axes = figure.subplots()
    for number, (name, members) in enumerate(_classes(labels, len(points))):
        axes.scatter(*points[members].T, s=3, color=COLOURS[number % 10], label=name, lw=0)
    axes.set(xlabel=names[0], ylabel=names[1], title="posterior means of the test set")
    axes.set_aspect("equal", "datalim")
    if labels is not None:
        axes.legend(
            markerscale=5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="label"
        )
    return figure


def _sphere(loc: np.ndarray, labels: np.ndarray | None) -> "Figure":
    """Draw the two halves of the sphere, seen from the first axis and from its opposite."""
    figure = _figure(9, 4.6)
    figure.suptitle("posterior means of the test set on the sphere, from both sides")
    turn = np.linspace(0, 2 * np.pi, 200)
    for axes, side in zip(figure.subplots(1, 2), (1, -1), strict=True):
        axes.plot(np.cos(turn), np.sin(turn), color=COLOURS[9], lw=1)
        for number, (name, members) in enumerate(_classes(labels, len(loc))):
            seen = members[side * loc[members, 0] >= 0]
            points = side * loc[seen, 1], loc[seen, 2]
            axes.scatter(*points, s=5, color=COLOURS[number % 10], label=name, lw=0)
        axes.set_aspect("equal")
        axes.axis("off")
    if labels is not None:
        axes.legend(
            markerscale=3, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="label"
        )
    return figure


def _plane(loc: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    if loc.shape[1] == 1:
        return np.column_stack([loc[:, 0], np.zeros(len(loc))]), ("z1", "")
    if loc.shape[1] == 2:
        return loc, ("z1", "z2")
    centred = loc - loc.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    return centred @ axes, ("first principal component", "second principal component")


def _classes(labels: np.ndarray | None, count: int) -> Iterator[tuple[str | None, np.ndarray]]:
    if labels is None:
        yield None, np.arange(count)
        return
    for label in np.unique(labels):
        yield str(label), np.flatnonzero(labels == label)


def _figure(width: float, height: float) -> "Figure":
    # a Figure of its own needs no display and no global state
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _grid(figure: "Figure", images: Tensor, shape: tuple[int, int], rows: int) -> None:
    axes = figure.subplots(rows, len(images) // rows).flat
    for cell, image in zip(axes, images.cpu().view(-1, *shape), strict=True):
        cell.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        cell.axis("off")
