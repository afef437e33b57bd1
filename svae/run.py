"""A sweep: what becomes of the folder of each job, and what they have come to.

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

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from svae.configuration.schema import difference, flatten, retyped
from svae.recording.folder import (
    FINISHED,
    INTERRUPTED,
    RUNNING,
    RunFolder,
    read_status,
    written_status,
)
from svae.recording.saved import reopened, saved_overrides, saved_values

# may differ when a sweep goes on: where its runs work and who hears of it, not what they compute
FREE = ("device", "threads", "logger.")
# on_nan has been of no consequence to what has not diverged, and what has begins again
_FREE_IN_A_JOB = (*FREE, "trainer.on_nan")
# the first that a run has stands for it in one line
_MAIN = ("test/log_likelihood", "test/auc", "test/elbo")


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
    free = {key: value for key, value in now.items() if key.startswith(_FREE_IN_A_JOB)}
    return reopened(path, free)


def state_of(path: Path) -> str | None:
    """Return the state of the run in `path`, None where none was begun."""
    if not (path / "status.json").is_file():
        return None
    return read_status(path)["state"]


def mismatch(path: Path, config: DictConfig, overrides: list[str]) -> str | None:
    """Return in what a job differs from the run in `path`, one sentence, or None.

    What was not typed, then or now, does not count: a default may have changed, and the run goes on
    with that of then.
    """
    typed = retyped(saved_overrides(path), overrides)
    wanted = OmegaConf.to_container(config, resolve=False)
    found = typed and difference(saved_values(path), wanted, _FREE_IN_A_JOB, typed)
    if not found:
        return None
    return f"{path}: {found}; expected another hydra.sweep.dir, or the same command"


def best_value(path: Path, objective: str) -> float:
    """Return the best value of the objective of the finished run in `path`, nan of a study.

    Of replicas it is the mean.
    """
    best = [
        max((row[objective] for row in metrics(run)), default=math.nan) for run in folders(path)
    ]
    return sum(best) / len(best)


@dataclass(frozen=True)
class Outcome:
    """How far a run has come, read from its folder; seconds are those of its epochs."""

    path: Path
    state: str
    epoch: int
    error: str | None
    metric: str | None = None
    value: float | None = None
    seconds: float = 0.0


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


def finished(sweep: Path) -> list[Path]:
    """Return the folders of the finished runs below `sweep`."""
    return [path for path in folders(sweep) if state_of(path) == FINISHED]


def outcome(path: Path) -> Outcome:
    """Return what has become of the run in `path`.

    A run whose process has died still counts as running here: to ask for its lock could get in the
    way of the process that continues it, see `run.read_status`.
    """
    status = written_status(path)
    known = {"path": path, **{key: status[key] for key in ("state", "epoch", "error")}}
    seconds = sum(row.get("seconds", 0.0) for row in metrics(path))
    numbers = results(path) if status["state"] == FINISHED else {}
    metric = next((name for name in _MAIN if name in numbers), None)
    return Outcome(**known, metric=metric, value=numbers.get(metric), seconds=seconds)


def config(path: Path) -> dict:
    """Return the configuration of the run in `path`, interpolations as they stand.

    Raises:
        ValueError: when it cannot be read.
    """
    return saved_values(path)


def results(path: Path) -> dict:
    """Return the final numbers of the run in `path`, nothing where it has not come so far.

    Raises:
        ValueError: when they cannot be read.
    """
    file = path / "results.json"
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected results by name, got a {type(found).__name__}")
    return found


def metrics(path: Path) -> list[dict[str, float]]:
    """Return a row per epoch of the run in `path`, as far as it has come.

    Raises:
        ValueError: when it is no table of numbers.
    """
    file = path / "metrics.csv"
    if not file.exists():
        return []
    try:
        rows = list(csv.DictReader(file.read_text().splitlines()))
        return [{name: float(value or "nan") for name, value in row.items()} for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{file}: expected a row of numbers per epoch ({error})") from None


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(word or 0), other) for other, word in re.findall(r"(\D*)(\d*)", text)]
