"""Refusals in one sentence: Hydra's and OmegaConf's errors in a person's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from svae.configuration import suggestions
from svae.configuration.schema import GROUPS

HYDRA_ERRORS = (HydraException, OmegaConfBaseException)
# what brings a launcher or a sweeper
_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "ray": "ray",
    "optuna": "optuna",
}


class Refused(Exception):
    """What was typed cannot be done; the text is one sentence that says what was expected."""

    def __init__(self, text: str):
        # what was typed may have line breaks
        super().__init__(" ".join(text.splitlines()))


def one_line(error: Exception) -> str:
    """Return the text of an error without line breaks."""
    return " ".join(str(error).split())


@contextmanager
def refusing(*errors: type[Exception], about: str = "") -> Iterator[None]:
    """Turn errors of these types into a refusal; Hydra's have `sentence`s of their own."""
    try:
        yield
    except HYDRA_ERRORS:
        raise
    except errors as error:
        raise Refused(f"{about}{one_line(error)}") from error


def sentence(error: Exception) -> str:
    """Turn an error of Hydra or OmegaConf into one sentence with the nearest right word."""
    return str(Refused(_sentence(error)))


def _sentence(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(error)
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read, expected key=value ({one_line(text)})"
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        return no_such_key(found.group(1))
    if found := re.search(r"An item is already at '([^']+)'", text):
        key = found.group(1)
        return f"+{key}: the key is there already, expected {key}=... without the plus"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{error.full_key}: needs {found.group(1)}, which the chosen groups do not have"
    if found := re.match(r"Error merging override (.+)", text):
        return f"{found.group(1)}: is not what stands there, {_reason(error)}"
    if "Ambiguous value for argument" in text:
        line = text.split("'")[1]
        return f"{line}: several values are a sweep, which needs --multirun (-m)"
    return one_line(error)


def yaml_sentence(error: yaml.YAMLError, folder: str) -> str:
    """Return one sentence about a mistake in a file of a person's own."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or one_line(error)
    return f"--config-dir {folder}: {place}expected YAML ({problem})"


def _missing(error: MissingConfigException) -> str:
    group, _, name = error.missing_cfg_file.rpartition("/")
    if not error.options:
        return f"{error.missing_cfg_file}: there is no such configuration"
    if extra := _EXTRAS.get(name):
        return f"{group}={name}: is not installed, it comes with pip install -e '.[{extra}]'"
    expected = ", ".join(error.options)
    return f"{group}={name}: expected one of {expected}{suggestions.of_option(name, error.options)}"


def no_such_key(key: str) -> str:
    """Return a sentence about a key that the configuration does not have."""
    if key in GROUPS:
        return f"{key}: is a group, expected {key}=NAME or {key}.KEY=VALUE"
    return f"{key}: no such key{suggestions.of_key(key)}"


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return one_line(cause) if cause is not None else "expected another kind of value"
