"""What the terminal shows of a run: a line per epoch, how far its work is, the final numbers."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from svae.metrics.catalogue import CIRCUMSTANCES, METRICS, of
from svae.recording import signals
from svae.recording.terminal import visible

log = logging.getLogger("svae")


class _Output:
    """A stream whose reader may go away, `head` or a closed terminal: no reason to stop."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class Plain(Console):
    """A console that takes text for text: it neither styles it nor lets it steer the terminal."""

    def __init__(self, **options):
        plain = {"highlight": False, "markup": False, "emoji": False}
        super().__init__(file=_Output(sys.stdout), **plain, **options)

    def render_str(self, text: str, **options) -> Text:
        return super().render_str(visible(text), **options)


class Screen:
    """The terminal: a live bar where there is one, plain lines where the output is a file.

    A notebook has no bar, and one line that each epoch writes anew.
    """

    def __init__(self, quiet: bool = False):
        silent = {"quiet": True, "force_terminal": False} if quiet else {}
        self.console = Plain(soft_wrap=True, **silent)
        self._is_live = self.console.is_terminal
        self._is_notebook = self.console.is_jupyter and not quiet
        self._passing = 0  # how many characters stand in a line that is going to be replaced

    def note(self, text: str) -> None:
        """Say one line, and keep it in the log."""
        log.info(text)
        self.line(text)

    def line(self, text: str) -> None:
        """Say one line, without the work of rich where there is no bar above which it stands."""
        if self._is_live:
            self.console.print(text)
        elif not self.console.quiet:
            end, self._passing = "\n" if self._passing else "", 0
            print(f"{end}{text}", file=self.console.file, flush=True)

    def passing(self, text: str) -> None:
        """Say one line, of which in a notebook the next one takes the place."""
        if not self._is_notebook:
            self.line(text)
            return
        padded, self._passing = text.ljust(self._passing), len(text)
        print(f"\r{padded}", end="", file=self.console.file, flush=True)

    def open(self, lines: list[tuple[str, str]]) -> None:
        """Say what is going to be done, each line with a word in front of it."""
        for word, text in lines:
            self.note(f"{word:<10}{text}")

    @contextmanager
    def training(self, done: int, total: int) -> Iterator["Bar"]:
        """Show the progress of `total` epochs, of which `done` were made earlier."""
        with self._progress() as progress:
            task = progress.add_task("training", total=total, completed=done, line="")
            yield Bar(self, progress, task, done, total)

    def work(self, name: str, pieces: list) -> Iterable:
        """Yield `pieces` and show how many are done; a request to stop ends the work."""
        if not self.console.is_terminal:
            self.line(f"{name} ...")
        with self._progress() as progress:
            task = progress.add_task(name, total=len(pieces), line="")
            for piece in pieces:
                signals.check()
                yield piece
                progress.advance(task)

    def results(self, results: dict, title: str) -> None:
        """Show the final numbers as a table; results.json has all of them."""
        log.info(title)
        table = Table("metric", "value", "unit", "better", title=title, title_justify="left")
        table.columns[1].justify = "right"
        for name, value, unit, better in _rows(results):
            log.info("%s %s", name, value)
            table.add_row(name, value, unit, better)
        self.console.print(table)

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


def _rows(results: dict) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, value, unit and which way is better: the test set's first, as the rows stand."""
    for name in sorted(results, key=_place):
        value, row, deviation = results[name], of(name), results.get(f"{name}_std")
        is_beside = name.endswith("_std") and name.removesuffix("_std") in results
        if is_beside or name in CIRCUMSTANCES or value == row.trivial:
            continue
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        yield name, text if deviation is None else f"{text} ± {deviation:.4f}", row.unit, row.better


def _place(name: str) -> tuple[bool, int]:
    row = of(name)
    return not name.startswith("test/"), METRICS.index(row) if row in METRICS else len(METRICS)


class Bar:
    """How far training is: a bar that moves with every step, and the last epoch in a line."""

    def __init__(self, screen: Screen, progress: Progress, task, done: int, total: int):
        self._screen, self._progress, self._task, self._total = screen, progress, task, total
        self._done = self._first = done
        self._started = time.monotonic()

    def steps(self, batches: Iterable, count: int) -> Iterable:
        """Yield the batches of the next epoch, `count` of them."""
        for number, batch in enumerate(batches, 1):
            yield batch
            self._progress.update(self._task, completed=self._done + number / count)

    def epoch(self, number: int, metrics: dict[str, float], best: str) -> None:
        """Describe the epoch that has just ended, beside the best so far."""
        self._done = number
        line = "  ".join([*_words(metrics), f"best {best}"])
        log.info("epoch %d/%d  %s  %.1f s", number, self._total, line, metrics["seconds"])
        if self._progress.disable:
            words = f"{line}  {metrics['seconds']:.1f} s{self._left()}"
            self._screen.passing(f"epoch {number}/{self._total}  {words}")
        else:
            self._progress.update(self._task, completed=number, line=line)

    def _left(self) -> str:
        """Return how long the other epochs are going to take, should none of them be spared."""
        spent = (time.monotonic() - self._started) / max(1, self._done - self._first)
        left = timedelta(seconds=round(spent * (self._total - self._done)))
        return f"  at most {left} left" if left else ""


def _words(metrics: dict[str, float]) -> Iterator[str]:
    """Yield what the line says of an epoch, as far as the model has it."""
    for name, word, row in _LIVE:
        value = metrics.get(name)
        if value is not None and value != row.trivial:
            yield f"{word} {row.text(value)}"


_LIVE = [(f"{split}/{m.name}", word, m) for m in METRICS for split, word in m.live.items()]
