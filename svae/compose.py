"""From arguments to a plan: what is asked is composed and checked before anything is made."""

import itertools
import re
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from svae import settings, sweep
from svae.record import CONF, saved_config, saved_overrides

HYDRA_ERRORS = (HydraException, OmegaConfBaseException)
# what may differ from the saved run, by prefix
_RESUME = (
    "trainer.max_epochs",
    "trainer.patience",
    "trainer.on_nan",
    "device",
    "evaluation.",
    "logger.",
)
_EVALUATE = ("device", "threads", "evaluation.", "plots")
_CHECKED_JOBS = 64  # of a sweep; beyond, every value is checked once instead of every combination


class Refused(Exception):
    """What was typed cannot be done; the text is one sentence that says what was expected."""


@dataclass(frozen=True)
class Plan:
    """What the program is going to do: the arguments for Hydra and the folder to work in.

    `flags` are those that a command to continue needs again.
    """

    arguments: list[str]
    folder: Path
    is_sweep: bool = False
    jobs: int | None = None  # of a sweep, where that is known beforehand
    reopens: bool = False
    evaluates: bool = False
    flags: tuple[str, ...] = ()


def is_question(args: Namespace) -> bool:
    """Tell whether Hydra only answers (help, the configuration, completion) and runs nothing."""
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)


def plan(args: Namespace) -> Plan:
    """Compose and check everything that `args` ask for.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """
    typed = _values(args.overrides)
    if "resume" in typed and "evaluate" in typed:
        raise Refused("resume and evaluate: give one of the two")
    for name, allowed in (("resume", _RESUME), ("evaluate", _EVALUATE)):
        if typed.get(name) not in (None, "null"):
            if args.multirun:
                raise Refused(f"{name}={typed[name]}: takes one run folder, without --multirun")
            return _reopen(args, name, Path(typed[name]).expanduser(), allowed)
    return _start(args)


def _start(args: Namespace) -> Plan:
    flags = _flags(args)
    if not args.multirun:
        config = _checked(args, args.overrides, strict=True)
        if config.hydra.mode is None or config.hydra.mode.name == "RUN":
            folder = Path(config.hydra.run.dir).absolute()
            return Plan([*flags, *args.overrides], folder, flags=flags)
    config, jobs = _check_sweep(args)
    folder = Path(config.hydra.sweep.dir).absolute()
    try:
        if "hydra.sweep.dir" not in _values(args.overrides):
            folder = _unused(folder)
        elif jobs is not None:
            _check_begun(args, jobs, folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder}: cannot be written ({error.strerror})") from error
    count = config.hydra.sweeper.get("n_trials") if jobs is None else len(jobs)
    arguments = [*flags, "--multirun", *args.overrides]
    return Plan(arguments, folder, is_sweep=True, jobs=count, flags=flags)


def command(args: Namespace, folder: Path) -> str:
    """Return what a person types to go on with the sweep in `folder`."""
    typed = [line for line in args.overrides if _key(line) != "hydra.sweep.dir"]
    words = [*_flags(args), "--multirun", *typed, quoted("hydra.sweep.dir", folder)]
    return shlex.join(["svae-train", *words])


def _check_begun(args: Namespace, jobs: list[list[str]], folder: Path) -> None:
    """Refuse to go on with a sweep whose runs began with another configuration."""
    if not sweep.folders(folder):
        return
    for number, job in enumerate(jobs):
        numbered = [quoted("hydra.sweep.dir", folder), f"hydra.job.num={number}"]
        config = _checked(args, [*job, *numbered], strict=False)
        path = folder / config.hydra.sweep.subdir
        try:
            if sweep.state_of(path) and (found := sweep.mismatch(path, _task(config))):
                raise Refused(found)
        except ValueError as error:
            raise Refused(str(error)) from error


def _reopen(args: Namespace, name: str, folder: Path, allowed: tuple[str, ...]) -> Plan:
    """Plan to continue or to evaluate the run in `folder`, with a few keys changed."""
    try:
        saved = saved_overrides(folder)
        before = OmegaConf.to_container(saved_config(folder), resolve=False)
    except (ValueError, OSError) as error:
        raise Refused(f"{name}={error}") from error
    changes = [line for line in args.overrides if _key(line) != name]
    for line in changes:
        if not _key(line).startswith(allowed):
            words = ", ".join(f"{key}*" if key.endswith(".") else key for key in allowed)
            raise Refused(f"{line}: cannot be changed with {name}=, expected one of {words}")
    overrides = [*saved, *changes, quoted(name, folder)]
    config = _checked(args, overrides, strict=True)
    free = (*allowed, "resume", "evaluate")
    if found := settings.difference(before, _unresolved(config), free):
        raise Refused(f"{name}={folder}: {found}")
    flags = _flags(args)
    return Plan(
        [*flags, *overrides],
        folder.absolute(),
        reopens=True,
        evaluates=name == "evaluate",
        flags=flags,
    )


def _check_sweep(args: Namespace) -> tuple[DictConfig, list[list[str]] | None]:
    """Check the jobs of a sweep; return the configuration without what is swept, and the jobs.

    They are the overrides of each job by its number; None in a search, which chooses as it goes.
    """
    parsed = OverridesParser.create().parse_overrides(args.overrides)
    fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
    base = _compose(args, fixed)
    params = base.hydra.sweeper.get("params") or {}
    lines = [f"{key}={value}" for key, value in params.items()]
    swept = [*OverridesParser.create().parse_overrides(lines), *parsed]
    choices = {}
    for o in swept:
        key = o.get_key_element()
        choices.pop(key, None)  # what is typed replaces what a preset sweeps
        if o.is_sweep_override() and o.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in o.sweep_string_iterator()]
    jobs = [[*fixed, *job] for job in _combinations(list(choices.values()))]
    unused = [_unused_sampler(_checked(args, job, strict=False), job) for job in jobs]
    if all(unused):
        raise Refused(_no_sampler(unused[0]))
    if any(unused):
        print(f"{max(unused)[0]}: has no effect on the models that have no sampler")
    if base.hydra.runtime.choices["hydra/sweeper"] != "basic":
        return base, None
    return base, BasicSweeper.split_arguments(swept, max_batch_size=None)[0]


def _combinations(choices: list[list[str]]) -> list[tuple[str, ...]]:
    product = itertools.islice(itertools.product(*choices), _CHECKED_JOBS + 1)
    jobs = list(product)
    if len(jobs) <= _CHECKED_JOBS:
        return jobs
    first = [options[0] for options in choices]
    return [
        (*first[:i], option, *first[i + 1 :])
        for i, options in enumerate(choices)
        for option in options
    ]


def _checked(args: Namespace, overrides: list[str], *, strict: bool) -> DictConfig:
    config = _compose(args, overrides)
    HydraConfig.instance().set_config(config)
    try:
        plain = OmegaConf.to_container(_task(config), resolve=True, throw_on_missing=True)
        settings.check(plain)
    except MissingMandatoryValue as error:
        raise Refused(f"{error.full_key}: needs a value") from error
    except ValueError as error:
        if isinstance(error, HYDRA_ERRORS):
            raise
        raise Refused(one_line(error)) from error
    if strict and (unused := _unused_sampler(config, overrides)):
        raise Refused(_no_sampler(unused))
    return config


def _compose(args: Namespace, overrides: list[str]) -> DictConfig:
    extra = []
    if args.config_dir is not None:
        folder = Path(args.config_dir).absolute()
        if not folder.is_dir():
            raise Refused(f"--config-dir {args.config_dir}: expected a folder")
        extra = [f"hydra.searchpath=[{_quote(f'file://{folder}')}]"]
    with hydra.initialize_config_dir(str(CONF), job_name="svae-train", version_base="1.3"):
        name = args.config_name or "config"
        try:
            return hydra.compose(name, [*extra, *overrides], return_hydra_config=True)
        except (ValueError, TypeError, AssertionError) as error:
            if isinstance(error, HYDRA_ERRORS):
                raise
            # Hydra tells some wrong overrides, such as model=null, without its own error type
            raise Refused(f"{' '.join(overrides)}: {one_line(error)}") from error


def _task(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def _unresolved(config: DictConfig) -> dict:
    return OmegaConf.to_container(_task(config), resolve=False)


def _unused_sampler(config: DictConfig, overrides: list[str]) -> list[str]:
    """Return the overrides of a sampler that the model does not use."""
    model = OmegaConf.to_container(config.model, resolve=False)
    if any("${sampler." in str(value) for value in model.values()):
        return []
    return [line for line in overrides if re.match(r"sampler[.=]", line)]


def _no_sampler(overrides: list[str]) -> str:
    return f"{overrides[0]}: this model has no sampler, only model=vmf has one"


def _values(overrides: list[str]) -> dict[str, str]:
    """Return {key: value} of overrides of the form key=value, unquoted."""
    pairs = [line.split("=", 1) for line in overrides if "=" in line]
    return {key.lstrip("+~"): value.strip("'\"") for key, value in pairs}


def _key(line: str) -> str:
    return line.split("=", 1)[0].lstrip("+~").split("@")[0]


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


def quoted(key: str, path: Path) -> str:
    """Return the override key=path for any path; quoted where Hydra needs it."""
    plain = re.fullmatch(r"[\w./-]+", str(path), re.ASCII)
    return f"{key}={path if plain else _quote(str(path))}"


def _quote(text: str) -> str:
    if re.fullmatch(r"/[\w./-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def one_line(error: Exception) -> str:
    """Return the text of an error without line breaks."""
    return " ".join(str(error).split())


def sentence(error: Exception) -> str:
    """Turn an error of Hydra or OmegaConf into one sentence with the nearest right word."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        expected = ", ".join(error.options)
        return f"{group}={name}: expected one of {expected}{settings.hint(name, error.options)}"
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read, expected key=value ({one_line(text)})"
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        key = found.group(1)
        return f"{key}: no such key{settings.hint_of_key(key)}"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{error.full_key}: needs {found.group(1)}, which the chosen groups do not have"
    if "Ambiguous value for argument" in text:
        line = text.split("'")[1]
        return f"{line}: several values are a sweep, which needs --multirun (-m)"
    return one_line(error)
