"""One configuration to one run, whatever becomes of it written down in its folder.

A launcher may call `of_sweep` in another process or on another machine: all it knows comes from the
configuration and from the folders.
"""

import contextlib
import ctypes
import logging
import math
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from svae.cli import grid
from svae.cli.plan import Single
from svae.configuration import CONF, compose, trusted
from svae.configuration.messages import Refused, no_device, one_line
from svae.recording import signals, terminal
from svae.recording.claim import claim
from svae.recording.failures import advise, explain, is_out_of_time, written_down
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from svae.recording.signals import Interrupted
from svae.run import Run

log = logging.getLogger("svae")


class Failed(Exception):
    """A run that had begun has failed; its folder says why."""


def single(plan: Single) -> None:
    """Do what `plan` says with one run folder.

    Raises:
        Refused: when data, device or folder are not to be had; nothing was written.
        Failed, Interrupted: when the run ended early; its status says so.
    """
    # what a run folder names is trusted by no word that is typed with it
    folders, typed = (_own_folders(), plan.overrides) if plan.verb == "start" else ([], [])
    with trusted.vouching(folders, typed):
        _single(plan)


def _single(plan: Single) -> None:
    if plan.config.device.startswith("cuda") and _lacks_gpu():
        raise Refused(no_device(plan.config.device, 0))
    work = _kind(plan.config)
    if plan.verb == "evaluate" and plan.config.study is not None:
        raise Refused(f"evaluate={plan.folder}: holds a study, expected the folder of a training")
    try:
        prepared = work.prepare(plan.config)
        if plan.verb == "start":
            record = compose.portable(plan.config, plan.overrides)
            folder = RunFolder.claim(plan.folder, *record)
        else:
            folder = RunFolder.reopen(plan.folder)
    except ValueError as error:
        raise Refused(one_line(error)) from error
    except OSError as error:
        raise Refused(f"{plan.folder}: cannot be written ({error.strerror})") from error
    with folder:
        if plan.verb == "evaluate":
            return _evaluated(lambda: work.evaluate_again(prepared, folder))
        resumed = plan.verb == "resume"
        resume = _command(folder.path, plan.flags, plan.overrides if resumed else [])
        try:
            _guarded(folder, lambda: work.run(prepared, folder, None, resumed), resume)
        except Interrupted as interrupted:
            interrupted.text += f"; continue with: {resume}"
            raise


def _lacks_gpu() -> bool:
    """Tell without torch, which takes seconds to import, that it surely finds no GPU.

    It is built for none, or for NVIDIA's, whose driver is not there.
    """
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    text = Path(found.origin).with_name("version.py").read_text()
    built = re.findall(r"^(cuda|hip|rocm)\b.*= *['\"]", text, re.MULTILINE)
    if built != ["cuda"] or sys.platform != "linux":
        return not built
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def _evaluated(work: Callable[[], None]) -> None:
    try:
        work()
    except ValueError as error:
        raise Refused(one_line(error)) from error
    except Exception as error:
        log.exception("the evaluation failed")
        raise Failed(explain(error)) from error


def of_sweep(config: DictConfig) -> float:
    """Run, continue, repeat or skip one job of a sweep; return the best value of its objective.

    The job number's folder says which, see `claim`. A job does not raise, since that would end
    the whole sweep, but in a search, which has to know. A request to stop the program goes through;
    a worker process that is stopped leaves its run interrupted and the sweep goes on.
    """
    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices["hydra/launcher"]
    in_worker = launcher != "basic"
    searches = hydra.runtime.choices["hydra/sweeper"] not in grid.NAMES
    vouched = trusted.vouching(_own_folders(), hydra.overrides.task)
    if in_worker:
        terminal.prepare()
    try:
        # a worker of a cluster may have been started elsewhere
        with contextlib.chdir(hydra.runtime.cwd), vouched:
            # to preempt a job Slurm asks it to stop, and then submitit to queue it again
            if in_worker and launcher != "submitit_slurm":
                signals.install()
            if not in_worker:  # a request may have come between two jobs
                signals.check()
            return _job(config, Path(hydra.runtime.output_dir), hydra.job.num, searches)
    except Interrupted:
        if in_worker:
            return math.nan
        raise
    except (Failed, ValueError, OSError) as error:
        if not isinstance(error, Failed):  # there was no folder to write it into
            log.error("%s", terminal.visible(str(error)))
        if searches:  # a search asks for the value, to go on from it
            raise Failed(str(error)) from None
        return math.nan


def _job(config: DictConfig, path: Path, number: int, searches: bool) -> float:
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    folder, state, config = claim(path, *compose.portable(config, typed), searches)
    if state in (FINISHED, RUNNING):
        return Run(path).best(config.objective) if state == FINISHED else math.nan

    def work() -> float:
        kind = _kind(config)
        group = "-".join(folder.path.parts[-3:-1])
        return kind.run(kind.prepare(config, turn=number), folder, group, state == INTERRUPTED)

    from svae.recording.checkpoint import OtherData

    flags = [word for own in _own_folders() for word in ("--config-dir", own)]
    with folder:
        try:
            return _guarded(folder, work, _command(folder.path, flags))
        except Refused as refusal:
            # with a bad checkpoint it begins again next time, with a good one it waits for its data
            is_good = isinstance(refusal.__cause__, OtherData)
            folder.status(INTERRUPTED if is_good else FAILED, error=str(refusal))
            raise Failed(str(refusal)) from refusal


def _own_folders() -> list[str]:
    """Return the folders, but for the package's, that a person had this job composed from."""
    sources = HydraConfig.get().runtime.config_sources
    return [s.path for s in sources if s.schema == "file" and Path(s.path) != CONF]


def _kind(config: DictConfig):
    """Return the module that prepares and runs what is configured: a training or a study."""
    from svae import experiment
    from svae.studies import study

    return experiment if config.study is None else study


def _command(path: Path, flags: Iterable[str], changes: Iterable[str] = ()) -> str:
    """Return what a person types to continue the run in `path`."""
    return shlex.join(["svae-train", *flags, compose.quoted("resume", path), *changes])


def _guarded(folder: RunFolder, work: Callable[[], float], resume: str) -> float:
    """Do `work`; whatever ends it early is written down in the run folder first.

    `resume` is the command that continues it.
    """
    from svae.recording.checkpoint import Unusable

    try:
        with written_down(folder):
            return work()
    except Unusable as error:
        raise Refused(one_line(error)) from error
    except Exception as error:
        if is_out_of_time(error):
            raise
        text, log_file = explain(error), folder.path / "svae-train.log"
        raise Failed(f"{text} (traceback in {log_file}); {advise(error, resume)}") from error
