"""One configuration: composed from what was typed, and checked before anything is made."""

import glob
import os
import re
import string
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from omegaconf.resolvers import oc

from svae.configuration import CONF, checks, suggestions
from svae.configuration.checks import key_of, without_effect
from svae.configuration.compare import since
from svae.configuration.messages import (
    HYDRA_ERRORS,
    Refused,
    no_such_key,
    one_line,
    refusing,
    yaml_sentence,
)
from svae.configuration.schema import flatten, may_change
from svae.configuration.words import GROUPS

# data sets whose `file` may be a folder
_FOLDERS = ("svae.data.graph.load",)
# then Python leaves out assert statements, by which Hydra's parser steps over brackets
_IS_OPTIMISED = not __debug__


def checked(args: Namespace, overrides: list[str]) -> DictConfig:
    config = composed(args, overrides)
    check(config)
    return config


def check(config: DictConfig, *, has_file: bool = True) -> None:
    """Check the values of a composed configuration, and that a file of data, if any, is there."""
    try:
        with refusing(ValueError):
            _check_values(config)
            if has_file:
                check_file(config)
    except MissingMandatoryValue as error:
        value = {"dataset.file": "FILE", "study.sweep": "SWEEP_FOLDER"}.get(error.full_key, "VALUE")
        raise Refused(f"{error.full_key}: expected {error.full_key}={value}") from error


def _resolved(config: DictConfig) -> dict[str, Any]:
    """Return the values of all keys but Hydra's own, without a copy: a sweep has many jobs.

    Raises:
        MissingMandatoryValue: when one of them has to be typed and was not.
    """
    values = partial(OmegaConf.to_container, resolve=True, throw_on_missing=True)
    nodes = [(key, node) for key, node in config.items() if key != "hydra"]
    return {key: values(node) if OmegaConf.is_config(node) else node for key, node in nodes}


def _check_values(config: DictConfig) -> None:
    """Check every value; of the environment's, which may be secrets, a refusal shows the name."""
    values = _resolved(config)
    try:
        checks.check(values)
    except ValueError:
        typed = flatten(unresolved(config))  # takes as long as the check, which few fail
        checks.check(values, {k: v for k, v in typed.items() if "${oc.env:" in str(v)})
        raise


def expanded(text: str | Path) -> Path:
    """Return the path with ~ replaced by the home folder; ~NAME stays where NAME is nobody."""
    return Path(os.path.expanduser(text))


def _is_a_persons(path: Path) -> bool:
    """Tell whether a path is none by which the system shows what is in its memory."""
    return not path.resolve().is_relative_to("/proc")


def check_file(config: DictConfig) -> None:
    """Check that the data are there, and name them as they were typed: a path may hold a secret.

    Raises:
        ValueError: when they are not.
    """
    typed = OmegaConf.to_container(config.dataset, resolve=False)
    file, root = config.dataset.get("file"), config.dataset.get("root")
    if isinstance(file, str):
        path, takes_folders = expanded(file), typed.get("_target_") in _FOLDERS
        is_there = os.path.isfile(path) or (takes_folders and os.path.isdir(path))
        if not (is_there and _is_a_persons(path)):
            wanted = "a readable file or a folder" if takes_folders else "a readable file"
            raise ValueError(f"dataset.file={typed['file']}: expected {wanted}, found none")
    # what the root of a person's own data set is, that knows
    is_ours = str(typed.get("_target_")).startswith("svae.data.")
    if isinstance(root, str) and is_ours and not os.path.isdir(expanded(root)):
        raise ValueError(f"dataset.root={typed['root']}: expected a folder, found none")


def _refuse_taken_names(folder: Path) -> None:
    """Refuse a person's own choice that is called as one of ours: Hydra would take ours."""
    for group in GROUPS:
        for file in sorted((folder / group).glob("*.yaml")):
            if (CONF / group / file.name).exists():
                raise Refused(
                    f"--config-dir {folder}: {group}/{file.name} is called as a choice of this "
                    "package, which would take its place, expected another name"
                )


def composed(args: Namespace, overrides: list[str]) -> DictConfig:
    with _initialized(args):
        try:
            name, lines = args.config_name or "config", overrides
            if args.config_dir is not None:
                _refuse_taken_names(Path(args.config_dir))
                place = f"file://{Path(args.config_dir).absolute()}"
                lines = [f"hydra.searchpath=[{quote(place)}]", *lines]
            config = hydra.compose(name, lines, return_hydra_config=True)
        except yaml.YAMLError as error:
            raise Refused(yaml_sentence(error, args.config_dir)) from error
        except (ValueError, TypeError, AssertionError, AttributeError, OSError) as error:
            if isinstance(error, HYDRA_ERRORS):
                raise
            raise Refused(_sentence(overrides, args, error)) from error
    HydraConfig.instance().set_config(config)  # which its ${hydra:...} are read from
    return config


def parser(args: Namespace) -> OverridesParser:
    """Return what knows the options of each group, for sweeps such as model=glob(*)."""
    with _initialized(args):
        return OverridesParser.create(GlobalHydra.instance().config_loader())


def help_text(args: Namespace) -> str:
    """Return what `--help` prints: the template of conf/config.yaml, filled.

    Hydra would read the configuration's sources a hundred times over to list the groups.
    """
    config = composed(args, args.overrides)
    groups = "".join(f"{name}: {', '.join(found)}\n" for name, found in _options(config).items())
    keys = OmegaConf.to_yaml(task(config), resolve=args.resolve)
    template = string.Template(config.hydra.help.template)
    return template.safe_substitute(APP_CONFIG_GROUPS=groups, CONFIG=keys)


def _options(config: DictConfig) -> dict[str, list[str]]:
    """Return {group: options}, of every folder that Hydra composes from."""
    found = defaultdict(set)
    for source in config.hydra.runtime.config_sources:
        if source.schema == "file":
            # not Path.rglob, which passes by a linked folder
            for file in glob.glob("**/*.yaml", root_dir=source.path, recursive=True):
                found[Path(file).parent.as_posix()].add(Path(file).stem)
    groups = (name for name in found if name != "." and name.split("/")[0] != "hydra")
    return {name: sorted(found[name]) for name in sorted(groups)}


def _initialized(args: Namespace):
    if args.config_dir is not None and not os.path.isdir(args.config_dir):
        raise Refused(f"--config-dir {args.config_dir}: expected a folder")
    return hydra.initialize_config_dir(str(CONF), job_name="svae-train", version_base="1.3")


def _sentence(overrides: list[str], args: Namespace, error: Exception) -> str:
    """Return a sentence for an error of Hydra's that has no type of its own."""
    for line in overrides:
        key, _, value = line.partition("=")
        if not key:
            return f"{line}: cannot be read, expected key=value"
        is_word = isinstance(_value(line), str) and re.fullmatch(r"[\w./-]+", value)
        if key in GROUPS and not is_word:
            meant = suggestions.of_option(value, (), key)
            return f"{line}: expected the name of a choice, as --help lists them{meant}"
    where = f"--config-dir {args.config_dir}: " if args.config_dir else ""
    return f"{where}{' '.join(overrides)}: {one_line(error)}"


def _value(line: str) -> Any:
    (override,) = parsed([line])
    return None if override.is_sweep_override() else override.value()


def task(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def unresolved(config: DictConfig) -> dict:
    values = OmegaConf.to_container(config, resolve=False)
    values.pop("hydra", None)
    return values


def public(config: DictConfig) -> dict:
    """Return the configuration with every value resolved but those that reach the environment.

    Where `${oc.env:NAME}` stands, `oc.env.NAME` comes back: no secret leaves the process.
    """
    with _without_environment():
        return OmegaConf.to_container(config, resolve=True)


@contextmanager
def _without_environment() -> Iterator[None]:
    OmegaConf.register_new_resolver("oc.env", lambda name, *_: f"oc.env.{name}", replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def values(overrides: list[str]) -> dict[str, Any]:
    """Return {key: value} of the overrides of the form key=value."""
    return {
        o.get_key_element().lstrip("+~"): o.input_line if o.is_sweep_override() else o.value()
        for o in parsed(overrides)
    }


def changes(verb: str, lines: list[str], before: dict) -> dict[str, Any]:
    """Return {key: value} of what is typed to alter the configuration `before` of a run.

    Raises:
        Refused: when a key may not change on `verb`, resume or evaluate.
    """
    known, allowed = flatten(before) | since(before), may_change(verb)
    found = {}
    for override in parsed(lines):
        line, key = override.input_line, override.key_or_group
        if key not in allowed:
            words = ", ".join(allowed)
            raise Refused(f"{line}: cannot be changed with {verb}=, expected one of {words}")
        if override.is_sweep_override():
            raise Refused(f"{line}: several values are a sweep, which needs --multirun (-m)")
        if override.is_add() or override.is_force_add() or override.is_delete():
            raise Refused(f"{line}: expected {key}=VALUE")
        if key not in known:
            raise Refused(no_such_key(key))
        found[key] = override.value()
    key, schedule = "trainer.max_epochs", known.get("trainer.schedule", "constant")
    if schedule != "constant" and found.get(key, known[key]) != known[key]:
        raise Refused(
            f"{key} was {known[key]} when the run began and is {found[key]} now, as "
            f"trainer.schedule={schedule} ends there"
        )
    return found


def refuse_without_effect(config: dict, lines: list[str]) -> None:
    """Refuse overrides that have no effect on what is configured."""
    for line, why in without_effect(config, lines).items():
        raise Refused(f"{line}: {why}")


def parsed(overrides: list[str], parser: OverridesParser | None = None) -> list[Override]:
    """Return overrides as Hydra reads them, with a parser that may know the options of groups."""
    for line in overrides:
        if _IS_OPTIMISED and re.search(r"[\w.](?=\()|(?<!\$)\{", line.partition("=")[2]):
            raise Refused(
                f"{line}: Hydra cannot read a function or a dictionary under PYTHONOPTIMIZE or "
                "python -O, expected Python without, as in PYTHONOPTIMIZE= svae-train ..."
            )
        if re.search(r"\d{301}", line):  # no float is as large, and Python reads none of 4,301
            raise Refused(f"{line}: expected a number of at most 300 digits")
    return (parser or OverridesParser.create()).parse_overrides(overrides)


def portable(config: DictConfig, overrides: list[str]) -> tuple[DictConfig, list[str]]:
    """Return both with the paths of data made absolute, so that any folder can resume the run.

    Those that reach the environment stay as they are.
    """
    config, moved = task(config), {}
    typed = [key_of(line) for line in overrides]
    for name in ("file", "root"):
        path = OmegaConf.to_container(config.dataset, resolve=False).get(name)
        if f"dataset.{name}" in typed and isinstance(path, str) and "${" not in path:
            path = expanded(path).absolute()
            moved[f"dataset.{name}"] = quoted(f"dataset.{name}", path)
            config.dataset[name] = str(path)
    return config, [moved.get(key_of(line), line) for line in overrides]


def folder(config: DictConfig, mode: Literal["run", "sweep"]) -> Path:
    """Return the folder that is configured for a run or a sweep.

    Raises:
        Refused: when it is none.
    """
    text = config.hydra[mode].dir
    if not isinstance(text, str) or not text:
        raise Refused(f"hydra.{mode}.dir={text}: expected a folder")
    path = expanded(text)
    if str(path).startswith("~"):
        raise Refused(f"hydra.{mode}.dir={text}: there is no such home folder, ./~ means a name")
    path = Path(os.path.abspath(path))
    refuse_long(f"hydra.{mode}.dir", path)
    return path


_LONGEST_NAME, _LONGEST_PATH = 255, 3900  # bytes; of 4,095 a run folder's own files take the rest


def refuse_long(key: str, path: Path) -> None:
    """Refuse a folder that cannot be made since its name, or its whole path, is too long.

    Raises:
        Refused: with the number of bytes and the beginning of it.
    """
    names = [(len(os.fsencode(name)), name) for name in path.parts]
    size, name = max(names)
    if size > _LONGEST_NAME:
        raise Refused(
            f"{key}: the name {name[:40]}... has {size} bytes, expected at most {_LONGEST_NAME}"
        )
    if (size := len(os.fsencode(path))) > _LONGEST_PATH:
        raise Refused(
            f"{key}: the path {str(path)[:40]}... has {size} bytes, expected at most "
            f"{_LONGEST_PATH}"
        )


def flags(args: Namespace) -> tuple[str, ...]:
    """Return the flags to hand on to Hydra, and to repeat in a command that continues the run."""
    folder = None if args.config_dir is None else str(Path(args.config_dir).absolute())
    pairs = (("--config-dir", folder), ("--config-name", args.config_name))
    return tuple(word for flag, value in pairs if value is not None for word in (flag, value))


def quoted(key: str, path: Path) -> str:
    """Return the override key=path for any path; quoted where Hydra needs it: 0 is a number."""
    plain = re.fullmatch(r"/[\w./-]*", str(path), re.ASCII)
    return f"{key}={path if plain else quote(str(path))}"


def quote(text: str) -> str:
    """Return a text as Hydra reads it back, whatever it holds."""
    # to Hydra a backslash is one, but before a quote
    escaped = re.sub(r"(\\*)('|\Z)", r"\1\1\2", text).replace("'", "\\'")
    return f"'{escaped}'"
