"""The run folder: who owns it, what was asked, how far it got."""

import itertools
import json
import logging
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from svae.files import write_json, write_text

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
_OWN = ("svae.data.", "svae.models.", "torch.optim.")
STATES = (RUNNING, FINISHED, FAILED, INTERRUPTED)


class RunFolder:
    """A run's folder, locked by this process for as long as the object is open.

    Make one with `claim` (a new run) or `reopen` (resume or evaluate again); close it, or use it
    in a `with` statement.
    """

    def __init__(self, path: Path, lock: FileLock):
        self.path = path
        self._lock = lock
        self._epoch = 0
        self._handler = _log_to(path / "svae-train.log")

    @classmethod
    def claim(cls, wanted: Path, config: DictConfig, overrides: list[str]) -> "RunFolder":
        """Take `wanted`, or the first free of `wanted-1`, `wanted-2`, ...; record what was asked.

        A folder is free when it does not exist or holds no run yet. The claim is one atomic
        `mkdir`, so that two runs that start at once never share a folder.
        """
        path = _first_free(wanted)
        run = cls(path, _locked(path))
        write_text(path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(overrides))
        write_text(path / "config.yaml", OmegaConf.to_yaml(config))
        run.status(RUNNING)
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """Take the folder of an earlier run.

        Raises:
            ValueError: when it holds no run, or another process is working in it.
        """
        epoch = read_status(path)["epoch"]
        run = cls(path, _locked(path))
        run._epoch = epoch
        return run

    @property
    def checkpoints(self) -> Path:
        folder = self.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder

    def status(self, state: str, epoch: int | None = None, error: str | None = None) -> None:
        """Write status.json; without `epoch` it stays what it was."""
        self._epoch = self._epoch if epoch is None else epoch
        content = {"state": state, "epoch": self._epoch, "error": error}
        write_json(self.path / "status.json", content)

    def results(self, results: dict) -> None:
        """Write results.json."""
        write_json(self.path / "results.json", results)

    def close(self) -> None:
        logging.getLogger("svae").removeHandler(self._handler)
        self._handler.close()
        self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_status(path: Path) -> dict:
    """Return status.json of a run folder; `running` without a process is read as interrupted.

    Raises:
        ValueError: when the folder holds no run.
    """
    try:
        status = json.loads((path / "status.json").read_text())
    except (OSError, ValueError):
        raise ValueError(f"{path}: expected a run folder, found no readable status.json") from None
    if not isinstance(status, dict) or not {"state", "epoch"} <= status.keys():
        raise ValueError(f"{path / 'status.json'}: expected a state and an epoch, got {status}")
    if status["state"] == RUNNING and not _is_held(path):
        status["state"] = INTERRUPTED
    return status


def saved_overrides(path: Path) -> list[str]:
    """Return what was typed when the run in `path` began.

    Raises:
        ValueError: when the folder holds no run.
    """
    file = path / ".hydra" / "overrides.yaml"
    if not file.is_file():
        raise ValueError(f"{path}: expected a run folder, found no .hydra/overrides.yaml in it")
    overrides = OmegaConf.to_container(OmegaConf.load(file))
    if not isinstance(overrides, list) or not all(isinstance(line, str) for line in overrides):
        raise ValueError(f"{file}: expected a list of overrides")
    return overrides


def saved_config(path: Path) -> DictConfig:
    """Return the composed configuration of the run in `path`.

    Raises:
        ValueError: when the folder holds no run.
    """
    file = path / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{path}: expected a run folder, found no config.yaml in it")
    config = OmegaConf.load(file)
    if not isinstance(config, DictConfig):
        raise ValueError(f"{file}: expected a configuration")
    _refuse_foreign_targets(OmegaConf.to_container(config, resolve=False), file)
    return config


def _refuse_foreign_targets(node, file: Path) -> None:
    """Refuse a record that could run code of others, such as `_target_: os.system`."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in children:
        if key == "_target_" and not str(value).startswith(_OWN):
            raise ValueError(f"{file}: _target_ {value} is not allowed in a run folder")
        if isinstance(value, dict | list):
            _refuse_foreign_targets(value, file)


def public(config: DictConfig) -> dict:
    """Return the configuration with every value resolved but those that reach the environment.

    Where `${oc.env:NAME}` stands, `oc.env.NAME` comes back: no secret leaves the process.
    """
    OmegaConf.register_new_resolver("oc.env", lambda name, *_: f"oc.env.{name}", replace=True)
    try:
        return OmegaConf.to_container(config, resolve=True)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _first_free(wanted: Path) -> Path:
    for number in itertools.count():
        path = wanted if number == 0 else wanted.with_name(f"{wanted.name}-{number}")
        path.mkdir(parents=True, exist_ok=True)
        try:
            (path / ".hydra").mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError


def _locked(path: Path) -> FileLock:
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{path}: another process is working in this run folder") from None
    return lock


def _is_held(path: Path) -> bool:
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _log_to(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("svae")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return handler
