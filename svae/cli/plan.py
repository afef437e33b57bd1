"""From arguments to a plan: what is asked is composed and checked before anything is made."""

import contextlib
import itertools
import os
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from svae import run as sweep
from svae.cli.sweeps import Multirun
from svae.configuration import compose, schema
from svae.configuration.messages import Refused
from svae.recording.saved import saved_config, saved_overrides

# what may differ from the saved run, by prefix
_CHANGEABLE = {
    "resume": (
        "trainer.max_epochs",
        "trainer.patience",
        "trainer.on_nan",
        "device",
        "evaluation.",
        "logger.",
    ),
    "evaluate": ("device", "threads", "evaluation.", "plots"),
}


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
    reopens: bool = False
    evaluates: bool = False
    flags: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # what was typed with resume=, which is not saved


def is_question(args: Namespace) -> bool:
    """Tell whether Hydra only answers (the configuration, completion, ...) and runs nothing."""
    return bool(args.hydra_help or args.cfg or args.info or args.shell_completion)


def plan(args: Namespace) -> Plan:
    """Compose and check everything that `args` ask for.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """
    typed = compose.values(args.overrides)
    asked = [name for name in ("resume", "evaluate") if typed.get(name) is not None]
    if len(asked) == 2:
        raise Refused("resume and evaluate: give one of the two")
    if not asked:
        return _start(args)
    (name,) = asked
    if args.multirun:
        raise Refused(f"{name}={typed[name]}: takes one run folder, without --multirun")
    if not isinstance(typed[name], str) or not typed[name]:
        raise Refused(f"{name}={typed[name]}: expected a run folder")
    return _reopen(args, name, Path(typed[name]).expanduser(), _CHANGEABLE[name])


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
    done = len(sweep.finished(known["folder"]))
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


def _reopen(args: Namespace, name: str, folder: Path, allowed: tuple[str, ...]) -> Plan:
    """Plan to continue or to evaluate the run in `folder`, with a few keys changed."""
    try:
        saved = saved_overrides(folder)
        before = OmegaConf.to_container(saved_config(folder), resolve=False)
    except (ValueError, OSError) as error:
        raise Refused(f"{name}={_no_run(folder) or error}") from error
    changes = [line for line in args.overrides if compose.key_of(line) != name]
    for line in changes:
        if not compose.key_of(line).startswith(allowed):
            words = ", ".join(f"{key}*" if key.endswith(".") else key for key in allowed)
            raise Refused(f"{line}: cannot be changed with {name}=, expected one of {words}")
    typed = tuple(changes)
    changes.append(compose.quoted(name, folder))
    overrides = [*saved, *changes]
    config = compose.checked(args, overrides)
    if earlier := schema.come_since(before, compose.unresolved(config)):
        lines = [f"{key}={schema.shown(value)}" for key, value in earlier.items()]
        overrides = [*saved, *lines, *changes]  # it goes on as it began
        config = compose.checked(args, overrides)
    free = {*allowed, "resume", "evaluate"}
    if config.trainer.get("schedule") == "cosine":
        free -= {"trainer.max_epochs"}  # where the curve ends
    if found := schema.difference(before, compose.unresolved(config), tuple(free)):
        ends = found.startswith("trainer.max_epochs")
        raise Refused(f"{name}={folder}: {found}{', as trainer.schedule=cosine ends there' * ends}")
    flags = _flags(args)
    return Plan(
        [*flags, *overrides],
        folder.absolute(),
        reopens=True,
        evaluates=name == "evaluate",
        flags=flags,
        changes=typed,
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
