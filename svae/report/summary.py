"""The report of a sweep: summary.csv, report.html, a table for the terminal."""

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from svae.metrics.catalogue import BRIEF
from svae.recording.console import Plain
from svae.recording.files import write_text
from svae.recording.terminal import visible
from svae.report import comparison, page
from svae.report.comparison import Comparison


def make(folders: Iterable[Path]) -> None:
    """Write summary.csv and report.html into the first of the folders; show the table."""
    runs = comparison.read(folders)
    target = runs.folders[0]
    write_text(target / "summary.csv", summary(runs))
    write_text(target / "report.html", page.html(runs))
    console = Plain(width=None if sys.stdout.isatty() else 160)
    console.print(table(runs))
    for reason in runs.left_out:
        console.print(f"left out: {reason}", soft_wrap=True)
    for reason in runs.kept_apart:
        console.print(f"kept apart: {reason}", soft_wrap=True)
    console.print(f"report: {target / 'report.html'}", soft_wrap=True)


def summary(compared: Comparison) -> str:
    """Return summary.csv: a row per run, with everything that was typed and every final number."""
    names = list(dict.fromkeys(n for run in compared.runs for n in run.results))
    cell = int | float | str | None
    names = [n for n in names if all(isinstance(r.results.get(n), cell) for r in compared.runs)]
    text = io.StringIO()
    head = ["run", "name", "state", "error", "epoch", *compared.runs[0].settings, *names]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, head))
    for run in compared.runs:
        state, epoch, error = run.status
        about = [compared.shown(run), run.name, state, error or "", epoch]
        row = [*about, *run.settings.values(), *(run.results.get(n, "") for n in names)]
        writer.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: float | str | None) -> float | str | None:
    """Return what a cell holds: a text that a spreadsheet would calculate gets a ' in front.

    Control characters in it are written out: somebody may look at the file in a terminal.
    """
    if not isinstance(value, str):
        return value
    text = "\r".join(map(visible, value.split("\r")))  # the quoted cell may have more than one line
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def table(compared: Comparison) -> Table:
    """Return the groups as a table for the terminal; the best of a latent dimension is bold."""
    metrics = [metric for metric in compared.metrics if BRIEF in metric.places]
    best = {metric.name: compared.best(metric) for metric in metrics}
    shown = Table(*compared.groups[0].settings)
    for name in ("n", *(metric.column for metric in metrics)):
        shown.add_column(name, justify="right")
    if compared.has_collapsed:
        shown.add_column("collapse", justify="right")
    for group in compared.groups:
        cells = [*group.settings.values(), str(len(group.finished))]
        for metric in metrics:
            is_best = group in best[metric.name]
            cells.append(Text(group.text(metric), style="bold" if is_best else ""))
        shown.add_row(*cells, *[group.collapse] * compared.has_collapsed)
    return shown
