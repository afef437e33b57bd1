"""What the terminal shows of a run: a line per epoch, how far its work is, the final numbers."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

log = logging.getLogger("svae")

# what the live line shows of an epoch, where the model has it
_SHOWN = (
    ("train", "train/elbo", ".2f"),
    ("val", "val/elbo", ".2f"),
    ("IWAE", "val/iwae", ".2f"),
    ("KL", "val/kl", ".2f"),
    ("AUC", "val/auc", ".4f"),
    ("acceptance", "train/acceptance_rate", ".3f"),
    ("kappa", "train/concentration_mean", ".1f"),
)


# of the table of results: what comes first, what only results.json has, values not worth a line
_FIRST = ("test/log_likelihood", "test/elbo", "test/reconstruction", "test/kl")
_ASIDE = ("device", "commit", "split")
_UNTOLD = {"test/acceptance_rate": 1.0, "collapse": "none", "restarts": 0}


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


class Screen:
    """The terminal: a live bar where there is one, plain lines where the output is a file."""

    def __init__(self, quiet: bool = False):
        silent = {"quiet": True, "force_terminal": False} if quiet else {}
        output = _Output(sys.stdout)
        self.console = Console(file=output, highlight=False, soft_wrap=True, **silent)

    def note(self, text: str) -> None:
        """Say one line, and keep it in the log."""
        log.info(text)
        self.show(text)

    def show(self, what) -> None:
        """Print a line or a table."""
        self.console.print(what, markup=False)

    @contextmanager
    def training(self, done: int, total: int) -> Iterator["Bar"]:
        """Show the progress of `total` epochs, of which `done` were made earlier."""
        with self._progress() as progress:
            task = progress.add_task("training", total=total, completed=done, line="")
            yield Bar(self, progress, task, total)

    def work(self, name: str, pieces: list) -> Iterable:
        """Yield `pieces` and show how many are done."""
        if not self.console.is_terminal:
            self.show(f"{name} ...")
            yield from pieces
            return
        with self._progress() as progress:
            task = progress.add_task(name, total=len(pieces), line="")
            for piece in pieces:
                yield piece
                progress.advance(task)

    def results(self, results: dict, title: str) -> None:
        """Show the final numbers as a table; results.json has all of them."""
        log.info(title)
        table = Table("metric", "value", title=title, title_justify="left")
        table.columns[1].justify = "right"
        for name, value in _rows(results):
            log.info("%s %s", name, value)
            table.add_row(name, value)
        self.show(table)

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


def _rows(results: dict) -> Iterator[tuple[str, str]]:
    """Yield what a person looks at first: the numbers of the model, the main ones on top."""
    names = sorted(results, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    for name in names:
        value, deviation = results[name], results.get(f"{name}_std")
        is_beside = name.endswith("_std") and name.removesuffix("_std") in results
        if is_beside or isinstance(value, dict) or name in _ASIDE or _UNTOLD.get(name) == value:
            continue
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        yield name, text if deviation is None else f"{text} ± {deviation:.4f}"


class Bar:
    """The line about the epoch that has just ended."""

    def __init__(self, screen: Screen, progress: Progress, task, total: int):
        self._screen, self._progress, self._task, self._total = screen, progress, task, total

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        shown = [(w, metrics[key], form) for w, key, form in _SHOWN if key in metrics]
        # a model without a sampler, or one that never rejects, has nothing to say about it
        words = [f"{w} {v:{form}}" for w, v, form in shown if (w, v) != ("acceptance", 1.0)]
        line = "  ".join(words)
        seconds = f"{metrics['seconds']:.1f} s"
        log.info("epoch %d/%d  %s  %s", number, self._total, line, seconds)
        self._progress.update(self._task, completed=number, line=line)
        if not self._screen.console.is_terminal:
            self._screen.show(f"epoch {number}/{self._total}  {line}  {seconds}")
