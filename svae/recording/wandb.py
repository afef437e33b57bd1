"""A run on Weights & Biases: whatever goes wrong there, the training goes on."""

import logging
import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from svae.configuration.compose import public
from svae.metrics.catalogue import of
from svae.recording import environment, media
from svae.recording.files import read_own, write_text
from svae.recording.naming import choices, run_name

log = logging.getLogger("svae")

_PATIENCE = 30.0  # seconds that the end of a run waits for W&B
_LONGEST = 128  # characters of a name or a group


class WandbRun:
    """One Weights & Biases run; whatever goes wrong in it is reported once and training goes on.

    Its settings are those of `logger` in the configuration of the run. Opening it again for the
    same folder continues the same W&B run. Offline, the earlier files of the run are replaced by
    one that holds `history`, every epoch of it once. `report` says a line to the person who waits
    for the run.
    """

    def __init__(
        self,
        folder: Path,
        config: DictConfig,
        group: str | None,
        history: list[dict],
        report: Callable[[str], None] = log.warning,
    ):
        self._run, self._report, self._folder = None, report, folder
        self._objective, self._best, self._defined = config.get("objective"), -math.inf, set()
        self._guard(self._open, folder, config, group, history)

    def log(self, row: dict[str, float]) -> None:
        """Send the metrics of one epoch; `row` has `epoch`, which is the step."""
        self._guard(self._send, row)

    def show(self, epoch: int, images: Iterable[Path]) -> None:
        """Send pictures of an epoch, the last that was logged."""
        self._guard(self._add, "pictures", lambda: self._run.log(_pictures(images), step=epoch))

    def finish(self, results: dict | None, images: Iterable[Path]) -> None:
        """Send the final numbers and pictures and close the run; safe to call at any time.

        Without results, None, the run counts as failed.
        """
        if results is not None:
            self._guard(self._add, "pictures", lambda: self._show_all(images))
            self._guard(self._add, "artifacts", lambda: self._send_model(results))
            # after the row of the last epoch, which has a `seconds`, too
            self._guard(lambda: self._run.summary.update(results))
        self._guard(lambda: self._run.finish(exit_code=int(results is None)))
        self._run = None

    def _open(
        self, folder: Path, config: DictConfig, group: str | None, history: list[dict]
    ) -> None:
        settings = OmegaConf.to_container(config.logger, resolve=True)
        mode = environment.mode(settings["mode"])
        if mode == "disabled":
            return
        self._artifacts = settings["artifacts"]
        typed = {name: settings[name] for name in ("project", "entity", "name", "tags")}
        self._begin(typed | {"mode": mode, "group": group}, public(config), folder)
        self._replay(history, folder / "wandb")

    def _begin(self, typed: dict, config: dict, folder: Path) -> None:
        import wandb

        arguments = _completed(typed, wandb.setup().settings, config, folder)
        arguments["settings"] = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=20,
            reinit="create_new",
            # a server that dies in mid-run keeps nobody waiting; what it lacks lies in the folder
            finish_timeout=_PATIENCE,
            finish_timeout_raises=True,
        )
        try:
            self._run = wandb.init(**arguments)
        except wandb.errors.Error as error:
            if arguments["mode"] == "offline":
                raise
            self._report(f"W&B cannot be reached ({_short(error)}): the run is logged offline")
            wandb.teardown()  # the service still holds the run that could not begin
            self._run = wandb.init(**arguments | {"mode": "offline"})
        self._run.define_metric("epoch")
        # not "*": the row of pictures would repeat the last epoch
        for names in ("train/*", "val/*", "seconds"):
            self._run.define_metric(names, step_metric="epoch")

    def _replay(self, history: list[dict], folder: Path) -> None:
        """Send the epochs that W&B does not know, and remove the files that hold no others."""
        known = self._run.summary.get("epoch", 0) if self._run.resumed else 0
        now, later = time.time(), sum(row.get("seconds", 0.0) for row in history)
        for row in history:
            later -= row.get("seconds", 0.0)
            # as if they had been trained just now, one after the other, and not all at once
            self._send(row | {"_timestamp": now - later}, is_known=row["epoch"] <= known)
        files = folder.glob("offline-run-*") if self._run.offline else ()
        for path in files:
            if path != Path(self._run.dir).parent:
                shutil.rmtree(path, ignore_errors=True)
        if self._run.offline:
            shutil.rmtree(folder / "artifacts", ignore_errors=True)

    def _send(self, row: dict[str, float], is_known: bool = False) -> None:
        """Send an epoch, and to the summary the best of what is watched: one plain number."""
        if not is_known:
            self._define(row)
            self._run.log(row, step=row["epoch"])
        value = row.get(self._objective, -math.inf)
        if value > self._best:
            self._best = value
            self._run.summary[f"best/{self._objective}"] = value

    def _define(self, names: Iterable[str]) -> None:
        """Let the summary hold the best epoch of what has a better and a worse, not the last."""
        for name in names:
            metric = of(name)
            if metric.has_split and metric.better and name not in self._defined:
                best = "max" if metric.better == "higher" else "min"
                self._run.define_metric(name, step_metric="epoch", summary=best)
                self._defined.add(name)

    def _show_all(self, images: Iterable[Path]) -> None:
        self._run.log(_pictures(images) | media.sphere(self._folder))

    def _send_model(self, results: dict) -> None:
        if not self._artifacts:
            return
        self._run.log(media.table(self._folder))
        if model := media.model(self._run, self._folder, results):
            self._run.log_artifact(model)

    def _add(self, what: str, send: Callable[[], None]) -> None:
        """Send what the run is whole without; a failure is reported, and the run goes on."""
        try:
            with media.staging(self._folder / "wandb"):
                send()
        except Exception as error:
            if _is_of_service(error):  # nothing else can be sent either
                raise
            self._report(f"not sent to W&B: {what} ({type(error).__name__}: {_short(error)})")

    def _guard(self, action, *arguments) -> None:
        """Do `action`; a failure ends the logging to W&B, never the training."""
        if self._run is None and action != self._open:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._report(f"logging to W&B stopped ({type(error).__name__}: {_short(error)})")
            self._run = None
            if _is_of_service(error):  # which would complain at exit
                import wandb

                with suppress(Exception):
                    wandb.teardown()


def _is_of_service(error: Exception) -> bool:
    """Tell whether W&B's process has died; the second class is W&B's own."""
    return isinstance(error, ConnectionError) or type(error).__name__ == "HandleAbandonedError"


def _pictures(paths: Iterable[Path]) -> dict:
    import wandb

    return {f"plots/{path.stem}": wandb.Image(str(path)) for path in paths}


def _described(config: dict) -> dict:
    """Return a configuration as W&B shows it: `model` is vmf, and what it is built of is `built`.

    A column, a filter and the parameters of a sweep have the words that people type.
    """
    words = choices(config)
    return config | words | {"built": {group: config[group] for group in words}}


def _completed(typed: dict, known: Any, config: dict, folder: Path) -> dict:
    """Return the arguments of a W&B run: as typed, else what W&B has `known` before, else our own.

    It knows that from the environment or from its own files. For a run of an agent W&B takes the
    project and the id that the agent gives it, whatever stands here.
    """
    group = (typed["group"] or "")[-_LONGEST:] or None
    return typed | {
        "project": typed["project"] or known.project or "svae",
        "name": typed["name"] or known.run_name or run_name(config)[:_LONGEST],
        "group": known.run_group or group,
        "job_type": known.run_job_type or "train",
        "id": _run_id(folder, known.run_id),
        "config": _described(config),
        "dir": str(folder),
        "resume": "allow",
    }


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _run_id(folder: Path, given: str | None) -> str:
    """Return the W&B id of the run in `folder`: the one `given`, or made when first asked for.

    A copy of a folder is another run.
    """
    file = folder / "wandb" / "run-id"
    known = ""
    with suppress(OSError, UnicodeError):
        known = read_own(file.parent, file.name).decode()
    own, _, place = known.partition("\n")
    if not environment.RUN_ID.fullmatch(own) or not _is_here(place, folder):
        own = given or secrets.token_hex(4)
    file.parent.mkdir(parents=True, exist_ok=True)
    if known != (record := f"{own}\n{_place(folder)}"):
        write_text(file, record)
    return own


def _place(folder: Path) -> str:
    """Return what tells a folder from its copies: its number in the file system, and its path."""
    return f"{folder.stat().st_ino}\n{folder.resolve()}\n"


def _is_here(place: str, folder: Path) -> bool:
    """Tell whether `place` is that of `folder`, which may have been moved or mounted elsewhere."""
    earlier, now = place.splitlines(), _place(folder).splitlines()
    return not earlier or any(a == b for a, b in zip(earlier, now, strict=False))
