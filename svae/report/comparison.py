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
from svae.configuration.schema import KEYS, flatten, may_change
from svae.configuration.words import GROUPS
from svae.metrics.catalogue import REPORT, Metric, number, of, shown
from svae.recording.folder import FINISHED
from svae.report import apart, entry
from svae.report.entry import Entry
from svae.run import Run, folders

_NOT_COMPARED = {"seed", "dataset.split_seed", *may_change("sweep")}
# what may be typed for the runs of a paper's table
_OF_A_PRESET = _NOT_COMPARED | {name for name, key in KEYS.items() if not key.alters}
_OF_A_PRESET |= {"experiment", "dataset", "model", "latent_dim", "network.style"}
PUBLISHED = CONF / "experiment" / "published.csv"
_PUBLISHED_BY = ("dataset", "model", "latent_dim", "style")


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed; the numbers are those of the finished ones."""

    settings: dict[str, str]
    runs: list[Entry]

    @property
    def finished(self) -> list[Entry]:
        """The finished runs, of each seed and split the first: a repetition is no other sample."""
        return apart.first_of_each(self._ended)

    @property
    def repeated(self) -> list[Entry]:
        """The finished runs that are left out of the numbers, as their seed is there already."""
        kept = {run.run.path for run in self.finished}
        return [run for run in self._ended if run.run.path not in kept]

    @property
    def _ended(self) -> list[Entry]:
        return [run for run in self.runs if run.status.state == FINISHED]

    @property
    def latent_dim(self) -> float | None:
        return number(_number_or_text(self.settings["latent_dim"])[0])

    def values(self, metric: Metric) -> list[float]:
        """Return the number of each finished run, none where they are all trivial."""
        values = [number(run.results.get(metric.final)) for run in self.finished]
        values = [value for value in values if value is not None]
        return [] if set(values) == {metric.trivial} else values

    def mean(self, metric: Metric) -> float:
        """Return the mean over the seeds, nan where there is none."""
        values = self.values(metric)
        return statistics.mean(values) if values else math.nan

    def deviation(self, metric: Metric) -> float:
        """Return the standard deviation over the seeds (n - 1), nan for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def text(self, metric: Metric) -> str:
        return spread(metric, self.mean(metric), self.deviation(metric))

    @property
    def collapse(self) -> str:
        """How many of the finished runs have collapsed, and in what, as `evaluate` names it."""
        kinds = Counter(str(run.results.get("collapse", "none")) for run in self.finished)
        count = len(self.finished)
        return ", ".join(f"{kind} ({n} of {count})" for kind, n in kinds.items() if kind != "none")

    @property
    def label(self) -> str:
        """What tells the group from others of its latent dimension."""
        return ", ".join(_label(k, v) for k, v in self.settings.items() if k != "latent_dim")


@dataclass(frozen=True)
class Comparison:
    """All runs, what they differ in, and the groups in the order of the tables.

    `left_out` says which runs or files could not be read or are not counted, and why; `kept_apart`
    which are in a group of their own because of their data.
    """

    folders: list[Path]
    runs: list[Entry]
    groups: list[Group]
    left_out: list[str]
    kept_apart: list[str]

    @property
    def metrics(self) -> list[Metric]:
        """Those of the report that any run has."""
        return [m for m in shown(REPORT) if any(group.values(m) for group in self.groups)]

    @property
    def lines(self) -> list[str]:
        """The labels of the groups; of those of one label a chart makes a line."""
        return list(dict.fromkeys(group.label for group in self.groups))

    @property
    def has_collapsed(self) -> bool:
        return any(group.collapse for group in self.groups)

    def best(self, metric: Metric) -> list[Group]:
        """Return the best groups of each data set and latent dimension, as far as they differ.

        Of what had better be low there is none: a low KL may be that of a model that does nothing.
        """
        rivals = {}
        for group in self.groups if metric.better == "higher" else ():
            if group.values(metric):
                keys = tuple(group.settings.get(key) for key in ("dataset", "data", "latent_dim"))
                rivals.setdefault(keys, []).append(group)
        best = []
        for groups in rivals.values():
            means = [round(group.mean(metric), metric.digits) for group in groups]
            if len(set(means)) > 1:
                best += [g for g, mean in zip(groups, means, strict=True) if mean == max(means)]
        return best

    def fixed(self) -> dict[str, str]:
        """Return what was typed and is the same in all runs."""
        found, columns = self.runs[0].settings, self.groups[0].settings
        others = [run.settings for run in self.runs]
        same = {k: v for k, v in found.items() if all(own[k] == v for own in others)}
        return {k: v for k, v in same.items() if k not in columns and k != "seed"}

    def shown(self, run: Entry) -> str:
        """Return the run's folder as short as it is clear."""
        path = run.run.path
        folder = next(folder for folder in self.folders if path.is_relative_to(folder))
        return str(path.relative_to(folder if len(self.folders) == 1 else folder.parent))


def read(sweeps: Iterable[Path]) -> Comparison:
    """Read the runs below the folders.

    Raises:
        ValueError: when there is none that can be read, or none below one of them.
    """
    sweeps = [Path(folder).absolute() for folder in sweeps]
    paths = []
    for sweep in sweeps:
        if not (found := folders(sweep)):
            raise ValueError(f"{sweep}: expected run folders below it, found none")
        paths += found
    runs, left_out = [], []
    for path in paths:
        try:
            runs.append(entry.read(Run(path)))
        except (OSError, ValueError) as error:
            left_out.append(str(error))
        else:
            left_out += runs[-1].damage
    if not runs:
        raise ValueError(left_out[0])
    runs = _with_settings(runs)
    alike = [group.runs for group in _groups(runs)]
    if names := apart.names(alike):
        named = ((run, run.settings | {"data": names[run.run.path]}) for run in runs)
        runs = [replace(run, settings=settings) for run, settings in named]
    groups = _groups(runs)
    for run in (run for group in groups for run in group.repeated):
        seed, split = apart.sample(run.config)
        words = f"seed {seed}" if split in ("None", seed) else f"seed {seed} and split {split}"
        left_out.append(f"{run.run.path}: repeats a run of {words}, which the means count once")
    return Comparison(sweeps, runs, groups, left_out, apart.reasons(alike))


def _with_settings(runs: list[Entry]) -> list[Entry]:
    """Return the runs with their values of all keys that were typed for any.

    And of those whose default is not what runs did that were made before the keys came in.
    """
    leaves = [flatten(run.config) for run in runs]
    known = dict.fromkeys(k for own in leaves for k in own if not k.startswith("model."))
    earlier = [come_since(own, known) for own in leaves]
    values = [own | since for own, since in zip(leaves, earlier, strict=True)]
    came = [key for since in earlier for key in since]
    altered = [key for key in came if len({str(own[key]) for own in values if key in own}) > 1]
    typed = [key for run in runs for key in run.typed]
    keys = dict.fromkeys(["dataset", "model", "latent_dim", "seed", *typed, *altered])
    return [
        replace(run, settings={key: _setting(run, own, key) for key in keys})
        for run, own in zip(runs, values, strict=True)
    ]


def _setting(run: Entry, values: dict, key: str) -> str:
    """Return the value of a key: of a choice what was typed, else what the configuration has."""
    value = run.chosen.get(key, values.get(key))
    if key in GROUPS or key not in values:
        value = run.typed.get(key, value)
    return "" if value is None else str(value)


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
    dimension, where styles lie, and what has no part in the numbers, have none.
    """
    first = group.runs[0]
    settings = first.settings | {"style": flatten(first.config).get("network.style", "")}
    experiment = settings.get("experiment")
    typed = {key for run in group.runs for key in run.typed}
    if typed - _OF_A_PRESET:
        return {}
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        row["metric"]: spread(of(row["metric"]), float(row["mean"]), float(row["std"] or "nan"))
        for row in rows
        if row["experiment"] == experiment
        and all(row[key] in ("", settings[key]) for key in _PUBLISHED_BY)
    }


def spread(metric: Metric, mean: float, deviation: float) -> str:
    """Return mean ± standard deviation, as far as they are known."""
    known = [metric.text(value) for value in (mean, deviation) if not math.isnan(value)]
    return " ± ".join(known).replace("-", "\N{MINUS SIGN}")


def _label(key: str, value: str) -> str:
    return value if key in ("model", "dataset") else f"{key.rsplit('.', 1)[-1]} {value}"
