"""A run on Weights & Biases: whatever goes wrong there, the training goes on."""

import logging
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from svae.configuration.compose import public
from svae.recording import environment
from svae.recording.files import read_own, write_text
from svae.recording.naming import run_name

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
        self._run, self._report = None, report
        settings = OmegaConf.to_container(config.logger, resolve=True)
        mode = environment.mode(settings["mode"])
        if mode == "disabled":
            return
        arguments = {
            **{name: settings[name] for name in ("project", "entity", "name", "tags")},
            "mode": mode,
            "group": group,
            "config": public(config),
            "dir": str(folder),
            "resume": "allow",
        }
        self._guard(self._open, arguments, folder, history)

    def log(self, row: dict[str, float]) -> None:
        """Send the metrics of one epoch; `row` has `epoch`, which is the step."""
        self._guard(lambda: self._run.log(row, step=row["epoch"]))

    def finish(self, results: dict | None, images: Iterable[Path]) -> None:
        """Send the final numbers and pictures and close the run; safe to call at any time.

        Without results, None, the run counts as failed.
        """
        self._guard(self._summarise, results or {}, list(images))
        self._guard(lambda: self._run.finish(exit_code=int(results is None)))
        self._run = None

    def _open(self, arguments: dict, folder: Path, history: list[dict]) -> None:
        import wandb

        arguments = _completed(arguments, wandb.setup().settings, folder)
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
        self._replay(history, folder / "wandb")

    def _replay(self, history: list[dict], folder: Path) -> None:
        """Send the epochs that W&B does not know, and remove the files that hold no others."""
        known = self._run.summary.get("epoch", 0) if self._run.resumed else 0
        for row in history:
            if row["epoch"] > known:
                self._run.log(row, step=row["epoch"])
        files = folder.glob(f"offline-run-*-{self._run.id}") if self._run.offline else ()
        for path in files:
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
            self._report(f"logging to W&B stopped ({type(error).__name__}: {_short(error)})")
            self._run = None
            if isinstance(error, ConnectionError):  # its service would complain at exit
                import wandb

                with suppress(Exception):
                    wandb.teardown()


def _completed(arguments: dict, known: Any, folder: Path) -> dict:
    """Return the arguments with what nobody typed: what W&B has `known` before, else our own.

    That comes from the environment or from W&B's own files. A run of an agent is the one that the
    agent has begun: W&B takes its project and its id, whatever is typed.
    """
    group = (arguments["group"] or "")[-_LONGEST:] or None
    name = arguments["name"] or known.run_name or run_name(arguments["config"])[:_LONGEST]
    completed = arguments | {
        "name": name,
        "group": known.run_group or group,
        "job_type": known.run_job_type or "train",
    }
    if known.sweep_id:
        return completed | {"project": None, "entity": None}
    project = arguments["project"] or known.project or "svae"
    return completed | {"project": project, "id": _run_id(folder, known.run_id)}


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _run_id(folder: Path, given: str | None) -> str:
    """Return the W&B id of the run in `folder`: the one `given`, or made when first asked for."""
    file = folder / "wandb" / "run-id"
    known = ""
    with suppress(OSError, UnicodeError):
        known = read_own(file.parent, file.name).decode()
    if environment.RUN_ID.fullmatch(known):
        return known
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, new := given or secrets.token_hex(4))
    return new
