"""Pictures of many runs, as SVG for a page: text in the page's colour, series in its palette."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from svae.plots.style import figure, show_ends

# replaced in the SVG, so that the page's style sheet decides, in the light and in the dark
_INK = "#010203"
_SERIES = tuple(f"#0a0b{number:02x}" for number in range(8))  # then from the first again
_WIDTH, _HEIGHT = 3.5, 2.6  # inches

Line = Sequence[tuple[float, float, float]]  # x, mean, standard deviation or nan


def against(series: dict[int, Line], xlabel: str, ylabel: str) -> str:
    """Draw means with their standard deviations against numbers such as the latent dimension."""

    def draw(axes: Axes) -> None:
        for number, line in series.items():
            x, mean, deviation = np.array(line).T
            style = {
                "color": _SERIES[number % len(_SERIES)],
                "marker": "o",
                "ms": 4,
                "lw": 1.5,
                "capsize": 3,
            }
            axes.errorbar(x, mean, np.nan_to_num(deviation), **style)
        ticks = sorted({x for line in series.values() for x, _, _ in line})
        if len(ticks) > 1 and ticks[0] > 0:
            axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=xlabel, ylabel=ylabel)

    return _svg(draw, f"{ylabel} against {xlabel}")


def learning(series: dict[int, list[np.ndarray]], title: str, ylabel: str) -> str:
    """Draw a value per epoch, one thin line per run."""

    def draw(axes: Axes) -> None:
        for number, runs in series.items():
            for values in runs:
                epochs = np.arange(1, len(values) + 1)
                marker = "o" if len(values) == 1 else None
                axes.plot(
                    epochs,
                    values,
                    color=_SERIES[number % len(_SERIES)],
                    lw=1.2,
                    marker=marker,
                    ms=4,
                )
        show_ends(axes, [values for runs in series.values() for values in runs])
        axes.set(xlabel="epoch", ylabel=ylabel, title=title)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)

    return _svg(draw, f"{ylabel} per epoch, {title}")


def agreement(series: dict[int, list[tuple[float, float]]], xlabel: str, ylabel: str) -> str:
    """Draw observed against expected rates and the line on which they are equal.

    The axes span 0.1 at least, so that noise is not drawn as large as a difference.
    """

    def draw(axes: Axes) -> None:
        points = np.array([point for pairs in series.values() for point in pairs])
        low, high = points.min(), points.max()
        margin = max(0.08 * (high - low), (0.1 - (high - low)) / 2)
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=_INK, lw=1, ls="--", alpha=0.5)
        for number, pairs in series.items():
            axes.plot(
                *np.array(pairs).T,
                color=_SERIES[number % len(_SERIES)],
                ls="",
                marker="o",
                ms=5,
                alpha=0.8,
            )
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends)
        axes.locator_params(nbins=5)

    return _svg(draw, f"{ylabel} against {xlabel}")


def _svg(draw: Callable[[Axes], None], description: str) -> str:
    """Return an <svg> element that takes its colours from the page and fits its column."""
    colours = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings = {
        **dict.fromkeys(colours, _INK),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "svg.fonttype": "path",
        "text.parse_math": False,  # names in it may come from anybody
        "svg.hashsalt": description,  # the names inside differ from those of the other figures
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # that the font has none for
        chart = figure(_WIDTH, _HEIGHT)
        axes = chart.subplots()
        draw(axes)
        axes.grid(alpha=0.15, color=_INK)
        buffer = io.StringIO()
        chart.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), description)


def _inline(text: str, description: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', text).group()
    text = text[text.index(">") + 1 :].replace(_INK, "currentColor")
    for number, colour in enumerate(_SERIES):
        text = text.replace(colour, f"var(--series-{number})")
    head = f'<svg role="img" aria-label="{escape(description)}" {view}>'
    return head + re.sub(r"\s*\n\s*", "\n", text)
