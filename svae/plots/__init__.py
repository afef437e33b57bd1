"""Pictures of a run: tensors in, matplotlib figures out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from svae.data.splits import DataSet
from svae.plots.decoded import interpolations, reconstructions, samples, walk
from svae.plots.directions import directions
from svae.plots.latent import latent_space, spreads
from svae.plots.recovery import recovered
from svae.plots.sampler import sampler
from svae.plots.training import curves, link_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(
    model,
    data: DataSet,
    history: list[dict[str, float]],
    latents: dict[str, np.ndarray],
    generator: torch.Generator,
) -> dict[str, Callable[[], "Figure"]]:
    """Return what can be drawn of a run, by name; each figure is made when it is called for.

    `history` and `latents` are those of `svae.Run`.
    """
    whose = "the nodes" if data.is_graph else "the test set"
    drawings = {
        "curves": partial(curves, history),
        "latent": partial(latent_space, latents, whose),
        "spreads": partial(spreads, latents, whose),
    }
    truth = getattr(data.test, "positions", None)
    if truth is not None and truth.shape[-1] == model.latent.embedding:
        drawings["recovery"] = partial(recovered, latents)
    if getattr(data.test, "directions", None) is not None:
        drawings["directions"] = partial(directions, model, data, generator)
    if data.is_graph:
        drawings["links"] = partial(link_curves, latents)
    if data.image_shape:
        drawings |= {
            "reconstructions": partial(reconstructions, model, data, generator),
            "samples": partial(samples, model, data.image_shape, generator),
            "interpolations": partial(interpolations, model, data, generator),
        }
        if model.latent.embedding <= 2 + model.latent.has_unit_length:
            drawings["walk"] = partial(walk, model, data.image_shape)
    options = getattr(model.latent, "options", None)
    if options is not None:
        drawings["sampler"] = partial(sampler, latents, options["sampler"])
    return drawings


def write(drawings: dict[str, Callable[[], "Figure"]], folder: Path) -> list[Path]:
    """Draw every figure into `folder` as PNG; return the paths."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, draw in drawings.items():
        paths.append(folder / f"{name}.png")
        draw().savefig(paths[-1], dpi=150)
    return paths
