"""The entry point, `svae-train`: arguments -> checked configuration -> runs -> exit code.

Nothing heavy is imported here: help, completion and refusals answer at once.
"""

import contextlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from svae.cli import job, plan, sweeps
from svae.cli.job import Failed
from svae.cli.plan import Plan
from svae.configuration import CONF, compose, trusted
from svae.configuration.messages import HYDRA_ERRORS, Refused, one_line, sentence
from svae.recording import signals
from svae.recording.signals import Interrupted


def main() -> None:
    """Run the command line and exit.

    The code is 0, 1 (a run failed), 2 (refused), 129 (the terminal was closed), 130 (Ctrl-C) or 143
    (SIGTERM).
    """
    # makes Hydra raise its errors, which become one sentence each below
    os.environ["HYDRA_FULL_ERROR"] = "1"
    signals.install()
    try:
        code = _dispatch(_parser().parse_intermixed_args())
    except Refused as refusal:
        code = _say(str(refusal), 2)
    except Failed as failure:
        code = _say(str(failure), 1)
    except Interrupted as interrupted:
        code = _say(interrupted.text, interrupted.code)
    except BrokenPipeError:  # the reader of a help text, such as `head`, has gone
        code = 0
    except HYDRA_ERRORS as error:
        code = _say(sentence(error), 2)
    _flush(sys.stdout)
    _flush(sys.stderr)
    sys.exit(code)


def _parser() -> ArgumentParser:
    """Return Hydra's parser of flags, with a version of our own."""
    theirs = {"parents": [get_args_parser()], "add_help": False, "conflict_handler": "resolve"}
    parser = ArgumentParser("svae-train", **theirs)
    parser.error = _refuse
    parser.add_argument("--version", action="store_true")
    return parser


def _flush(stream: TextIO) -> None:
    """Flush a stream; the flush at exit must not complain of a reader that has gone."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse(text: str) -> NoReturn:
    raise Refused(text)


def _say(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # of a terminal that was closed
        print(f"svae-train: {text}", file=sys.stderr)
    return code


def _dispatch(args: Namespace) -> int:
    if args.version:
        print(f"svae {_version()}")
        return 0
    if args.experimental_rerun is not None:
        raise Refused("--experimental-rerun: not supported, it unpickles a file; use resume=FOLDER")
    if args.config_path is not None:
        raise Refused("--config-path: not supported, add a folder of your own with --config-dir")
    if args.help:
        print(compose.help_text(args))
        return 0
    if plan.is_question(args):
        return _answer()
    if args.config_dir is not None and not Path(args.config_dir).is_dir():
        raise Refused(f"--config-dir {args.config_dir}: expected a folder")
    with trusted.vouching([args.config_dir] if args.config_dir else []):
        return _work(args)


def _work(args: Namespace) -> int:
    if folders := plan.to_report(args):
        return _report(folders)
    planned = plan.plan(args)
    if planned.is_sweep:
        return _sweep(args, planned)
    _single(planned)
    return 0


def _report(folders: list[Path]) -> int:
    from svae.report import summary

    try:
        summary.make(folders)
    except (ValueError, OSError) as error:
        raise Refused(f"report: {one_line(error)}") from error
    return 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("svae")
    except PackageNotFoundError:
        return "(an uninstalled checkout)"


def _answer() -> int:
    """Let Hydra answer a question: the configuration, completion, its own help."""
    try:
        _hydra(sys.argv[1:], _unreachable)
    except ValueError as error:
        if isinstance(error, HYDRA_ERRORS):
            raise
        raise Refused(one_line(error)) from error
    return 0


def _unreachable(config: DictConfig) -> None:
    raise AssertionError("a question to Hydra runs no job")


def _hydra(arguments: list[str], task: Callable) -> None:
    """Hand `arguments` to Hydra, which composes each configuration and calls `task` with it."""
    sys.argv[1:] = arguments
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()


def _single(plan: Plan) -> None:
    if plan.reopens:
        job.single(plan.config, plan)
        return
    errors = []

    def task(config: DictConfig) -> float | None:
        try:
            return job.composed(config, plan)
        except Exception as error:
            errors.append(error)  # passes by Hydra, which would print a message of its own

    _hydra([*plan.arguments, "hydra.run.dir=."], task)
    if errors:
        raise errors[0]


def _sweep(args: Namespace, planned: Plan) -> int:
    """Run the jobs, show what becomes of them, write the report; return the exit code."""
    from svae.cli import watch

    arguments = [*planned.arguments, compose.quoted("hydra.sweep.dir", planned.folder)]
    again = plan.command(args, planned.folder)
    trouble = None
    sweeps.register_sweeper()
    try:
        with watch.watching(planned):
            _hydra(arguments, job.of_sweep)
    except Interrupted as interrupted:
        text = f"{interrupted.text}; continue with: {again}"
        raise Interrupted(interrupted.code, text) from None
    except HYDRA_ERRORS as error:
        trouble = sentence(error)
    except Exception as error:  # of the launcher or the sweeper, such as a worker that was killed
        trouble = f"the sweep stopped: {type(error).__name__}: {one_line(error)}"
    return watch.close(planned, trouble, again)
