"""The entry point, `svae-train`: arguments -> plan -> runs -> exit code.

Nothing heavy is imported here: help, completion and refusals answer at once.
"""

import importlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

import hydra

# no public name: Hydra's flags, which compose, completion and its own help read from the result
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins

import svae
from svae.cli import job
from svae.cli.job import Failed
from svae.cli.plan import Encode, Report, Single, plan
from svae.cli.sweeps import Sweep
from svae.configuration import CONF, compose, trusted
from svae.configuration.messages import (
    HYDRA_ERRORS,
    Refused,
    one_line,
    refusing,
    sentence,
    unknown_flag,
)
from svae.recording import signals, terminal
from svae.recording.signals import Interrupted


def main() -> None:
    """Run the command line and exit.

    The code is 0, 1 (a run failed), 2 (refused), 129 (the terminal was closed), 130 (Ctrl-C) or 143
    (SIGTERM).
    """
    # makes Hydra raise its errors, which become one sentence each below
    os.environ["HYDRA_FULL_ERROR"] = "1"
    terminal.prepare()
    signals.install()
    code, text = 0, None
    try:
        code = _dispatch(_parser().parse_intermixed_args())
    except Refused as refusal:
        code, text = 2, str(refusal)
    except Failed as failure:
        code, text = 1, str(failure)
    except Interrupted as interrupted:
        code, text = interrupted.code, interrupted.text
    except BrokenPipeError:  # the reader of a help text, such as `head`, has gone
        pass
    except HYDRA_ERRORS as error:
        code, text = 2, sentence(error)
    if text is not None:
        terminal.say(text)
    _flush(sys.stdout)
    _flush(sys.stderr)
    sys.exit(code)


def _parser() -> ArgumentParser:
    """Return Hydra's parser of flags, with a version of our own."""
    theirs = {"parents": [get_args_parser()], "add_help": False, "conflict_handler": "resolve"}
    # --experiment is none of --experimental-rerun
    parser = ArgumentParser("svae-train", allow_abbrev=False, **theirs)
    parser.error = _refuse
    parser.add_argument("--version", action="store_true")
    return parser


def _refuse(text: str) -> NoReturn:
    raise Refused(unknown_flag(text))


def _flush(stream: TextIO) -> None:
    """Flush a stream; the flush at exit must not complain of a reader that has gone."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _dispatch(args: Namespace) -> int:
    if args.version:
        print(f"svae {svae.__version__}")
    elif args.experimental_rerun is not None:
        raise Refused("--experimental-rerun: not supported, it unpickles a file; use resume=FOLDER")
    elif args.config_path is not None:
        raise Refused("--config-path: not supported, add a folder of your own with --config-dir")
    elif args.help:
        print(compose.help_text(args))
    elif args.hydra_help or args.cfg or args.info or args.shell_completion:
        with refusing(ValueError):
            _hydra(sys.argv[1:], job.of_sweep)  # which is not called: a question runs nothing
    else:
        return _work(args)
    return 0


def _hydra(arguments: list[str], task: Callable) -> None:
    """Hand `arguments` to Hydra, which composes each configuration and calls `task` with it."""
    sys.argv[1:] = arguments
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()


def _work(args: Namespace) -> int:
    if args.config_dir is not None and not os.path.isdir(args.config_dir):
        raise Refused(f"--config-dir {args.config_dir}: expected a folder")
    with trusted.vouching([args.config_dir] if args.config_dir else []):
        match plan(args):
            case Sweep() as sweep:
                return _sweep(sweep)
            case Single() as single:
                job.single(single)
            case Report(folders):
                _report(folders)
            case Encode() as encoding:
                _encode(encoding)
        return 0


def _report(folders: list[Path]) -> None:
    from svae.report import summary

    with refusing(ValueError, OSError, about="report: "):
        summary.make(folders)


def _encode(plan: Encode) -> None:
    from svae.experiment import encoding

    with refusing(ValueError):
        encoding.encode(plan.folder, plan.file, plan.output, plan.device, plan.threads)


def _sweep(sweep: Sweep) -> int:
    """Run the jobs, show what becomes of them, write the report; return the exit code."""
    from svae.cli import watch

    trouble = None
    _register_sweeper()
    try:
        with watch.watching(sweep):
            try:
                _hydra(sweep.arguments, job.of_sweep)
            finally:
                signals.check()  # Python may have dropped it, or it broke what it came upon
    except Interrupted as interrupted:
        interrupted.text += f"; continue with: {sweep.again}"
        raise
    except HYDRA_ERRORS as error:
        trouble = sentence(error)
    except Exception as error:  # of the launcher or the sweeper, such as a worker that was killed
        trouble = f"the sweep stopped: {type(error).__name__}: {one_line(error)}"
    return watch.close(sweep, trouble)


def _register_sweeper() -> None:
    """Let Hydra know the sweeper that `conf/hydra/sweeper/grid.yaml` names."""
    folder = str(Path(__file__).with_name("plugins"))
    if folder not in sys.path:
        sys.path.append(folder)
    Plugins.instance().register(importlib.import_module("hydra_plugins.svae_sweeper").GridSweeper)
