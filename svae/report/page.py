"""The report as one HTML file: no script, no network, readable on a phone and in the dark.

`page.html.j2` is the page, in the style of `page.css`; here is gathered what it shows.
"""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from svae.metrics.catalogue import CHARTS, number
from svae.plots import many
from svae.report.comparison import Comparison, Group, published


@dataclass(frozen=True)
class Charts:
    """The pictures of a section, as SVG, and the names of the lines in them by their numbers."""

    pictures: list[str]
    legend: dict[int, str]


def html(compared: Comparison) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    return environment.get_template("page.html.j2").render(
        compared=compared,
        title=", ".join(folder.name for folder in compared.folders),
        made=datetime.now().strftime("%d %B %Y, %H:%M").lstrip("0"),
        fixed=" ".join(f"{key}={value}" for key, value in compared.fixed().items() if value),
        best={metric.name: compared.best(metric) for metric in compared.metrics},
        published=published,
        against=_against(compared),
        learning=_learning(compared),
        acceptance=_acceptance(compared),
        samples=list(_samples(compared)),
    )


def _words(key: str) -> str:
    return key.rsplit(".", 1)[-1].replace("_", " ")


def _lines(compared: Comparison, pairs: Iterable[tuple[Group, Any]]) -> dict[int, list]:
    """Return the values of groups by the number of the line that a group belongs to."""
    names, lines = compared.lines, {}
    for group, value in pairs:
        lines.setdefault(names.index(group.label), []).append(value)
    return lines


def _charts(compared: Comparison, drawn: list[tuple[str, dict[int, list]]]) -> Charts:
    """Return pictures, each given with its lines; one line alone needs no name."""
    names, numbers = compared.lines, sorted({n for _, lines in drawn for n in lines})
    legend = {n: names[n] for n in numbers if names[n]}
    return Charts([picture for picture, _ in drawn], legend if len(legend) > 1 else {})


def _against(compared: Comparison) -> Charts:
    """Draw the main metrics against the latent dimension, a line per model."""
    groups, drawn = [group for group in compared.groups if group.latent_dim is not None], []
    is_drawn = len({group.latent_dim for group in groups}) > 1
    for metric in compared.metrics if is_drawn else ():
        known = [group for group in groups if group.values(metric)]
        if CHARTS in metric.places and known:
            points = ((g, (g.latent_dim, g.mean(metric), g.deviation(metric))) for g in known)
            lines = _lines(compared, points)
            drawn.append((many.against(lines, "latent dimension", metric.label), lines))
    return _charts(compared, drawn)


def _learning(compared: Comparison) -> Charts:
    """Draw the objective per epoch, a chart per latent dimension."""
    charts = {}
    for group in compared.groups:
        for run in group.runs:
            values = [number(row.get(run.objective)) for row in run.history]
            values = np.array(values, float)  # nan where there is none
            if np.isfinite(values[len(values) // 10 :]).any():
                key = f"latent dimension {group.settings['latent_dim']}", run.objective
                charts.setdefault(key, []).append((group, values))
    charts = {words: _lines(compared, pairs) for words, pairs in charts.items()}
    return _charts(compared, [(many.learning(c, *words), c) for words, c in charts.items()])


def _acceptance(compared: Comparison) -> Charts:
    found = [(group, run.acceptance) for group in compared.groups for run in group.finished]
    lines = _lines(compared, [(group, rates) for group, rates in found if rates])
    words = ("expected acceptance rate", "observed acceptance rate")
    return _charts(compared, [(many.agreement(lines, *words), lines)] if lines else [])


def _samples(compared: Comparison) -> Iterator[tuple[str, str]]:
    """Yield name and picture, in base64, of what a run of each group decodes from its prior."""
    for group in compared.groups:
        for run in group.finished:
            if picture := run.picture("samples"):
                yield f"{run.name} ({compared.shown(run)})", base64.b64encode(picture).decode()
                break
