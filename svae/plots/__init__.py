"""Pictures of a run: tensors in, matplotlib figures out."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from svae.data.splits import DataSet
from svae.models.foreign import is_own, told
from svae.plots.decoded import interpolations, reconstructions, samples, walk
from svae.plots.directions import directions
from svae.plots.latent import latent_space, spreads
from svae.plots.recovery import recovered
from svae.plots.sampler import sampler
from svae.plots.style import Missing
from svae.plots.training import curves, link_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("svae")


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
    latent = model.latent
    drawings = {
        "curves": partial(curves, history),
        "latent": partial(latent_space, latents, whose, latent.has_unit_length),
        "spreads": partial(spreads, latents, whose, is_own(latent)),
    }
    truth = getattr(data.test, "positions", None)
    if truth is not None and truth.shape[-1] == latent.embedding:
        drawings["recovery"] = partial(recovered, latents, latent.has_unit_length)
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
        if latent.embedding <= 2 + bool(latent.has_unit_length):
            drawings["walk"] = partial(walk, model, data.image_shape)
    if is_own(latent) and hasattr(latent, "options"):
        drawings["sampler"] = partial(sampler, latents, latent.options["sampler"])
    return drawings


def write(
    drawings: dict[str, Callable[[], "Figure"]],
    folder: Path,
    tell: Callable[[str], None] = log.warning,
) -> list[Path]:
    """Draw every figure into `folder` as PNG; return the paths.

    The numbers of a run are safe by now: a figure that cannot be drawn is left out, and `tell` says
    so. What the disk refuses is raised.
    """
    folder.mkdir(exist_ok=True)
    paths = []
    for name, draw in drawings.items():
        path = folder / f"{name}.png"
        try:
            draw().savefig(path, dpi=150)
        except OSError:
            raise
        except Missing as missing:
            tell(f"a figure that cannot be drawn of this run is left out: {name} ({missing})")
        except Exception as error:
            tell(f"a figure that cannot be drawn of this run is left out: {name} ({told(error)})")
            log.info("what it failed with", exc_info=error)
        else:
            paths.append(path)
            continue
        path.unlink(missing_ok=True)  # of an earlier evaluation, or a part
    return paths
