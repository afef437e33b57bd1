"""Which folder a job of a sweep works in, and what becomes of what it holds.

| the folder of the job holds | the job |
|---|---|
| no run | runs |
| an interrupted run | continues it, to the same bits |
| a failed run | begins again; the log is kept |
| a finished run | does nothing and returns the value of then |
| a run that another process works on | does nothing |
| a run of another configuration | is refused, unless a search chose it |

A search numbers its trials anew each time it is started: they take the next free folder. So the
same command again goes on with a sweep, and several machines may work on one at once.
"""

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from svae.configuration.compare import difference, retyped
from svae.configuration.schema import flatten, may_change
from svae.recording.folder import FINISHED, INTERRUPTED, RUNNING, RunFolder, read_status
from svae.recording.saved import reopened, saved_overrides, saved_values


class Claim(NamedTuple):
    """The folder of a job, None where nothing is to be done; in which state it was, and with which
    configuration the job works: that of then, where it was begun before."""

    folder: RunFolder | None
    state: str | None
    config: DictConfig


def claim(path: Path, config: DictConfig, overrides: list[str], searches: bool) -> Claim:
    """Take the folder of a job, as far as there is something to do in it.

    Raises:
        ValueError: when it holds a run of another configuration, or another process was faster.
        OSError: when it cannot be written.
    """
    if path.is_symlink():
        raise ValueError(f"{path}: is a link, expected the folder of a job")
    state = state_of(path)
    if state is not None and (found := mismatch(path, config, overrides)):
        if searches:
            return Claim(RunFolder.claim(path, config, overrides), None, config)
        raise ValueError(found)
    if state in (FINISHED, RUNNING):
        return Claim(None, state, config)
    if state is not None:
        config = _as_begun(path, config)
    if state == INTERRUPTED:
        return Claim(RunFolder.reopen(path), state, config)
    return Claim(RunFolder.renew(path, config, overrides), state, config)


def _as_begun(path: Path, config: DictConfig) -> DictConfig:
    """Return the configuration of the run in `path`, with the machine and the logger of now."""
    now = flatten(OmegaConf.to_container(config, resolve=False))
    return reopened(path, {key: now[key] for key in may_change("sweep") if key in now})


def state_of(path: Path) -> str | None:
    """Return the state of the run in `path`, None where none was begun."""
    if not (path / "status.json").is_file():
        return None
    return read_status(path).state


def mismatch(path: Path, config: DictConfig, overrides: list[str]) -> str | None:
    """Return in what a job differs from the run in `path`, one sentence, or None.

    What was not typed, then or now, does not count: a default may have changed, and the run goes on
    with that of then.
    """
    typed = retyped(saved_overrides(path), overrides)
    wanted = OmegaConf.to_container(config, resolve=False)
    found = typed and difference(saved_values(path), wanted, may_change("sweep"), typed)
    if not found:
        return None
    return f"{path}: {found}; expected another hydra.sweep.dir, or the same command"
