"""What leaves a run while it trains: the console, metrics.csv and Weights & Biases."""

import csv
import io
import logging
import netrc
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlparse

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from svae.recording.files import read_own, write_text

log = logging.getLogger("svae")

_PATIENCE = 30.0  # seconds that the end of a run waits for W&B
_MODES = ("online", "offline", "disabled")
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


def write_metrics(path: Path, history: list[dict[str, float]]) -> None:
    """Write metrics.csv: one row per epoch, always the whole history, atomically."""
    columns = list(dict.fromkeys(["epoch", *(name for row in history for name in row)]))
    columns.append(columns.pop(columns.index("seconds")))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


class WandbRun:
    """One Weights & Biases run; whatever goes wrong in it is told once and training goes on.

    Opening it again for the same folder continues the same W&B run. Offline, the earlier files of
    the run are replaced by one that holds `history`, every epoch of it once. `tell` says a line to
    the person who waits for the run.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict,
        config: dict,
        group: str | None,
        history: list[dict],
        tell: Callable[[str], None] = log.warning,
    ):
        self._run, self._tell = None, tell
        mode = _mode(settings["mode"], tell)
        if mode == "disabled":
            return
        arguments = {
            "project": settings["project"],
            "entity": settings["entity"],
            "name": settings["name"],
            "tags": settings["tags"],
            "group": group,
            "job_type": "train",
            "config": config,
            "dir": str(folder),
            "resume": "allow",
        }
        self._guard(self._open, mode, arguments, folder)
        self._guard(self._replay, history)

    def log(self, row: dict[str, float]) -> None:
        """Send the metrics of one epoch; `row` has `epoch`, which is the step."""
        self._guard(lambda: self._run.log(row, step=row["epoch"]))

    def finish(self, results: dict | None, images: Iterable[Path], exit_code: int) -> None:
        """Send the final numbers and pictures and close the run; safe to call at any time."""
        self._guard(self._summarise, results or {}, list(images))
        self._guard(lambda: self._run.finish(exit_code=exit_code))
        self._run = None

    def _open(self, mode: str, arguments: dict, folder: Path) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=20,
            reinit="create_new",
            # a server that dies in mid-run keeps nobody waiting; what it lacks lies in the folder
            finish_timeout=_PATIENCE,
            finish_timeout_raises=True,
        )
        arguments = {**arguments, "id": _run_id(folder)}
        self._earlier = _offline_files(folder, arguments["id"])
        try:
            self._run = wandb.init(mode=mode, settings=settings, **arguments)
        except wandb.errors.Error as error:
            if mode == "offline":
                raise
            self._tell(f"W&B cannot be reached ({_short(error)}): the run is logged offline")
            wandb.teardown()  # the service still holds the run that could not begin
            self._run = wandb.init(mode="offline", settings=settings, **arguments)
        self._run.define_metric("epoch")
        # not "*": the row of pictures would repeat the last epoch
        for names in ("train/*", "val/*", "seconds"):
            self._run.define_metric(names, step_metric="epoch")

    def _replay(self, history: list[dict]) -> None:
        known = self._run.summary.get("epoch", 0) if self._run.resumed else 0
        for row in history:
            if row["epoch"] > known:
                self._run.log(row, step=row["epoch"])
        # what stands in them stands in the new file now
        for path in self._earlier if self._run.offline else ():
            if path != Path(self._run.dir).parent:
                shutil.rmtree(path, ignore_errors=True)

    def _summarise(self, results: dict, images: list[Path]) -> None:
        import wandb

        self._run.summary.update(results)
        if images:
            self._run.log({f"plots/{path.stem}": wandb.Image(str(path)) for path in images})

    def _guard(self, action, *arguments) -> None:
        """Do `action`; a failure ends the logging to W&B, never the training."""
        if self._run is None and action != self._open:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._tell(f"logging to W&B stopped ({type(error).__name__}: {_short(error)})")
            self._run = None
            if isinstance(error, ConnectionError):
                self._let_go()

    def _let_go(self) -> None:
        """End W&B's service, which would complain at exit that it has died."""
        import wandb

        with suppress(Exception):
            wandb.teardown()


def _mode(asked: str, tell: Callable[[str], None]) -> str:
    """Return online, offline or disabled; `auto` asks the environment and never a person."""
    if asked != "auto":
        return asked
    mode = os.environ.get("WANDB_MODE")
    if mode in _MODES:
        return mode
    if mode:
        tell(f"WANDB_MODE={mode}: expected {', '.join(_MODES)}; the run is logged offline")
        return "offline"
    return "online" if _has_key() else "offline"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def _run_id(folder: Path) -> str:
    """Return the W&B id of the run in `folder`, made when it is first asked for.

    The agent of a W&B sweep has given its run an id already.
    """
    file = folder / "wandb" / "run-id"
    known = ""
    with suppress(OSError, UnicodeError):
        known = read_own(file.parent, file.name).decode()
    if re.fullmatch(r"[\w-]{1,64}", known, re.ASCII):  # it becomes part of paths
        return known
    given = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, new := given or secrets.token_hex(4))
    return new


def _offline_files(folder: Path, run_id: str) -> list[Path]:
    return list((folder / "wandb").glob(f"offline-run-*-{run_id}"))
