"""What all figures have in common: size, colours, legends."""

from collections.abc import Iterable, Mapping, Sequence

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

_BRIEF, _LONG = 3, 24  # letters of what a class is called


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


def classes_of(latents: Mapping[str, np.ndarray], name: str = "labels") -> np.ndarray | None:
    """Return the classes (N,) under that name by what they are called, None where there are none.

    A label that is missing is no text, or -1 where classes are called by numbers.
    """
    labels, names = latents.get(name), latents.get("class_names")
    if labels is None or names is None:
        return labels
    missing = "" if names.dtype.kind == "U" else MISSING
    return np.where(labels == MISSING, missing, names[labels])


def scatter(axes, x, y, labels: np.ndarray | None, shown: np.ndarray | slice = slice(None)) -> None:
    """Scatter points, one colour per class, in an order that lets no class cover another.

    Of them all, those that the mask `shown` takes: so a class has its colour in every part.
    """
    size = np.clip(16_000 / max(len(x), 1), 4, 16)  # the same in every part
    x, y, colours = np.asarray(x)[shown], np.asarray(y)[shown], CLASS_COLOURS[0]
    if labels is not None:
        ranks = np.unique(labels, return_inverse=True)[1] % len(CLASS_COLOURS)
        colours = np.array(CLASS_COLOURS)[ranks[shown]]
        order = np.random.default_rng(0).permutation(len(colours))
        x, y, colours = x[order], y[order], colours[order]
    axes.scatter(x, y, c=colours, lw=0, s=size)


def name_classes(axes, points: np.ndarray, labels: np.ndarray | None, place=tuple) -> None:
    """Write the name of each class on one of its points (N, m), for whom colours do not tell.

    On the nearest to their mean, which may lie where there are none; `place` takes it to x and y.
    """
    if labels is None:
        return
    style = {"path_effects": [withStroke(linewidth=3, foreground="white")], "weight": "bold"}
    for name in np.unique(labels[~_is_missing(labels)]):
        mine = points[labels == name]
        where = place(mine[np.linalg.norm(mine - mine.mean(0), axis=1).argmin()])
        text = class_text(name)
        size = "x-large" if len(text) <= _BRIEF else "medium"
        axes.annotate(text, where, ha="center", va="center", fontsize=size, **style)


def class_legend(chart: Figure, labels: np.ndarray | None) -> None:
    """Name the colours of the classes to the right of everything."""
    if labels is None:
        return
    names = np.unique(labels)
    texts = ["no label" if _is_missing(name) else class_text(name) for name in names]
    colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(names))]
    handles = [Line2D([], [], ls="", marker="o", color=c) for c in colours]
    chart.legend(handles, texts, loc="outside right center", frameon=False, title="class")


def class_text(name: object) -> str:
    """Return what a class is called as matplotlib shows it: not too long, and no formula."""
    text = str(name)
    return (text if len(text) <= _LONG else f"{text[: _LONG - 1]}…").replace("$", r"\$")


def _is_missing(classes: np.ndarray | np.generic) -> np.ndarray:
    return classes == ("" if classes.dtype.kind == "U" else MISSING)
