"""What the terminal shows of a sweep: a line per run that ends, a bar over all, what is left to do.

It reads the run folders, so that it is the same whichever process or machine a run works on.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from svae.cli.sweeps import Sweep
from svae.configuration.checks import key_of
from svae.recording.console import Plain
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING
from svae.recording.terminal import say, visible
from svae.run import Run, Status, folders, readable

_PERIOD = 3600.0  # seconds that the time left is estimated from: runs differ in length


@contextlib.contextmanager
def watching(sweep: Sweep) -> Iterator[None]:
    """Show, while the block runs, every run of the sweep that ends."""
    console = Plain(soft_wrap=True)
    progress = Progress(
        TextColumn("sweep"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[line]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        speed_estimate_period=_PERIOD,
        disable=not console.is_terminal,
    )
    watch, stop = _Watch(sweep, progress), threading.Event()
    thread = threading.Thread(target=watch.until, args=(stop,), daemon=True)
    with progress:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            watch.look()


class _Watch:
    """Looks at the run folders again and again and shows what is new."""

    def __init__(self, sweep: Sweep, progress: Progress):
        self._sweep, self._progress = sweep, progress
        self._total = sweep.runs or "?"
        self._task = progress.add_task("", total=sweep.runs, line="")
        runs = self._runs()
        self._seen = {run.path: run.changed for run in runs}
        self._earlier = dict(self._seen)
        self._show(f"sweep folder: {sweep.folder}")
        self._ended = sum(run.status.state == FINISHED for run in runs)
        if self._ended:
            self._show(f"{_count(self._ended)} finished earlier")

    def until(self, stop: threading.Event) -> None:
        """Look about once a second, and for no more than a twentieth of the time."""
        pause = 1.0
        while not stop.wait(pause):
            began = time.monotonic()
            self.look()
            pause = max(1.0, 20 * (time.monotonic() - began))

    def look(self) -> None:
        """Show the runs that have ended since the last look, and move the bar."""
        runs = self._runs()
        for run in runs:
            if run.status.state != RUNNING and self._seen.get(run.path) != run.changed:
                self._ended += 1
                number = run.path.relative_to(self._sweep.folder)
                self._show(f"[{self._ended}/{self._total}] {number!s:>3}  {run}")
            self._seen[run.path] = run.changed
        # what failed earlier is going to be repeated, what runs on since earlier was killed
        running = [run for run in runs if run.status.state == RUNNING and self._is_new(run)]
        done = self._ended + sum(run.status.epoch / run.max_epochs for run in running)
        words = [f"{run.name} epoch {run.status.epoch}" for run in running]
        words = words or ["starting"] * (not self._ended)
        more = f" and {len(words) - 2} more" if len(words) > 2 else ""
        line = f"{self._ended}/{self._total}  {', '.join(words[:2])}{more}"
        self._progress.update(self._task, completed=done, line=visible(line))

    def _runs(self) -> list["_Run"]:
        paths = folders(self._sweep.folder, self._sweep.paths)
        runs = (_read(path, self._sweep.swept) for path in paths)
        return [run for run in runs if run is not None]

    def _is_new(self, run: "_Run") -> bool:
        return self._earlier.get(run.path) != run.changed

    def _show(self, text: str) -> None:
        self._progress.console.print(text)


@dataclass(frozen=True)
class _Run:
    """A run at this moment; `changed` is when its status was, `result` what it has come to."""

    path: Path
    changed: int
    status: Status
    seconds: timedelta
    result: str
    name: str
    max_epochs: int

    def __str__(self) -> str:
        return f"{self.name:<16} {self.status.state:<11} {self.seconds!s:>8}  {self.result}"


def _read(path: Path, swept: frozenset[str]) -> _Run | None:
    """Read a run; None when it is damaged, which the report says, or vanishes."""
    try:
        run = Run(path)
        # before the rest: what is written in the meantime is looked at again
        changed, status = run.changed, run.written
        headline = run.headline
        result = "{} {:.4f}".format(*headline) if headline else status.error or ""
        seconds = timedelta(seconds=round(run.seconds))
        return _Run(path, changed, status, seconds, result, *_name_and_length(path, swept))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return None


@functools.cache
def _name_and_length(path: Path, swept: frozenset[str]) -> tuple[str, int]:
    """Return the name of a run, with what else is swept, and its `trainer.max_epochs`."""
    run, keys = Run(path), swept - {"model", "latent_dim", "seed"}
    more = [line for line in run.overrides if key_of(line) in keys]
    return " ".join([run.name, *more]), max(1, int(run.config["trainer"]["max_epochs"]))


def close(sweep: Sweep, trouble: str | None) -> int:
    """Write the report, say what is left to do, return the exit code: 0 if nothing is."""
    from svae.report import summary

    paths = folders(sweep.folder, sweep.paths)
    # before the report: what another process ends in the meantime is not in it
    states = {run.path: run.status for run in readable(paths)}
    try:
        if paths:
            summary.make([sweep.folder])
    except Exception as error:  # such as a full disk: the runs are safe all the same
        trouble = trouble or f"the report was not written: {type(error).__name__}: {error}"
    left = {state: [p for p, own in states.items() if own.state == state] for state in _LEFT}
    if sweep.searches:  # which goes on with other trials
        left[INTERRUPTED] = []
    for path in left[FAILED]:
        log = path / "svae-train.log"
        say(f"{path} failed: {states[path].error} (traceback in {log})")
    if trouble:
        say(trouble)
    counts = {_LEFT[state]: len(paths) for state, paths in left.items()}
    counts["not begun"] = max(0, (sweep.runs or 0) - len(states))
    words = [f"{count} {phrase}" for phrase, count in counts.items() if count]
    if words:
        total = _count(max(sweep.runs or 0, len(paths)))
        say(f"of {total} {', '.join(words)}; go on with: {sweep.again}")
    return 1 if words or trouble else 0


_LEFT = {FAILED: "failed", INTERRUPTED: "interrupted", RUNNING: "running in another process"}


def _count(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"
