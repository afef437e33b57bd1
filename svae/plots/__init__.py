"""Pictures of a run: tensors in, matplotlib figures out.

Importing a module of this package imports matplotlib, which takes half a second.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from svae.models.foreign import told

Drawings = dict[str, Callable]  # each makes a figure, when it is called for
log = logging.getLogger("svae")


class Missing(Exception):
    """A run of a person's own classes lacks what a figure shows; says what."""


def write(
    drawings: Drawings, folder: Path, tell: Callable[[str], None] = log.warning
) -> list[Path]:
    """Draw every figure into `folder` as PNG; return the paths.

    The numbers of a run are safe by now: a figure that cannot be drawn or written is left out, and
    `tell` says so.
    """
    with suppress(OSError):  # which each figure is left out for
        folder.mkdir(exist_ok=True)
    paths = []
    for name, draw in drawings.items():
        path = folder / f"{name}.png"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # that the font has none for
                draw().savefig(path, dpi=150)
        except Missing as missing:
            tell(f"a figure that cannot be drawn of this run is left out: {name} ({missing})")
        except Exception as error:
            tell(f"a figure that cannot be drawn of this run is left out: {name} ({told(error)})")
            log.info("what it failed with", exc_info=error)
        else:
            paths.append(path)
            continue
        with suppress(OSError):
            path.unlink()  # of an earlier evaluation, or a part
    return paths
