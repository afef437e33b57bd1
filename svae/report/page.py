"""The report as one HTML file: no script, no network, readable on a phone and in the dark."""

import base64
import contextlib
import math
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np
import torch

from svae.distributions import VonMisesFisher
from svae.metrics.catalogue import CHARTS
from svae.plots import many
from svae.recording.files import read_own
from svae.recording.folder import FAILED, FINISHED
from svae.recording.naming import chosen
from svae.report.comparison import Comparison, Entry, Group, published

_STYLE = Path(__file__).with_name("page.css")


def html(compared: Comparison) -> str:
    """Return the page."""
    title = ", ".join(folder.name for folder in compared.folders)
    sections = (
        _section("Results", _results(compared), _RESULTS_NOTE),
        _section("Failed runs", _failures(compared)),
        _section("Damaged, left out", _left_out(compared)),
        _section("Against the latent dimension", _against(compared), _AGAINST_NOTE),
        _section("Learning curves", _learning(compared), _LEARNING_NOTE),
        _section("Acceptance of the rejection sampler", _acceptance(compared), _ACCEPTANCE_NOTE),
        _section("Samples of the prior", _samples(compared)),
        _section("All runs", _runs(compared)),
    )
    return _PAGE.format(
        title=escape(title),
        style=_STYLE.read_text(),
        about=_about(compared),
        sections="\n".join(sections),
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
<main>
<header>
<h1>{title}</h1>
{about}
</header>
{sections}
</main>
</html>
"""
_RESULTS_NOTE = (
    "Mean ± standard deviation over the seeds, n finished runs; in nats, but for rates, "
    "correlations and what has a unit. Of each latent dimension the best is bold."
)
_AGAINST_NOTE = "Mean and standard deviation over the seeds."
_LEARNING_NOTE = (
    "Validation, one line per run; the axis leaves out what lies far below in the first tenth."
)
_ACCEPTANCE_NOTE = (
    "Over the test set, one point per run: what was observed against the closed form at the "
    "concentrations of the posteriors."
)


def _section(title: str, content: str, note: str = "") -> str:
    if not content:
        return ""
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{note}\n{content}\n</section>"


def _about(compared: Comparison) -> str:
    states = [run.status.state for run in compared.runs]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states)))
    made = datetime.now().strftime("%d %B %Y, %H:%M").lstrip("0")
    fixed = " ".join(f"{key}={value}" for key, value in compared.fixed().items() if value)
    runs = "1 run" if len(states) == 1 else f"{len(states)} runs"
    lines = f'<p class="note">{runs} ({counts}), report of {made}</p>'
    return lines + (f"\n<p><code>{escape(fixed)}</code></p>" if fixed else "")


def _results(compared: Comparison) -> str:
    keys = list(compared.groups[0].settings)
    best = {metric.name: compared.best(metric) for metric in compared.metrics}
    head = [_short(key) for key in keys] + ["n"] + [metric.column for metric in compared.metrics]
    head += ["collapse"] * compared.has_collapsed
    rows = []
    for group in compared.groups:
        paper = published(group)
        cells = [escape(value) for value in group.settings.values()] + [str(len(group.finished))]
        for metric in compared.metrics:
            text = escape(group.text(metric))
            if group in best[metric.name]:
                text = f"<strong>{text}</strong>"
            if metric.final in paper:
                text += f"<small>published {escape(paper[metric.final])}</small>"
            cells.append(text)
        if compared.has_collapsed:
            cells.append(f"<em>{escape(group.collapse)}</em>" if group.collapse else "")
        rows.append(cells)
    return _table(head, rows, words=len(keys))


def _short(key: str) -> str:
    return key.rsplit(".", 1)[-1].replace("_", " ")


def _table(head: list[str], rows: Iterable[list[str]], words: int) -> str:
    """Return a table, on a phone a card per row; the first `words` columns hold no numbers."""
    kinds = ["word" if column < words else "number" for column in range(len(head))]
    cells = "".join(f'<th class="{k}">{escape(h)}</th>' for k, h in zip(kinds, head, strict=True))
    lines = [f'<div class="wide">\n<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>']
    for row in rows:
        columns = zip(kinds, head, row, strict=True)
        lines.append(f"<tr>{''.join(_cell(*column) for column in columns)}</tr>")
    return "\n".join([*lines, "</tbody>\n</table>\n</div>"])


def _cell(kind: str, name: str, content: str) -> str:
    inside = f"<span>{content}</span>" if content else ""
    return f'<td class="{kind}" data-label="{escape(name)}">{inside}</td>'


def _failures(compared: Comparison) -> str:
    failed = [run for run in compared.runs if run.status.state == FAILED]
    return "\n".join(
        f"<p><strong>{escape(compared.shown(run))}</strong> {escape(run.name)}: "
        f"{escape(run.status.error or 'no cause is known')}</p>"
        for run in failed
    )


def _left_out(compared: Comparison) -> str:
    return "\n".join(f"<p>{escape(reason)}</p>" for reason in compared.left_out)


def _against(compared: Comparison) -> str:
    """Draw the main metrics against the latent dimension, a line per model."""
    lines = _lines(compared)
    if len({group.settings["latent_dim"] for group in compared.groups}) < 2:
        return ""
    charts, drawn = [], set()
    for metric in compared.metrics:
        if CHARTS not in metric.places:
            continue
        series = {}
        for number, groups in enumerate(lines.values()):
            points = [_point(group, metric.final) for group in groups]
            if kept := [point for point in points if not math.isnan(point[1])]:
                series[number] = kept
        drawn |= series.keys()
        charts.append(many.against(series, "latent dimension", metric.label))
    return _legend(list(lines), drawn) + _grid(charts)


def _point(group: Group, metric: str) -> tuple[float, float, float]:
    return float(group.settings["latent_dim"]), group.mean(metric), group.deviation(metric)


def _lines(compared: Comparison) -> dict[str, list[Group]]:
    """Return the groups by their label: those of one label differ in the latent dimension."""
    lines = {}
    for group in compared.groups:
        lines.setdefault(group.label, []).append(group)
    return lines


def _learning(compared: Comparison) -> str:
    """Draw the objective per epoch, a chart per latent dimension."""
    labels = list(_lines(compared))
    charts = {}
    for group in compared.groups:
        for entry in group.runs:
            objective = entry.config["objective"]
            values = np.array([row.get(objective, math.nan) for row in entry.run.history])
            if np.isfinite(values).any():
                key = (group.settings["latent_dim"], objective)
                series = charts.setdefault(key, {})
                series.setdefault(labels.index(group.label), []).append(values)
    pictures = [
        many.learning(series, f"latent dimension {dimension}", objective)
        for (dimension, objective), series in charts.items()
    ]
    return _legend(labels, set().union(*charts.values())) + _grid(pictures) if pictures else ""


def _acceptance(compared: Comparison) -> str:
    labels, series = list(_lines(compared)), {}
    for group in compared.groups:
        for run in group.finished:
            if pair := _acceptance_rates(run):
                series.setdefault(labels.index(group.label), []).append(pair)
    if not series:
        return ""
    chart = many.agreement(series, "expected acceptance rate", "observed acceptance rate")
    return _legend(labels, series.keys()) + _grid([chart])


def _acceptance_rates(entry: Entry) -> tuple[float, float] | None:
    """Return (expected, observed) over the test set; None where no proposal was ever rejected.

    Both are draws per proposal: 1 over the mean number of proposals. The closed form is that of the
    package's own family.
    """
    observed = entry.results.get("test/acceptance_rate", 1.0)
    has_form = observed != 1.0 and chosen(entry.config, "model") == "vmf"
    arrays = entry.run.latents if has_form else {}
    if not arrays:
        return None
    loc, concentration = (torch.from_numpy(arrays[n]) for n in ("loc", "concentration"))
    rates = VonMisesFisher(loc, concentration, validate_args=False).expected_acceptance_rate
    return 1 / (1 / rates.double()).mean().item(), observed


def _samples(compared: Comparison) -> str:
    """Show what the first finished run of each group decodes from its prior."""
    shown = []
    for group in compared.groups:
        for run in group.finished:
            if picture := _picture(run.run.path, "plots/samples.png"):
                data = base64.b64encode(picture).decode()
                words = escape(f"{run.name} ({compared.shown(run)})")
                shown.append(
                    f'<figure><img src="data:image/png;base64,{data}" alt="samples of {words}">'
                    f"<figcaption>{words}</figcaption></figure>"
                )
                break
    return f'<div class="grid pictures">{"".join(shown)}</div>' if shown else ""


def _picture(folder: Path, name: str) -> bytes:
    """Return a picture of a run folder, nothing where it has none or it is anything else."""
    with contextlib.suppress(OSError):
        content = read_own(folder, name)
        return content if content.startswith(b"\x89PNG\r\n\x1a\n") else b""
    return b""


def _runs(compared: Comparison) -> str:
    keys = [key for key in compared.groups[0].settings if key not in ("model", "latent_dim")]
    head = ["folder", "run", *map(_short, keys), "state", "epoch", "seconds", "result"]
    return _table(head, _run_rows(compared, keys), words=3 + len(keys))


def _run_rows(compared: Comparison, keys: list[str]) -> Iterator[list[str]]:
    for run in compared.runs:
        value = "" if run.value is None else f"{run.value:.4f}".replace("-", "\N{MINUS SIGN}")
        state, epoch, _ = run.status
        state = state if state == FINISHED else f"<em>{state}</em>"
        words = [compared.shown(run), run.name, *(run.settings[key] for key in keys)]
        yield [*map(escape, words), state, str(epoch), f"{run.seconds:.1f}", value]


def _legend(labels: list[str], drawn: Collection[int]) -> str:
    """Name the colours of the series that are drawn, where they are more than one."""
    if sum(bool(labels[n]) for n in drawn) < 2:
        return ""
    entries = "".join(
        f'<li style="--colour: var(--series-{n % 8})">{escape(label)}</li>'
        for n, label in enumerate(labels)
        if label and n in drawn
    )
    return f'<ul class="legend">{entries}</ul>\n'


def _grid(charts: list[str]) -> str:
    return f'<div class="grid">{"".join(charts)}</div>'
