"""From arguments to a plan: what is asked is composed and checked before anything is made."""

import itertools
import re
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from svae import settings, sweep
from svae.grid import choices, combinations
from svae.record import CONF, saved_config, saved_overrides
from svae.refusals import HYDRA_ERRORS, Refused, one_line, tell_file

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
_NUMBER = r"[\w.]+=-?[0-9][0-9.e+-]*"


@dataclass(frozen=True)
class Plan:
    """What the program is going to do: the arguments for Hydra and the folder to work in.

    `flags` are those that a command to continue needs again.
    """

    arguments: list[str]
    folder: Path
    is_sweep: bool = False
    jobs: int | None = None  # runs of a sweep, where that is known beforehand
    searches: bool = False  # a sweep that chooses its runs as it goes
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
        config = _checked(args, args.overrides, strict=True)
        if config.hydra.mode is None or config.hydra.mode.name == "RUN":
            folder = _folder(config, "run")
            return Plan([*flags, *args.overrides], folder, flags=flags)
    config, jobs = _check_sweep(args)
    folder = _folder(config, "sweep")
    try:
        if "hydra.sweep.dir" not in _values(args.overrides):
            folder = _unused(folder)
        elif jobs is not None:
            _check_begun(args, jobs, folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder}: cannot be written ({error.strerror})") from error
    arguments = [*flags, "--multirun", *args.overrides]
    known = {"folder": folder, "is_sweep": True, "flags": flags}
    if jobs is not None:
        # replicas are a job of several runs
        return Plan(arguments, jobs=len(jobs) * config.trainer.get("replicas", 1), **known)
    sweeper = config.hydra.sweeper
    count = sweeper.get("n_trials")
    done = len(sweep.finished(folder))
    if done and count and sweeper.get("storage"):
        # the study remembers its trials: it would make as many again, and draw the first ones alike
        arguments.append(f"hydra.sweeper.n_trials={max(0, count - done)}")
        if "seed" in sweeper.sampler:
            arguments.append("hydra.sweeper.sampler.seed=null")
    return Plan(arguments, jobs=count, searches=True, **known)


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
            if sweep.state_of(path) and (found := sweep.mismatch(path, portable(config, job)[0])):
                raise Refused(found)
        except ValueError as error:
            raise Refused(str(error)) from error


def _folder(config: DictConfig, mode: str) -> Path:
    text = config.hydra[mode].dir
    if not isinstance(text, str) or not text:
        raise Refused(f"hydra.{mode}.dir={text}: expected a folder")
    return Path(text).expanduser().absolute()


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
    parser = OverridesParser.create(_config_loader(args))
    parsed = parser.parse_overrides(args.overrides)
    fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
    base = _compose(args, fixed)
    params = base.hydra.sweeper.get("params") or {}
    lines = [f"{key}={value}" for key, value in params.items()]
    swept = [*parser.parse_overrides(lines), *parsed]
    searches = base.hydra.runtime.choices["hydra/sweeper"] != "basic"
    unused = _check_jobs(args, fixed, combinations(choices(swept, searches)))
    if all(unused):
        raise Refused(_no_sampler(unused[0]))
    if any(unused):
        print(f"{max(unused)[0]}: has no effect on the models that have no sampler")
    if searches:
        if "minimize" in str(base.hydra.sweeper.get("direction")):
            raise Refused(
                "hydra.sweeper.direction=minimize: the objective is the better the higher it is, "
                "expected maximize, as search=optuna has it"
            )
        return base, None
    return base, BasicSweeper.split_arguments(swept, max_batch_size=None)[0]


def _check_jobs(args: Namespace, fixed: list[str], jobs: list[tuple[str, ...]]) -> list[list[str]]:
    """Check every job; return for each the overrides of a sampler that its model does not use.

    Composing is slow, so that jobs that differ in plain numbers share one composition.
    """
    composed, unused = {}, []
    for job in jobs:
        numbers = [line for line in job if re.fullmatch(_NUMBER, line)]
        others = tuple(line for line in job if line not in numbers)
        if others not in composed:
            composed[others] = _checked(args, [*fixed, *job], strict=False)
        else:
            config = _task(composed[others])
            for override in OverridesParser.create().parse_overrides(numbers):
                OmegaConf.update(config, override.key_or_group, override.value())
            _check(config)
        unused.append(_unused_sampler(composed[others], [*fixed, *job]))
    return unused


def _config_loader(args: Namespace):
    """Return what knows the options of each group, for sweeps such as model=glob(*)."""
    with _initialized(args):
        return GlobalHydra.instance().config_loader()


def _checked(args: Namespace, overrides: list[str], *, strict: bool) -> DictConfig:
    config = _compose(args, overrides)
    HydraConfig.instance().set_config(config)
    _check(_task(config))
    _refuse_unread(config, overrides)
    if strict and (unused := _unused_sampler(config, overrides)):
        raise Refused(_no_sampler(unused))
    return config


def _check(config: DictConfig) -> None:
    """Check the values of a composed configuration, and that a file of data is there."""
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        settings.check(plain)
        file = plain["dataset"].get("file")
        if isinstance(file, str) and not Path(file).expanduser().is_file():
            raise ValueError(f"dataset.file={file}: expected a readable file, found none")
    except MissingMandatoryValue as error:
        raise Refused(f"{error.full_key}: needs a value") from error
    except ValueError as error:
        if isinstance(error, HYDRA_ERRORS):
            raise
        raise Refused(one_line(error)) from error


def _compose(args: Namespace, overrides: list[str]) -> DictConfig:
    with _initialized(args):
        try:
            name = args.config_name or "config"
            lines = [*_search_path(args), *overrides]
            return hydra.compose(name, lines, return_hydra_config=True)
        except yaml.YAMLError as error:
            raise Refused(tell_file(error, args.config_dir)) from error
        except (ValueError, TypeError, AssertionError, AttributeError) as error:
            if isinstance(error, HYDRA_ERRORS):
                raise
            raise Refused(_untold(overrides, args, error)) from error


def _initialized(args: Namespace):
    if args.config_dir is not None and not Path(args.config_dir).is_dir():
        raise Refused(f"--config-dir {args.config_dir}: expected a folder")
    return hydra.initialize_config_dir(str(CONF), job_name="svae-train", version_base="1.3")


def _search_path(args: Namespace) -> list[str]:
    if args.config_dir is None:
        return []
    return [f"hydra.searchpath=[{_quote(f'file://{Path(args.config_dir).absolute()}')}]"]


def _untold(overrides: list[str], args: Namespace, error: Exception) -> str:
    """Return a sentence for what Hydra tells without an error type of its own."""
    for line in overrides:
        key, _, value = line.partition("=")
        if key in settings.GROUPS and (value == "null" or not re.fullmatch(r"[\w./-]+", value)):
            return f"{line}: expected the name of a choice, as --help lists them"
    where = f"--config-dir {args.config_dir}: " if args.config_dir else ""
    return f"{where}{' '.join(overrides)}: {one_line(error)}"


def _task(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def _unresolved(config: DictConfig) -> dict:
    return OmegaConf.to_container(_task(config), resolve=False)


def _refuse_unread(config: DictConfig, overrides: list[str]) -> None:
    """Refuse overrides that have no effect on a study."""
    if config.study is None:
        return
    reads = ["experiment", "hydra", "resume", "evaluate", *config.study.reads]
    for line in overrides:
        if re.split(r"[./]", _key(line))[0] not in reads:
            words = ", ".join(config.study.reads)
            raise Refused(f"{line}: has no effect on this study, expected one of {words}")


def _unused_sampler(config: DictConfig, overrides: list[str]) -> list[str]:
    """Return the overrides of a sampler that the model does not use."""
    model = OmegaConf.to_container(config.model, resolve=False)
    if any("${sampler." in str(value) for value in model.values()):
        return []
    return [line for line in overrides if re.match(r"sampler[.=]", line)]


def _no_sampler(overrides: list[str]) -> str:
    return f"{overrides[0]}: this model has no sampler, only model=vmf has one"


def _values(overrides: list[str]) -> dict[str, Any]:
    """Return {key: value} of the overrides of the form key=value."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    return {o.get_key_element().lstrip("+~"): _value(o) for o in parsed}


def _value(override: Override) -> Any:
    return override.input_line if override.is_sweep_override() else override.value()


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


def portable(config: DictConfig, overrides: list[str]) -> tuple[DictConfig, list[str]]:
    """Return both with the paths of data made absolute, so that any folder can resume the run.

    Those that reach the environment stay as they are.
    """
    config, moved = _task(config), {}
    typed = [_key(line) for line in overrides]
    for name in ("file", "root"):
        path = OmegaConf.to_container(config.dataset, resolve=False).get(name)
        if f"dataset.{name}" in typed and isinstance(path, str) and "${" not in path:
            path = Path(path).expanduser().absolute()
            moved[f"dataset.{name}"] = quoted(f"dataset.{name}", path)
            config.dataset[name] = str(path)
    return config, [moved.get(_key(line), line) for line in overrides]


def quoted(key: str, path: Path) -> str:
    """Return the override key=path for any path; quoted where Hydra needs it."""
    plain = re.fullmatch(r"[\w./-]+", str(path), re.ASCII)
    return f"{key}={path if plain else _quote(str(path))}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
