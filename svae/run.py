"""A run folder: what becomes of that of each job of a sweep, and `Run`, by which all are read.

| the folder of the job holds | the job |
|---|---|
| no run | runs |
| an interrupted run | continues it, to the same bits |
| a failed run | begins again; the log is kept |
| a finished run | does nothing and returns the value of then |
| a run that another process works on | does nothing |
| a run of another configuration | is refused, unless a search chose it |

A search numbers its trials anew each time it is started: they take the next free folder. So the
same command again goes on with a sweep, and several machines may work on one at once.
"""

import contextlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from svae.configuration.compare import difference, retyped
from svae.configuration.compose import expanded
from svae.configuration.schema import flatten, may_change
from svae.metrics.catalogue import HEADLINE, lower_is_better, number, shown
from svae.recording.folder import (
    FINISHED,
    INTERRUPTED,
    RUNNING,
    RunFolder,
    Status,
    read_status,
    written_status,
)
from svae.recording.naming import run_name
from svae.recording.saved import (
    read_history,
    read_latents,
    read_results,
    reopened,
    saved_overrides,
    saved_values,
)
from svae.recording.terminal import visible

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

# the first that a run has stands for it in one line
_MAIN = [metric.final for metric in shown(HEADLINE)]


class Claim(NamedTuple):
    """The folder of a job, None where nothing is to be done; in which state it was, and with which
    configuration the job works: that of then, where it was begun before."""

    folder: RunFolder | None
    state: str | None
    config: DictConfig


def claim(path: Path, config: DictConfig, overrides: list[str], searches: bool) -> Claim:
    """Take the folder of a job, as far as there is something to do in it.

    Raises:
        ValueError: when it holds a run of another configuration, or another process was faster.
        OSError: when it cannot be written.
    """
    if path.is_symlink():
        raise ValueError(f"{path}: is a link, expected the folder of a job")
    state = state_of(path)
    if state is not None and (found := mismatch(path, config, overrides)):
        if searches:
            return Claim(RunFolder.claim(path, config, overrides), None, config)
        raise ValueError(found)
    if state in (FINISHED, RUNNING):
        return Claim(None, state, config)
    if state is not None:
        config = _as_begun(path, config)
    if state == INTERRUPTED:
        return Claim(RunFolder.reopen(path), state, config)
    return Claim(RunFolder.renew(path, config, overrides), state, config)


def _as_begun(path: Path, config: DictConfig) -> DictConfig:
    """Return the configuration of the run in `path`, with the machine and the logger of now."""
    now = flatten(OmegaConf.to_container(config, resolve=False))
    return reopened(path, {key: now[key] for key in may_change("sweep") if key in now})


def state_of(path: Path) -> str | None:
    """Return the state of the run in `path`, None where none was begun."""
    if not (path / "status.json").is_file():
        return None
    return read_status(path).state


def mismatch(path: Path, config: DictConfig, overrides: list[str]) -> str | None:
    """Return in what a job differs from the run in `path`, one sentence, or None.

    What was not typed, then or now, does not count: a default may have changed, and the run goes on
    with that of then.
    """
    typed = retyped(saved_overrides(path), overrides)
    wanted = OmegaConf.to_container(config, resolve=False)
    found = typed and difference(saved_values(path), wanted, may_change("sweep"), typed)
    if not found:
        return None
    return f"{path}: {found}; expected another hydra.sweep.dir, or the same command"


class Run:
    """A run folder, and everything that is read of it.

    A run may still be going on: every property reads its file anew, so hold on to what is used
    twice. Of a run that has not come so far there is nothing: no rows, no results, no arrays.

    Raises:
        ValueError: when the folder holds no run; the properties, when their file is damaged.
    """

    def __init__(self, folder: str | Path):
        self.path = expanded(folder)
        written_status(self.path)

    @property
    def name(self) -> str:
        """Model, latent dimension and seed, such as vmf-d10-s0."""
        try:
            return run_name(self.config)
        except (LookupError, TypeError, AttributeError):
            file = self.path / "config.yaml"
            raise ValueError(f"{file}: expected the configuration of a run") from None

    @property
    def status(self) -> Status:
        """How far it has come; a run whose process has died is interrupted."""
        return read_status(self.path)

    @property
    def written(self) -> Status:
        """What status.json says, where a run whose process has died still counts as running.

        To tell the two apart takes the lock for a moment, which could get in the way of the process
        that continues the run: not for who looks again and again.
        """
        return written_status(self.path)

    @property
    def changed(self) -> int:
        """When its status was last written, in nanoseconds."""
        return (self.path / "status.json").stat().st_mtime_ns

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, plain values, references as they stand."""
        return saved_values(self.path)

    @property
    def overrides(self) -> list[str]:
        """What was typed when it began, such as latent_dim=10."""
        return saved_overrides(self.path)

    @property
    def history(self) -> list[dict[str, float]]:
        """A row per epoch: the numbers of metrics.csv by their names."""
        return read_history(self.path)

    @property
    def results(self) -> dict[str, Any]:
        """The final numbers, by the names in results.json."""
        return read_results(self.path)

    @property
    def latents(self) -> dict[str, "np.ndarray"]:
        """The posteriors of the test set, (N, ...) each: loc, concentration or scale, labels."""
        return read_latents(self.path)

    @property
    def replicas(self) -> list["Run"]:
        """The runs of a folder of replicas, none of any other."""
        found = (file.parent for file in self.path.glob("*/status.json"))
        return [Run(path) for path in sorted(found, key=lambda path: _natural(path.name))]

    @property
    def seconds(self) -> float:
        """What its epochs took, wall time."""
        rows = self.history or [row for own in self.replicas for row in own.history]
        return sum(row.get("seconds", 0.0) for row in rows)

    @property
    def headline(self) -> tuple[str, float] | None:
        """The metric and its value that stand for a finished run in one line, None of others."""
        if self.written.state != FINISHED:
            return None
        found = self.results
        known = [name for name in _MAIN if number(found.get(name)) is not None]
        return (known[0], found[known[0]]) if known else None

    def best(self, metric: str | None = None) -> float:
        """Return the best value of a column of the history, by default that of the objective.

        It is the lowest of val/kl and other costs, the highest of all else. Of replicas it is the
        mean; nan where there is no such number, as of a study.
        """
        metric = metric or self.config.get("objective")
        if own := self.replicas:
            return sum(run.best(metric) for run in own) / len(own)
        values = [row[metric] for row in self.history if not math.isnan(row.get(metric, math.nan))]
        return (min if lower_is_better(str(metric)) else max)(values, default=math.nan)

    def model(self, device: str = "cpu", trust: Iterable[str | Path] = ()) -> "nn.Module":
        """Return the model of the best checkpoint, ready to encode and decode, see `svae.load`."""
        from svae import build

        return build.load(self.path, device, trust)[0]

    def __repr__(self) -> str:
        try:
            state, epoch, error = self.status
            words = [self.name, state, f"epoch {epoch}"]
            headline = self.headline
            words += ["{} {:.4f}".format(*headline)] if headline else [error] if error else []
        except ValueError as damage:
            words = [f"damaged: {damage}"]
        return visible(f"<Run {self.path}: {', '.join(words)}>")


def runs(folder: str | Path, by: str | None = None) -> list[Run]:
    """Return the runs below a folder, of replicas their own, the best first.

    `by` is a name in results.json, such as test/elbo, or a column of the history, of which the best
    epoch counts. By default it is the first of test/log_likelihood, test/auc and test/elbo that a
    run has. Runs without that number come last, in the order of their folders, and so do damaged
    ones.

    Raises:
        ValueError: when there are no runs, or none has the number `by`.
    """
    found = readable(folders(expanded(folder)))
    if not found:
        raise ValueError(f"{folder}: expected run folders below it, found none")
    if by is None:
        headlines = [_headline(run) for run in found]
        by = next((name for name in _MAIN if any(own[0] == name for own in headlines)), None)
        numbers = [value if name == by else math.nan for name, value in headlines]
    else:
        numbers = [_number(run, by) for run in found]
        if all(map(math.isnan, numbers)):
            raise ValueError(f"by={by}: no run below {folder} has such a number")
    sign = 1 if by is not None and lower_is_better(by) else -1
    keys = [math.inf if math.isnan(number) else sign * number for number in numbers]
    return [run for _, run in sorted(zip(keys, found, strict=True), key=lambda pair: pair[0])]


def _headline(run: Run) -> tuple[str | None, float]:
    try:
        return run.headline or (None, math.nan)
    except ValueError:
        return None, math.nan


def _number(run: Run, name: str) -> float:
    """Return a final number, or the best of an epoch; nan where the run has neither."""
    try:
        found = number(run.results.get(name))
        return run.best(name) if found is None else found
    except ValueError:
        return math.nan


def folders(sweep: Path, jobs: frozenset[Path] | None = None) -> list[Path]:
    """Return the folders of the runs below `sweep`, counted as people count: 2 before 10.

    Of replicas their own folders, not the one that holds them all. `jobs` are the folders of the
    jobs whose runs are meant; None: all.
    """
    found = {file.parent for file in sweep.rglob("status.json")}
    found -= {path.parent for path in found}
    if jobs is not None:
        found = {path for path in found if path in jobs or path.parent in jobs}
    return sorted(found, key=lambda path: _natural(str(path.relative_to(sweep))))


def readable(paths: Iterable[Path]) -> list[Run]:
    """Return the runs of these folders, but for those whose status.json is a link or no file."""
    found = []
    for path in paths:
        with contextlib.suppress(ValueError):
            found.append(Run(path))
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(word or 0), other) for other, word in re.findall(r"(\D*)(\d*)", text)]
