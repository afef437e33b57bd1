"""From arguments to a plan: everything is composed and checked before anything is made."""

import contextlib
import itertools
import os
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from svae.cli.sweeps import Multirun
from svae.configuration import compose
from svae.configuration.compare import flatten, since
from svae.configuration.messages import HYDRA_ERRORS, Refused, no_such_key, one_line
from svae.configuration.schema import may_change
from svae.recording.folder import FINISHED
from svae.recording.saved import reopened, saved_values
from svae.run import Run, folders


@dataclass(frozen=True)
class Plan:
    """What the program is going to do: the arguments for Hydra and the folder to work in.

    `flags` and `changes` are what a command to continue needs again.
    """

    arguments: list[str]
    folder: Path
    is_sweep: bool = False
    paths: frozenset[Path] | None = None  # of the jobs of a sweep, where they are known beforehand
    runs: int | None = None  # of a sweep, where their number is known
    swept: frozenset[str] = frozenset()  # the keys in which the runs of a sweep differ
    searches: bool = False  # a sweep that chooses its runs as it goes
    config: DictConfig | None = None  # of a run that is opened again
    evaluates: bool = False
    flags: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # what was typed with resume=, which is not saved

    @property
    def reopens(self) -> bool:
        return self.config is not None


def is_question(args: Namespace) -> bool:
    """Tell whether Hydra only answers (the configuration, completion, ...) and runs nothing."""
    return bool(args.hydra_help or args.cfg or args.info or args.shell_completion)


def to_report(args: Namespace) -> list[Path]:
    """Return the folders that `report=` asks a report of, none where it is not typed.

    Raises:
        Refused: when it is no folder, or not alone.
    """
    typed = compose.values(args.overrides).get("report")
    if typed is None:
        return []
    names = typed if isinstance(typed, list) else [typed]
    if args.multirun or len(args.overrides) > 1:
        raise Refused(f"report={typed}: reads runs that were made, nothing else goes with it")
    if not names or not all(isinstance(name, str) and name for name in names):
        raise Refused(f"report={typed}: expected a folder of runs, or a list of such folders")
    return [Path(name).expanduser() for name in names]


def plan(args: Namespace) -> Plan:
    """Compose and check everything that `args` ask for.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """
    typed = compose.values(args.overrides)
    names = [name for name in ("resume", "evaluate") if typed.get(name) is not None]
    if len(names) == 2:
        raise Refused("resume and evaluate: give one of the two")
    if not names:
        return _start(args)
    (name,) = names
    if args.multirun:
        raise Refused(f"{name}={typed[name]}: takes one run folder, without --multirun")
    if not isinstance(typed[name], str) or not typed[name]:
        raise Refused(f"{name}={typed[name]}: expected a run folder")
    return _reopen(args, name, Path(typed[name]).expanduser(), may_change(name))


def _start(args: Namespace) -> Plan:
    flags = _flags(args)
    if not args.multirun:
        config = compose.checked(args, args.overrides)
        if lines := compose.unused(config, args.overrides):
            raise Refused(compose.why_unused(lines[0]))
        if config.hydra.mode is None or config.hydra.mode.name == "RUN":
            folder = _folder(config, "run")
            return Plan([*flags, *args.overrides], folder, flags=flags)
    multirun = Multirun(args)
    folder = _folder(multirun.base, "sweep")
    paths = multirun.paths(folder)
    try:
        if "hydra.sweep.dir" not in compose.values(args.overrides):
            folder = _unused(folder)
            paths = multirun.paths(folder)
        elif paths is not None:
            multirun.refuse_others(paths)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder}: cannot be written ({error.strerror})") from error
    arguments = [*flags, "--multirun", *args.overrides]
    known = {"folder": folder, "is_sweep": True, "flags": flags, "swept": multirun.keys}
    if paths is not None:
        return Plan(arguments, paths=frozenset(paths), runs=multirun.runs(), **known)
    return _search(multirun, arguments, known)


def _search(multirun: Multirun, arguments: list[str], known: dict) -> Plan:
    sweeper = multirun.base.hydra.sweeper
    count = sweeper.get("n_trials")
    runs = map(Run, folders(known["folder"]))
    done = sum(run.status.state == FINISHED for run in runs)
    if done and count and sweeper.get("storage"):
        # the study remembers its trials: it would make as many again, and draw the first ones alike
        arguments.append(f"hydra.sweeper.n_trials={max(0, count - done)}")
        if "seed" in sweeper.sampler:
            arguments.append("hydra.sweeper.sampler.seed=null")
    return Plan(arguments, runs=count, searches=True, **known)


def command(args: Namespace, folder: Path) -> str:
    """Return what a person types to go on with the sweep in `folder`."""
    typed = [line for line in args.overrides if compose.key_of(line) != "hydra.sweep.dir"]
    words = [*_flags(args), "--multirun", *typed, compose.quoted("hydra.sweep.dir", folder)]
    return shlex.join(["svae-train", *words])


def _folder(config: DictConfig, mode: str) -> Path:
    text = config.hydra[mode].dir
    if not isinstance(text, str) or not text:
        raise Refused(f"hydra.{mode}.dir={text}: expected a folder")
    return Path(os.path.abspath(Path(text).expanduser()))


def _reopen(args: Namespace, name: str, folder: Path, allowed: list[str]) -> Plan:
    """Plan to continue or to evaluate the run in `folder`, with a few keys changed."""
    lines = [line for line in args.overrides if compose.key_of(line) != name]
    for line in lines:
        if compose.key_of(line) not in allowed:
            words = ", ".join(allowed)
            raise Refused(f"{line}: cannot be changed with {name}=, expected one of {words}")
    try:
        before = saved_values(folder)
    except (ValueError, OSError) as error:
        raise Refused(f"{name}={_no_run(folder) or error}") from error
    changes = _changes(lines, before)
    try:
        config = reopened(folder, changes)
    except HYDRA_ERRORS:
        raise
    except ValueError as error:
        raise Refused(one_line(error)) from error
    _refuse_other_length(before, changes, f"{name}={folder}")
    compose.refuse_unread(before, lines)
    return Plan(
        [],
        folder.absolute(),
        config=config,
        evaluates=name == "evaluate",
        flags=_flags(args),
        changes=tuple(lines),
    )


def _changes(lines: list[str], before: dict) -> dict[str, Any]:
    """Return {key: value} of what is typed to alter the configuration `before`."""
    known = flatten(before) | since(before)
    changes = {}
    for override in OverridesParser.create().parse_overrides(lines):
        line, key = override.input_line, override.key_or_group
        if override.is_sweep_override():
            raise Refused(f"{line}: several values are a sweep, which needs --multirun (-m)")
        if override.is_add() or override.is_force_add() or override.is_delete():
            raise Refused(f"{line}: expected {key}=VALUE")
        if key not in known:
            raise Refused(no_such_key(key))
        changes[key] = override.value()
    return changes


def _refuse_other_length(before: dict, changes: dict[str, Any], place: str) -> None:
    """Refuse to move the end of a run whose learning rate falls towards it."""
    key = "trainer.max_epochs"
    flat = flatten(before)
    if flat.get("trainer.schedule") == "cosine" and changes.get(key, flat[key]) != flat[key]:
        raise Refused(
            f"{place}: {key} was {flat[key]} when the run began and is {changes[key]} now, as "
            "trainer.schedule=cosine ends there"
        )


def _no_run(folder: Path) -> str | None:
    """Return what `folder` is, one sentence, where it is plainly something else than a run's."""
    with contextlib.suppress(OSError):  # such as a folder that may not be read
        if not folder.exists():
            return f"{folder}: no such folder"
        if (folder / "multirun.yaml").is_file() and not (folder / ".hydra").exists():
            again = compose.quoted("hydra.sweep.dir", folder)
            return (
                f"{folder}: is the folder of a sweep; type its command again with {again}, "
                "or give one of its runs"
            )
    return None


def _flags(args: Namespace) -> tuple[str, ...]:
    """Return the flags to hand on to Hydra, and to repeat in a command that continues the run."""
    folder = None if args.config_dir is None else str(Path(args.config_dir).absolute())
    pairs = (("--config-dir", folder), ("--config-name", args.config_name))
    return tuple(word for flag, value in pairs if value is not None for word in (flag, value))


def _unused(folder: Path) -> Path:
    """Make and return `folder`, or `folder-1`, ...: two sweeps never share one."""
    for number in itertools.count():
        path = folder if number == 0 else folder.with_name(f"{folder.name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
    raise AssertionError
