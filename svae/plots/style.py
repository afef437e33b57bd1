"""What all figures have in common: size, colours, legends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from svae.data.splits import MISSING

# Okabe and Ito's palette, distinguishable with any kind of colour vision, and two greys: for lines
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
# Tol's muted scheme and black, as safe, and none too light for a small point: for classes
CLASS_COLOURS = (
    "#332288",
    "#CC6677",
    "#117733",
    "#88CCEE",
    "#882255",
    "#999933",
    "#44AA99",
    "#AA4499",
    "#DDCC77",
    "#000000",
)

BRIEF, _LONG = 3, 24  # letters of what a class is called


def figure(width: float, height: float, title: str | None = None) -> Figure:
    """Return an empty figure of that size in inches, which needs no display and no global state."""
    chart = Figure((width, height), layout="constrained")
    if title is not None:
        chart.suptitle(title)
    return chart


def label(axes, title: str = "", **settings) -> None:
    """Set the title and other properties of axes, and lay a faint grid under them."""
    axes.set_title(title, fontsize="medium")
    axes.set(**settings)
    axes.grid(alpha=0.3)


def legend(chart: Figure, axes, columns: int) -> None:
    """Name the lines of one pair of axes, which stand for all, below everything."""
    handles = axes.get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", frameon=False, ncols=columns)


def shades(count: int) -> list:
    """Return colours for numbers in order, from dark to light, told apart without colour too."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count)))


def show_ends(axes, lines: Iterable[Sequence[float]]) -> None:
    """Leave out of an axis what lies far away in the first tenth of each line only."""
    ends = np.concatenate([line[len(line) // 10 :] for line in lines])
    low, high = np.nanmin(ends), np.nanmax(ends)
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)


@dataclass(frozen=True)
class Classes:
    """The classes of points: `numbers` (N,), MISSING where there is none, and their names."""

    numbers: np.ndarray
    names: Sequence[str] = ()

    @property
    def found(self) -> np.ndarray:
        """The number of each class that there is, in increasing order."""
        return np.unique(self.numbers)

    @property
    def ranks(self) -> np.ndarray:
        """The places (N,) of the classes of the points in `found`."""
        return np.unique(self.numbers, return_inverse=True)[1]

    def text(self, number: int) -> str:
        """Return what a class is called, as matplotlib shows it: not too long, and no formula."""
        if number == MISSING:
            return "no label"
        name = str(self.names[number]) if len(self.names) else str(number)
        shown = "".join(letter if letter.isprintable() else "?" for letter in name) or "(empty)"
        if len(shown) > _LONG:
            shown = f"{shown[: _LONG // 2]}…{shown[1 - _LONG // 2 :]}"
        return shown.replace("$", r"\$")


def classes_of(latents: Mapping[str, np.ndarray]) -> Classes | None:
    """Return the classes of observations, None without labels."""
    labels = latents.get("labels")
    return None if labels is None else Classes(labels, latents.get("class_names", ()))


def scatter(axes, x, y, classes: Classes | None, shown: np.ndarray | slice = slice(None)) -> None:
    """Scatter points, one colour per class, in an order that lets no class cover another.

    Of them all, those that the mask `shown` takes: so a class has its colour in every part.
    """
    size = np.clip(16_000 / max(len(x), 1), 4, 16)  # the same in every part
    x, y, colours = np.asarray(x)[shown], np.asarray(y)[shown], CLASS_COLOURS[0]
    if classes is not None:
        ranks = classes.ranks % len(CLASS_COLOURS)
        colours = np.array(CLASS_COLOURS)[ranks[shown]]
        order = np.random.default_rng(0).permutation(len(colours))
        x, y, colours = x[order], y[order], colours[order]
    axes.scatter(x, y, c=colours, lw=0, s=size)


def name_classes(axes, points: np.ndarray, classes: Classes | None, place=tuple) -> None:
    """Write the name of each class on one of its points (N, m), for whom colours do not tell.

    On the nearest to their mean, which may lie where there are none; `place` takes it to x and y.
    """
    if classes is None:
        return
    style = {"path_effects": [withStroke(linewidth=3, foreground="white")], "weight": "bold"}
    for number in classes.found[classes.found != MISSING]:
        mine = points[classes.numbers == number]
        where = place(mine[np.linalg.norm(mine - mine.mean(0), axis=1).argmin()])
        text = classes.text(number)
        size = "x-large" if len(text) <= BRIEF else "medium"
        axes.annotate(text, where, ha="center", va="center", fontsize=size, **style)


def class_legend(chart: Figure, classes: Classes | None) -> None:
    """Name the colours of the classes to the right of everything."""
    if classes is None:
        return
    texts = [classes.text(number) for number in classes.found]
    colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(texts))]
    handles = [Line2D([], [], ls="", marker="o", color=c) for c in colours]
    chart.legend(handles, texts, loc="outside right center", frameon=False, title="class")
