"""The run folder: who owns it, what it records, how far the run got."""

import errno
import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from svae.recording.files import is_temporary, json_text, read_own, remove_temporaries, write_text
from svae.recording.saved import FORMAT

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
_OF_A_TRY = (
    "status.json",
    "metrics.csv",
    "results.json",
    "checkpoints",
    "latents.npz",
    "plots",
    "wandb",
)
_LOCK, _LOG = ".lock", "svae-train.log"


class Status(NamedTuple):
    """How far a run has come: its state, the last epoch, and why it failed."""

    state: str
    epoch: int
    error: str | None


class RunFolder:
    """A run's folder, locked by this process for as long as the object is open.

    Make one with `claim` (a new run) or `reopen` (resume or evaluate again); close it, or use it
    in a `with` statement.
    """

    def __init__(self, path: Path, lock: FileLock):
        self.path, self._lock, self._epoch = path, lock, 0
        self._handler = _log_to(path / _LOG)
        remove_temporaries(path)  # what a killed process has left

    @classmethod
    def claim(cls, wanted: Path, config: DictConfig, overrides: list[str]) -> "RunFolder":
        """Take `wanted`, or the first free of `wanted-1`, `wanted-2`, ...; record what it is for.

        The claim is the lock, so that two runs that start at once never share a folder; what a
        process leaves that dies while it claims, the next one takes over.

        Raises:
            ValueError: when `wanted` has files that are not a run's.
            OSError: when it cannot be written or locked.
        """
        run = cls(*_first_free(wanted))
        run._record(config, overrides)
        return run

    @classmethod
    def renew(cls, path: Path, config: DictConfig, overrides: list[str]) -> "RunFolder":
        """Take `path` for a run that begins (again); an earlier try leaves nothing but its log.

        Raises:
            ValueError: when another process is working in it, or it has files that are no run's.
            OSError: when it cannot be written or locked.
        """
        with _made(path):
            _refuse_links(path)
            holds_run(path)
            lock = _locked(path)
        run = cls(path, lock)
        for name in _OF_A_TRY:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            else:
                (path / name).unlink(missing_ok=True)
        run._record(config, overrides)
        return run

    def _record(self, config: DictConfig, overrides: list[str]) -> None:
        """Write the record; with its status, which comes last, the folder holds a run."""
        (self.path / ".hydra").mkdir(exist_ok=True)
        write_text(self.path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(overrides))
        write_text(self.path / "config.yaml", f"format: {FORMAT}\n{OmegaConf.to_yaml(config)}")
        self.status(RUNNING)

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """Take the folder of an earlier run.

        Raises:
            ValueError: when it holds no run, or another process is working in it.
            OSError: when it cannot be written or locked.
        """
        _refuse_links(path)
        epoch = written_status(path).epoch
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
        text = json_text(Status(state, self._epoch, error)._asdict())
        try:
            write_text(self.path / "status.json", text)
        except OSError:
            # a full disk must not keep it from saying so: to overwrite needs no free block
            with (self.path / "status.json").open("r+") as stream:
                stream.write(text)
                stream.truncate()

    def results(self, results: dict) -> None:
        """Write results.json."""
        write_text(self.path / "results.json", json_text(results))

    def close(self) -> None:
        logging.getLogger("svae").removeHandler(self._handler)
        with suppress(OSError):  # of a full disk, which somebody has told by now
            self._handler.close()
        self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_status(path: Path) -> Status:
    """Return the status of a run; `running` without a process is read as interrupted.

    Raises:
        ValueError: when the folder holds no run.
    """
    status = written_status(path)
    is_dead = status.state == RUNNING and not _is_held(path)
    return status._replace(state=INTERRUPTED) if is_dead else status


def written_status(path: Path) -> Status:
    """Return status.json of a run folder; a damaged one counts as that of a run without an epoch.

    Such a run can be continued all the same: the truth is its checkpoint.

    Raises:
        ValueError: when the folder holds no run.
    """
    try:
        content = read_own(path, "status.json")
    except OSError:
        raise ValueError(f"{path}: expected a run folder, found no readable status.json") from None
    try:
        found = json.loads(content)
        status = Status(found["state"], found["epoch"], found.get("error"))
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
        status = None
    return status if status and _is_sound(status) else Status(RUNNING, 0, None)


def _is_sound(status: Status) -> bool:
    is_epoch = isinstance(status.epoch, int) and 0 <= status.epoch < 2**31
    is_error = isinstance(status.error, str | None)
    return status.state in (RUNNING, FINISHED, FAILED, INTERRUPTED) and is_epoch and is_error


def _first_free(wanted: Path) -> tuple[Path, FileLock]:
    for number in itertools.count():
        path = wanted if number == 0 else wanted.with_name(f"{wanted.name}-{number}")
        with _made(path) as is_new:
            if holds_run(path):
                continue
            if lock := _try_lock(path):
                if not holds_run(path):
                    return path, lock
                lock.release()
            elif is_new:  # another process may have been faster
                _check_locks(path)
    raise AssertionError


@contextmanager
def _made(path: Path) -> Iterator[bool]:
    """Make a folder and yield whether it is new, one in which no lock can be had is not left."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield bool(missing)
    except OSError:
        with suppress(OSError):
            for folder in missing:
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()
        raise


def holds_run(path: Path) -> bool:
    """Tell whether a run was begun in `path`.

    Raises:
        ValueError: when it is no folder, or holds somebody's files or links.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: is a file, expected a folder")
    names = {file.name for file in path.iterdir() if not is_temporary(file)} - {_LOCK, _LOG}
    if {".hydra", "config.yaml", "status.json"} <= names:
        return True
    # what a claim leaves that was cut short
    if names in (set(), {".hydra"}, {".hydra", "config.yaml"}):
        _refuse_links(path)
        return False
    raise ValueError(f"{path}: holds {min(names)} and no run, expected a new or an empty folder")


def _refuse_links(path: Path) -> None:
    """Refuse a folder whose parts lie elsewhere: what is written to them would leave the folder."""
    if (settings := path / "wandb" / "settings").exists():  # would choose where W&B sends its key
        raise ValueError(f"{settings}: is not allowed in a run folder")
    inside = [path / name for name in (".hydra", "checkpoints", "plots")]
    for folder in (path, *inside):
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.is_symlink():
                raise ValueError(f"{file}: links are not allowed in a run folder")


def _locked(path: Path) -> FileLock:
    if lock := _try_lock(path):
        return lock
    _check_locks(path)
    raise ValueError(f"{path}: another process is working in this run folder")


def _try_lock(path: Path) -> FileLock | None:
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _check_locks(path: Path) -> None:
    """Find out whether a lock that is taken means anything in the file system of a folder.

    Raises:
        OSError: when it is said of one that nobody else knows, too.
    """
    with tempfile.TemporaryDirectory(suffix=".tmp", prefix=f"{_LOCK}.", dir=path) as own:
        if lock := _try_lock(Path(own)):
            lock.release()
            return
    words = "its file system says that every lock is taken, expected one with file locks"
    raise OSError(errno.ENOLCK, words, str(path))


def _is_held(path: Path) -> bool:
    if (path / _LOCK).is_symlink():  # opening it would make a file elsewhere
        return False
    try:
        lock = _try_lock(path)
    except OSError:  # a folder that cannot be written
        return False
    if lock:
        lock.release()
    return lock is None


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the first file that has to be written reports a full disk."""


def _log_to(path: Path) -> logging.Handler:
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("svae")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return handler
