"""Pictures of a run: tensors in, matplotlib figures out."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from svae.models.foreign import told
from svae.plots.decoded import interpolations, reconstructions, samples, walk
from svae.plots.directions import directions
from svae.plots.latent import latent_space, spreads
from svae.plots.recovery import recovered
from svae.plots.sampler import sampler
from svae.plots.style import Missing
from svae.plots.training import curves, link_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "curves",
    "directions",
    "interpolations",
    "latent_space",
    "link_curves",
    "reconstructions",
    "recovered",
    "sampler",
    "samples",
    "spreads",
    "walk",
    "write",
]

Drawings = dict[str, Callable[[], "Figure"]]  # each figure is made when it is called for
log = logging.getLogger("svae")


def write(
    drawings: Drawings, folder: Path, tell: Callable[[str], None] = log.warning
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
