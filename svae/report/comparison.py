"""Many runs side by side: read from their folders, grouped by all but the seed."""

import csv
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from svae.configuration import CONF
from svae.configuration.compare import come_since
from svae.configuration.schema import GROUPS, KEYS, flatten, may_change
from svae.metrics.catalogue import METRICS, Metric
from svae.recording import naming
from svae.recording.folder import FINISHED
from svae.run import Run, Status, folders

_NOT_COMPARED = {"seed", *may_change("sweep")}
# what may be typed for the runs of a paper's table
_OF_A_PRESET = _NOT_COMPARED | {name for name, key in KEYS.items() if not key.alters}
_OF_A_PRESET |= {"experiment", "dataset", "model", "latent_dim"}
PUBLISHED = CONF / "experiment" / "published.csv"


@dataclass(frozen=True)
class Entry:
    """A run as it was when the report read it.

    `settings` are those that were typed, with the keys of all runs.
    """

    run: Run
    name: str
    status: Status
    seconds: float
    value: float | None  # which stands for it in one line
    config: dict
    settings: dict[str, str]
    results: dict
    typed: frozenset[str]  # the keys that were typed for this run

    @property
    def path(self) -> Path:
        return self.run.path


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed; the numbers are those of the finished ones."""

    settings: dict[str, str]
    runs: list[Entry]

    @property
    def finished(self) -> list[Entry]:
        return [run for run in self.runs if run.status.state == FINISHED]

    def values(self, metric: str) -> list[float]:
        """Return the number of each finished run; a sampler that never rejects has no rate."""
        values = [run.results.get(metric) for run in self.finished]
        values = [value for value in values if isinstance(value, int | float)]
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
    def collapse(self) -> str:
        """How many of the finished runs have collapsed, and in what, as `evaluate` names it."""
        kinds = Counter(run.results.get("collapse", "none") for run in self.finished)
        of = len(self.finished)
        return ", ".join(f"{kind} ({n} of {of})" for kind, n in kinds.items() if kind != "none")

    @property
    def label(self) -> str:
        """What tells the group from others of its latent dimension."""
        return ", ".join(_label(k, v) for k, v in self.settings.items() if k != "latent_dim")


@dataclass(frozen=True)
class Comparison:
    """All runs, what they differ in, and the groups in the order of the tables.

    `left_out` says which runs could not be read, and why.
    """

    folders: list[Path]
    runs: list[Entry]
    groups: list[Group]
    left_out: list[str]

    @property
    def metrics(self) -> list[Metric]:
        """Those that any run has."""
        return [m for m in METRICS if any(group.values(m.name) for group in self.groups)]

    @property
    def has_collapsed(self) -> bool:
        return any(group.collapse for group in self.groups)

    def best(self, metric: Metric) -> list[Group]:
        """Return the best groups of each data set and latent dimension, as far as they differ.

        Of what had better be low there is none: a low KL may be that of a model that does nothing.
        """
        if metric.better != "higher":
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

    def shown(self, run: Entry) -> str:
        """Return the run's folder as short as it is clear."""
        folder = next(f for f in self.folders if run.path.is_relative_to(f))
        short = run.path.relative_to(folder)
        return str(short if len(self.folders) == 1 else Path(folder.name) / short)


def read(sweeps: Iterable[Path]) -> Comparison:
    """Read the runs below the folders.

    Raises:
        ValueError: when there is none that can be read.
    """
    sweeps = [Path(folder).absolute() for folder in sweeps]
    paths = [path for folder in sweeps for path in folders(folder)]
    if not paths:
        raise ValueError(f"{sweeps[0]}: expected run folders below it, found none")
    runs, left_out = [], []
    for path in paths:
        try:
            runs.append(_read(Run(path)))
        except (OSError, ValueError) as error:
            left_out.append(str(error))
    if not runs:
        raise ValueError(left_out[0])
    typed = [key for run in runs for key in run.settings]
    keys = ["dataset", "model", "latent_dim", "seed", *typed, *_altered(runs)]
    keys = list(dict.fromkeys(keys))
    runs = [replace(run, settings=_settings(run, keys)) for run in runs]
    return Comparison(sweeps, runs, _groups(runs), left_out)


def _read(run: Run) -> Entry:
    """Read a run; its settings are those that were typed.

    Raises:
        ValueError: when a file of it is damaged.
    """
    config, headline = run.config, run.headline
    try:
        config["objective"], naming.chosen(config, "dataset")
    except (LookupError, TypeError, AttributeError):
        file = run.path / "config.yaml"
        raise ValueError(f"{file}: expected the configuration of a run") from None
    lines = (line.lstrip("+~").partition("=") for line in run.overrides)
    typed = {key: value for key, _, value in lines}
    return Entry(
        run=run,
        name=run.name,
        status=run.status,
        seconds=run.seconds,
        value=headline[1] if headline else None,
        config=config,
        settings=typed,
        results=run.results,
        typed=frozenset(typed),
    )


def _altered(runs: list[Entry]) -> list[str]:
    """Return the keys whose default is not what runs did that were made before they came in."""
    leaves = [flatten(run.config) for run in runs]
    known = dict.fromkeys(k for own in leaves for k in own if not k.startswith("model."))
    earlier = [come_since(own, known) for own in leaves]
    values = [own | since for own, since in zip(leaves, earlier, strict=True)]
    came = dict.fromkeys(key for since in earlier for key in since)
    return [key for key in came if len({own[key] for own in values if key in own}) > 1]


def _settings(run: Entry, keys: list[str]) -> dict[str, str]:
    """Return the values of `keys`: of a choice what was typed, else what the configuration has."""
    leaves, settings = flatten(run.config), {}
    earlier = come_since(run.config, dict.fromkeys(keys))
    leaves |= {key: value for key, value in earlier.items() if not key.startswith("model.")}
    for key in keys:
        default = leaves.get(key)
        if key in ("dataset", "model"):
            default = naming.chosen(run.config, key)
        is_choice = key in GROUPS or key not in leaves
        value = run.settings.get(key, default) if is_choice else default
        settings[key] = "" if value is None else str(value)
    return settings


def _groups(runs: list[Entry]) -> list[Group]:
    """Group the runs by the settings in which they differ, but for the seed and the machine."""
    kept = [
        key
        for key in runs[0].settings
        if key in ("model", "latent_dim")
        or (len({run.settings[key] for run in runs}) > 1 and key not in _NOT_COMPARED)
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


def published(group: Group) -> dict[str, str]:
    """Return the published numbers of a group by metric; only presets of a paper's tables have any.

    They are of the preset as it stands: runs for which more was typed than data set, model, latent
    dimension, and what has no part in the numbers, have none.
    """
    settings = group.runs[0].settings
    experiment = settings.get("experiment")
    typed = {key for run in group.runs for key in run.typed}
    if typed - _OF_A_PRESET:
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
