"""Many runs to one report: summary.csv, a table for the terminal, report.html.

    python -m svae.report DIR [DIR ...]

makes it again from the run folders below DIR, and puts it into the first of them.
"""

import csv
import io
import math
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from svae import naming, sweep
from svae.files import write_text
from svae.record import CONF, saved_overrides
from svae.run import FINISHED, read_status
from svae.settings import GROUPS, flatten
from svae.sweep import Outcome

_NOT_COMPARED = ("seed", *sweep.FREE)
PUBLISHED = CONF / "experiment" / "published.csv"


@dataclass(frozen=True)
class Metric:
    """A final number: how it is called and written, and whether the higher one is the better."""

    name: str
    label: str
    digits: int = 2
    is_score: bool = False
    is_brief: bool = False  # shown in the terminal, too


METRICS = (
    Metric("test/log_likelihood", "log-likelihood", is_score=True, is_brief=True),
    Metric("test/elbo", "ELBO", is_score=True, is_brief=True),
    Metric("test/reconstruction", "reconstruction"),
    Metric("test/kl", "KL", is_brief=True),
    Metric("test/auc", "AUC", 4, is_score=True, is_brief=True),
    Metric("test/average_precision", "average precision", 4, is_score=True, is_brief=True),
    Metric("test/knn_accuracy_100", "5-NN, 100 labels", 4, is_score=True),
    Metric("test/knn_accuracy_600", "5-NN, 600 labels", 4, is_score=True),
    Metric("test/knn_accuracy_1000", "5-NN, 1000 labels", 4, is_score=True),
    Metric("test/acceptance_rate", "acceptance rate", 4),
    Metric("test/concentration_mean", "concentration", 1),
    Metric("seconds", "training (s)", 1, is_brief=True),
)


@dataclass(frozen=True)
class Run:
    """A run as the report sees it; `settings` are those that anybody typed, with all runs' keys."""

    path: Path
    outcome: Outcome
    config: dict
    settings: dict[str, str]
    results: dict

    @property
    def name(self) -> str:
        return naming.run_name(self.config)


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed; the numbers are those of the finished ones."""

    settings: dict[str, str]
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.outcome.state == FINISHED]

    def values(self, metric: str) -> list[float]:
        """Return the number of each finished run; a sampler that never rejects has no rate."""
        values = [run.results[metric] for run in self.finished if metric in run.results]
        return [] if metric == "test/acceptance_rate" and set(values) == {1.0} else values

    def mean(self, metric: str) -> float:
        """Return the mean over the seeds, nan where there is none."""
        values = self.values(metric)
        return statistics.mean(values) if values else math.nan

    def deviation(self, metric: str) -> float:
        """Return the standard deviation over the seeds (n - 1), nan for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def text(self, metric: Metric) -> str:
        return spread(self.mean(metric.name), self.deviation(metric.name), metric.digits)

    @property
    def label(self) -> str:
        """What tells the group from others of its latent dimension."""
        return ", ".join(_label(k, v) for k, v in self.settings.items() if k != "latent_dim")


@dataclass(frozen=True)
class Report:
    """All runs, what they differ in, and the groups in the order of the tables."""

    folders: list[Path]
    runs: list[Run]
    groups: list[Group]

    @property
    def metrics(self) -> list[Metric]:
        """Those that any run has."""
        return [m for m in METRICS if any(group.values(m.name) for group in self.groups)]

    def best(self, metric: Metric) -> list[Group]:
        """Return the best groups of each data set and latent dimension, as far as they differ."""
        if not metric.is_score:
            return []
        rivals = {}
        for group in self.groups:
            if group.values(metric.name):
                keys = (group.settings.get("dataset"), group.settings["latent_dim"])
                rivals.setdefault(keys, []).append(group)
        best = []
        for groups in rivals.values():
            means = [round(group.mean(metric.name), metric.digits) for group in groups]
            if len(set(means)) > 1:
                best += [g for g, mean in zip(groups, means, strict=True) if mean == max(means)]
        return best

    def fixed(self) -> dict[str, str]:
        """Return what was typed and is the same in all runs."""
        shown = self.groups[0].settings if self.groups else {}
        first = self.runs[0].settings
        return {k: v for k, v in first.items() if k not in shown and k != "seed"}


def make(folders: Iterable[Path]) -> None:
    """Write summary.csv and report.html into the first of the folders; show the table."""
    from svae import page

    report = read(folders)
    target = report.folders[0]
    write_text(target / "summary.csv", summary(report))
    write_text(target / "report.html", page.html(report))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table(report))
    console.print(f"report: {target / 'report.html'}", markup=False, soft_wrap=True)


def read(folders: Iterable[Path]) -> Report:
    """Read the runs below the folders.

    Raises:
        ValueError: when there is none.
    """
    folders = [Path(folder).absolute() for folder in folders]
    paths = [path for folder in folders for path in sweep.folders(folder)]
    if not paths:
        raise ValueError(f"{folders[0]}: expected run folders below it, found none")
    typed = {path: _typed(path) for path in paths}
    keys = ["dataset", "model", "latent_dim", "seed", *(k for t in typed.values() for k in t)]
    runs = [_run(path, list(dict.fromkeys(keys)), typed[path]) for path in paths]
    return Report(folders, runs, _groups(runs))


def _typed(path: Path) -> dict[str, str]:
    lines = (line.lstrip("+~").partition("=") for line in saved_overrides(path))
    return {key: value for key, _, value in lines}


def _run(path: Path, keys: list[str], typed: dict[str, str]) -> Run:
    config = sweep.config(path)
    leaves = flatten(config)
    settings = {}
    for key in keys:
        default = leaves.get(key)
        if key in ("dataset", "model"):
            default = naming.chosen(config, key)
        is_choice = key in GROUPS or key not in leaves
        value = typed.get(key, default) if is_choice else default
        settings[key] = "" if value is None else str(value)
    status = read_status(path)
    known = {**vars(sweep.outcome(path)), "state": status["state"]}
    return Run(path, Outcome(**known), config, settings, sweep.results(path))


def _groups(runs: list[Run]) -> list[Group]:
    """Group the runs by the settings in which they differ, but for the seed and the machine."""
    kept = [
        key
        for key in runs[0].settings
        if key in ("model", "latent_dim")
        or (len({run.settings[key] for run in runs}) > 1 and not key.startswith(_NOT_COMPARED))
    ]
    groups = {}
    for run in runs:
        groups.setdefault(tuple(run.settings[key] for key in kept), []).append(run)
    order = sorted(groups, key=lambda values: [_number_or_text(v) for v in values])
    found = [Group(dict(zip(kept, values, strict=True)), groups[values]) for values in order]
    # of one latent dimension the models stand together, to be compared
    return sorted(found, key=lambda group: _number_or_text(group.settings["latent_dim"]))


def _number_or_text(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def summary(report: Report) -> str:
    """Return summary.csv: a row per run, with everything that was typed and every final number."""
    names = list(dict.fromkeys(n for run in report.runs for n in run.results))
    names = [n for n in names if all(_is_cell(run.results.get(n)) for run in report.runs)]
    text = io.StringIO()
    head = ["run", "name", "state", "error", "epoch", *report.runs[0].settings, *names]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for run in report.runs:
        o = run.outcome
        about = [shown_path(run, report), run.name, o.state, o.error or "", o.epoch]
        writer.writerow([*about, *run.settings.values(), *(run.results.get(n, "") for n in names)])
    return text.getvalue()


def _is_cell(value) -> bool:
    return value is None or isinstance(value, int | float | str)


def shown_path(run: Run, report: Report) -> str:
    """Return the run's folder as short as it is clear."""
    for folder in report.folders:
        if run.path.is_relative_to(folder):
            short = run.path.relative_to(folder)
            return str(short if len(report.folders) == 1 else Path(folder.name) / short)
    raise AssertionError


def table(report: Report) -> Table:
    """Return the groups as a table for the terminal; the best of a latent dimension is bold."""
    metrics = [metric for metric in report.metrics if metric.is_brief]
    keys = list(report.groups[0].settings)
    shown = Table(*keys, "n", *(m.label for m in metrics))
    for column in shown.columns[len(keys) :]:
        column.justify = "right"
    best = {m.name: report.best(m) for m in metrics}
    for group in report.groups:
        cells = [
            f"[bold]{group.text(m)}[/bold]" if group in best[m.name] else group.text(m)
            for m in metrics
        ]
        shown.add_row(*group.settings.values(), str(len(group.finished)), *cells)
    return shown


def published(group: Group) -> dict[str, str]:
    """Return the published numbers of a group by metric; only presets of a paper's tables have any.

    They are of the preset as it stands: what differs in more than data set, model and latent
    dimension has none.
    """
    settings = group.runs[0].settings
    experiment = settings.get("experiment")
    if set(group.settings) - {"dataset", "model", "latent_dim", "experiment"}:
        return {}
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    digits = {metric.name: metric.digits for metric in METRICS}
    return {
        row["metric"]: spread(float(row["mean"]), float(row["std"] or "nan"), digits[row["metric"]])
        for row in rows
        if row["experiment"] == experiment
        and all(row[key] in ("", settings[key]) for key in ("dataset", "model", "latent_dim"))
    }


def spread(mean: float, deviation: float, digits: int) -> str:
    """Return mean ± standard deviation, as far as they are known."""
    if math.isnan(mean):
        return ""
    text = f"{mean:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if math.isnan(deviation) else f"{text} ± {deviation:.{digits}f}"


def _label(key: str, value: str) -> str:
    return value if key in ("model", "dataset") else f"{key.rsplit('.', 1)[-1]} {value}"


def main() -> None:
    """Make the report of the folders that were given; exits 2 when they hold no runs."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m svae.report DIR [DIR ...]")
    try:
        make([Path(argument) for argument in sys.argv[1:]])
    except (ValueError, OSError) as error:
        print(f"svae.report: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
