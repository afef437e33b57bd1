"""A run on Weights & Biases: whatever goes wrong there, the training goes on."""

import logging
import netrc
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

from omegaconf import DictConfig, OmegaConf

from svae.configuration.compose import public
from svae.recording.files import read_own, write_text
from svae.recording.naming import run_name

log = logging.getLogger("svae")

_PATIENCE = 30.0  # seconds that the end of a run waits for W&B
_MODES = ("online", "offline", "disabled")


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
        mode = _mode(settings["mode"], report)
        if mode == "disabled":
            return
        shown = public(config)
        arguments = {
            **{name: settings[name] for name in ("project", "entity", "tags")},
            "name": settings["name"] or run_name(shown),
            "mode": mode,
            "group": group,
            "job_type": "train",
            "config": shown,
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

        arguments["id"] = _run_id(folder)
        arguments["settings"] = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=20,
            reinit="create_new",
            # a server that dies in mid-run keeps nobody waiting; what it lacks lies in the folder
            finish_timeout=_PATIENCE,
            finish_timeout_raises=True,
        )
        earlier = list((folder / "wandb").glob(f"offline-run-*-{arguments['id']}"))
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
        self._replay(history, earlier)

    def _replay(self, history: list[dict], earlier: list[Path]) -> None:
        """Send the epochs that W&B does not know, and remove the files that hold no others."""
        known = self._run.summary.get("epoch", 0) if self._run.resumed else 0
        for row in history:
            if row["epoch"] > known:
                self._run.log(row, step=row["epoch"])
        for path in earlier if self._run.offline else ():
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


def _mode(asked: str, report: Callable[[str], None]) -> str:
    """Return online, offline or disabled; `auto` asks the environment and never a person."""
    if asked != "auto":
        return asked
    mode = os.environ.get("WANDB_MODE")
    if mode in _MODES:
        return mode
    if mode:
        report(f"WANDB_MODE={mode}: expected {', '.join(_MODES)}; the run is logged offline")
        return "offline"
    return "online" if _has_key() else "offline"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    file = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))
    try:
        known = netrc.netrc(file)
        return any(known.authenticators(host) is not None for host in _hosts())
    except (ImportError, OSError, ValueError, netrc.NetrcParseError):
        return False


def _hosts() -> set[str | None]:
    """Return where W&B may keep a key: for the server that is chosen, else for its own ones."""
    import wandb

    servers = [os.environ.get("WANDB_BASE_URL")]
    if not servers[0]:  # the address has changed, and keys of before stand under the old one
        servers = ["https://api.wandb.ai", wandb.Settings().base_url]
    return {urlparse(server).hostname for server in servers}


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
