"""What all figures have in common: size, colours, legends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

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


def figure(width: float, height: float) -> "Figure":
    # a Figure of its own needs no display and no global state
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def classes(labels: np.ndarray | None, count: int) -> Iterator[tuple[str | None, np.ndarray]]:
    if labels is None:
        yield None, np.arange(count)
        return
    for label in np.unique(labels):
        yield str(label), np.flatnonzero(labels == label)
