"""The entry point, `svae-train`: arguments -> checked configuration -> runs -> exit code.

Nothing heavy is imported here: help, completion and refusals answer at once.
"""

import contextlib
import logging
import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import TextIO

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from svae import compose, signals
from svae.compose import Refused
from svae.failures import advise, explain
from svae.record import CONF
from svae.run import FAILED, INTERRUPTED, RunFolder, read_status
from svae.signals import Interrupted

log = logging.getLogger("svae")


class Failed(Exception):
    """A run that had begun has failed; its folder says why."""


def main() -> None:
    """Run the command line and exit.

    The code is 0, 1 (a run failed), 2 (refused), 129 (the terminal was closed), 130 (Ctrl-C) or 143
    (SIGTERM).
    """
    # makes Hydra raise its errors, which are told in one sentence below
    os.environ["HYDRA_FULL_ERROR"] = "1"
    signals.install()
    try:
        parser = get_args_parser()
        parser.prog = "svae-train"
        code = _dispatch(parser.parse_intermixed_args())
    except Refused as refusal:
        code = _say(str(refusal), 2)
    except Failed as failure:
        code = _say(str(failure), 1)
    except Interrupted as interrupted:
        code = _say(interrupted.text, interrupted.code)
    except BrokenPipeError:  # the reader of a help text, such as `head`, has gone
        code = 0
    except compose.HYDRA_ERRORS as error:
        code = _say(compose.sentence(error), 2)
    _let_go(sys.stdout)
    _let_go(sys.stderr)
    sys.exit(code)


def _let_go(stream: TextIO) -> None:
    """Flush a stream; the flush at exit must not complain of a reader that has gone."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # of a terminal that was closed
        print(f"svae-train: {text}", file=sys.stderr)
    return code


def _dispatch(args: Namespace) -> int:
    if args.experimental_rerun is not None:
        raise Refused("--experimental-rerun: not supported, it unpickles a file; use resume=FOLDER")
    if args.config_path is not None:
        raise Refused("--config-path: not supported, add a folder of your own with --config-dir")
    if compose.is_question(args):
        _hydra(sys.argv[1:], _unreachable)
        return 0
    plan = compose.plan(args)
    if plan.is_sweep:
        return _sweep(args, plan)
    _hydra([*plan.arguments, "hydra.run.dir=."], lambda config: _single(config, plan))
    return 0


def _unreachable(config: DictConfig) -> None:
    raise AssertionError("a question to Hydra runs no job")


def _hydra(arguments: list[str], job) -> None:
    """Hand `arguments` to Hydra, which composes each configuration and calls `job` with it.

    An error of the job passes by Hydra, which would print a message of its own.
    """
    errors = []

    def guarded(config: DictConfig):
        try:
            return job(config)
        except Exception as error:
            errors.append(error)

    sys.argv[1:] = arguments
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(guarded)()
    if errors:
        raise errors[0]


def _single(config: DictConfig, plan: compose.Plan) -> float | None:
    from svae import experiment

    try:
        prepared = experiment.prepare(config)
        folder = RunFolder.reopen(plan.folder) if plan.reopens else _claim(config, plan.folder)
    except ValueError as error:
        raise Refused(compose.one_line(error)) from error
    except OSError as error:
        raise Refused(f"{plan.folder}: cannot be written ({error.strerror})") from error
    with folder:
        if plan.evaluates:
            return _evaluate_again(prepared, folder)
        return _guarded(
            folder, lambda: experiment.run(prepared, folder, None, plan.reopens), plan.flags
        )


def _claim(config: DictConfig, wanted: Path) -> RunFolder:
    # unresolved: what was typed, without the secrets that it may point to
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return RunFolder.claim(wanted, config, overrides)


def _evaluate_again(prepared, folder: RunFolder) -> None:
    from svae import experiment

    try:
        experiment.evaluate_again(prepared, folder)
    except ValueError as error:
        raise Refused(compose.one_line(error)) from error
    except Exception as error:
        log.exception("the evaluation failed")
        raise Failed(explain(error)) from error


def _guarded(folder: RunFolder, work, flags: tuple[str, ...] = ()) -> float:
    """Do `work`; whatever ends it early is written down in the run folder first."""
    from svae.checkpoint import Unusable

    command = ["svae-train", *flags, compose.quoted("resume", folder.path)]
    resume = shlex.join(command)
    try:
        return work()
    except Unusable as error:
        raise Refused(compose.one_line(error)) from error
    except Interrupted as interrupted:
        with contextlib.suppress(OSError):
            folder.status(INTERRUPTED)
        text = f"{interrupted.text}; continue with: {resume}"
        raise Interrupted(interrupted.code, text) from None
    except Exception as error:
        text = explain(error)
        log.exception("the run failed")
        with contextlib.suppress(OSError):  # of a vanished folder: it is told below
            folder.status(FAILED, error=text)
        log_file = folder.path / "svae-train.log"
        raise Failed(f"{text} (traceback in {log_file}); {advise(error, resume)}") from error


def _sweep(args: Namespace, plan: compose.Plan) -> int:
    arguments = [*plan.arguments, compose.quoted("hydra.sweep.dir", plan.folder)]
    folders = []
    _hydra(arguments, lambda config: _sweep_job(config, folders))
    statuses = [(path, read_status(path)) for path in folders]
    failed = [(path, status) for path, status in statuses if status["state"] == FAILED]
    for path, status in failed:
        _say(f"{path} failed: {status['error']}", 1)
    return 1 if failed else 0


def _sweep_job(config: DictConfig, folders: list[Path]) -> float:
    """Run one job of a sweep; it never raises, since that would end the whole sweep."""
    from svae import experiment

    wanted = Path(HydraConfig.get().runtime.output_dir)
    group = wanted.parent.name
    with _claim(config, wanted) as folder:
        folders.append(folder.path)
        try:
            return _guarded(
                folder,
                lambda: experiment.run(experiment.prepare(config), folder, group, resumed=False),
            )
        except Failed as failure:
            _say(str(failure), 1)
            return float("nan")
