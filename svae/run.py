"""`Run`: everything that a run folder holds, and its model at work."""

import contextlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svae.configuration.compose import expanded
from svae.metrics.catalogue import HEADLINE, lower_is_better, number, shown
from svae.recording.files import below
from svae.recording.folder import FINISHED, Status, read_status, written_status
from svae.recording.naming import run_name
from svae.recording.saved import (
    read_history,
    read_latents,
    read_results,
    saved_overrides,
    saved_values,
)
from svae.recording.terminal import visible

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from svae.codec import Codec, Encoded
    from svae.drawing import Plots

# what runs are put in order by: the first that any has; no label of a test set has a part in it
_ORDER = ("test/log_likelihood", "test/auc", "test/elbo")
# the first that a run has stands for it in one line
_MAIN = [metric.final for metric in shown(HEADLINE)]


class Run:
    """A run folder, and everything that is read of it.

    A run may still be going on: every property reads its file anew, so hold on to what is used
    twice. Of a run that has not come so far there is nothing: no rows, no results, no arrays.

    What is encoded, decoded and scored by its best checkpoint is in the shape, the units and the
    order of the data that it was trained on, in batches: memory holds one of them and the result.

    Args:
        folder: the run folder.
        device: where its model works.
        trust: folders of configuration of one's own that vouch for its classes, see `svae.load`.

    Raises:
        ValueError: when the folder holds no run; the properties, when their file is damaged; the
            methods, when there is no good checkpoint or they are given something else than said.
    """

    def __init__(
        self, folder: str | Path, device: str = "cpu", trust: str | Path | Iterable[str | Path] = ()
    ):
        self.path = expanded(folder)
        self.device, self.trust = device, [trust] if isinstance(trust, str | Path) else [*trust]
        self._codec: tuple[int, Codec] | None = None  # of best.pt as it was then
        self._whole: Run | None = None  # of a replica; a temporary folder goes with it
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
        """The posteriors of the test set, (N, ...) each: loc, concentration or scale, labels.

        Where labels stand for others, `class_names` are these in the order of the labels.
        """
        return read_latents(self.path)

    @property
    def replicas(self) -> list["Run"]:
        """The runs of a folder of replicas, none of any other."""
        found = (file.parent for file in self.path.glob("*/status.json"))
        paths = sorted(found, key=lambda path: _natural(path.name))
        runs = [Run(path, self.device, self.trust) for path in paths]
        for run in runs:
            run._whole = self
        return runs

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

    def model(
        self, device: str | None = None, trust: str | Path | Iterable[str | Path] | None = None
    ) -> "nn.Module":
        """Return the model of the best checkpoint, ready to encode and decode, see `svae.load`.

        On the device of the run, trusting whom it trusts, where nothing else is said.
        """
        from svae import build

        trusted = self.trust if trust is None else trust
        return build.load(self.path, device or self.device, trusted)[0]

    @property
    def codec(self) -> "Codec":
        """The model of the best checkpoint beside the units of its data, loaded when it is new."""
        from svae import build

        file = self.path / "checkpoints" / "best.pt"
        written = file.stat().st_mtime_ns if file.is_file() else 0
        if self._codec is None or self._codec[0] != written:
            self._codec = written, build.codec(self.path, self.device, self.trust)
        return self._codec[1]

    def encode(self, x: Any) -> "Encoded":
        """Return the posteriors of observations (N, ...): (loc, spread), see `Codec.encode`."""
        return self.codec.encode(x)

    def decode(self, z: Any) -> "np.ndarray":
        """Return the mean observations (N, ...) of latent vectors (N, m), see `Codec.decode`."""
        return self.codec.decode(z)

    def sample(self, n: int, seed: int = 0) -> "np.ndarray":
        """Return mean observations (n, ...) of samples of the prior, the same for a `seed`."""
        return self.codec.sample(n, seed)

    def interpolate(self, a: Any, b: Any, steps: int = 11) -> "np.ndarray":
        """Return the decoded way from `a` to `b`, along the geodesic, see `Codec.interpolate`."""
        return self.codec.interpolate(a, b, steps)

    def score(
        self, x: Any, bound: str = "elbo", importance_samples: int = 100, seed: int = 0
    ) -> "np.ndarray":
        """Return a lower bound of log p(x) of each observation, in nats, see `Codec.score`."""
        return self.codec.score(x, bound, importance_samples, seed)

    @property
    def plot(self) -> "Plots":
        """What can be drawn of the run: `run.plot.latent()` is a matplotlib figure, and so on."""
        from svae.drawing import Plots

        return Plots(self)

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
        columns = ((name, [_final(run, name) for run in found]) for name in _ORDER)
        known = (own for own in columns if not all(map(math.isnan, own[1])))
        by, numbers = next(known, (_ORDER[0], [math.nan] * len(found)))
    else:
        numbers = [_number(run, by) for run in found]
        if all(map(math.isnan, numbers)):
            raise ValueError(f"by={by}: no run below {folder} has such a number")
    sign = 1 if lower_is_better(by) else -1
    keys = [math.inf if math.isnan(number) else sign * number for number in numbers]
    return [run for _, run in sorted(zip(keys, found, strict=True), key=lambda pair: pair[0])]


def _final(run: Run, name: str) -> float:
    """Return a number of a finished run; nan where there is none."""
    try:
        found = number(run.results.get(name)) if run.written.state == FINISHED else None
    except ValueError:
        found = None
    return math.nan if found is None else found


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
    found = {file.parent for file in below(sweep, "status.json")}
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
