"""Refusals in one sentence: Hydra's and OmegaConf's errors in a person's words."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from svae.configuration import suggestions
from svae.configuration.schema import BUILT, KEYS, expected, flatten, takes
from svae.configuration.words import GROUPS

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
        # what was typed may have line breaks, and numbers without an end
        text = _ENDLESS.sub(lambda n: f"{n[0][:9]}...({len(n[0])} digits)", text)
        super().__init__(" ".join(text.splitlines()))


_ENDLESS = re.compile(r"\d{50,}")


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


def no_device(name: str, count: int) -> str:
    """Return what is said of a GPU that a machine with so many does not have."""
    found = f"{count} CUDA device(s)" if count else "no CUDA device"
    return f"device={name}: this machine has {found}; use device=cpu or device=auto"


def sentence(error: Exception) -> str:
    """Turn an error of Hydra or OmegaConf into one sentence with the nearest right word."""
    return str(Refused(_sentence(error)))


def _sentence(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(error)
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read, expected {_readable(error.override)}"
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        _, _, value = text.rpartition(f"use +{found[1]}=")
        return no_such_key(found[1], value, _keys_there(error, found[1]))
    if found := re.search(r"An item is already at '([^']+)'", text):
        key = found.group(1)
        return f"+{key}: the key is there already, expected {key}=... without the plus"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{error.full_key}: needs {found.group(1)}, which the chosen groups do not have"
    if found := re.match(r"Error merging override (.+)", text):
        return f"{found.group(1)}: is not what stands there, {_reason(error)}"
    if found := re.match(r"Multiple values for (\S+)\. ", text):
        return f"{found[1]}: is chosen twice, expected {found[1]}=NAME once, without a plus"
    if "Ambiguous value for argument" in text or "requires --multirun" in text:
        line = text.split("'")[1]
        needs = "several values are a sweep, which needs --multirun (-m)"
        return f"{line}: {needs}{_as_one(line)}"
    return one_line(error)


def _readable(line: str) -> str:
    """Return how a line is typed that Hydra's grammar does not read."""
    key, equals, value = line.partition("=")
    if found := re.fullmatch(r"([A-Za-z][\w./]*):(.*)", key) if not equals else None:
        return f"{found[1]}={found[2] or 'VALUE'}"
    if not equals and (meant := suggestions.flag_meant(line)):
        return f"key=value; did you mean {meant}?"
    if not equals and line in GROUPS:
        return f"{line}=NAME or {line}.KEY=VALUE"
    if not equals or not key.strip():
        is_number = not equals and re.fullmatch(r"[-+.\de]+,?", line)
        several = ", and only commas between values, KEY=2,5,10" if is_number else ""
        return f"key=value, without spaces around the equals sign{several}"
    if not re.fullmatch(r"[+~]*[A-Za-z][\w./@:]*", key):
        return "key=value, and a key is made of letters, digits, _ and points"
    if "${" in value:
        return "a reference to be ${KEY}, in single quotes: 'key=${KEY}'"
    if any(value.count(a) != value.count(b) for a, b in ("[]", "()", "{}")):
        return "every bracket to be closed before a space, or quotes: 'key=[1, 2]'"
    if value.rstrip().endswith(","):
        once = f"{key}={value.rstrip(', ')}"
        return f"{once} without a comma behind it, or {once},... with no space after the comma"
    if ";" in value and "'" not in value and '"' not in value:
        return f"commas in place of semicolons, {key}={value.strip('; ').replace(';', ',')}"
    if found := re.search(r"[,\s]\s*([A-Za-z][\w.]*=)", value):
        return f"{found[1]}... to be a word of its own, with a space before it and no comma"
    if key in KEYS and not takes(key, "any"):
        return f"{key}=VALUE, and as VALUE {expected(KEYS[key].type)}"
    return f"quotes around such a value: {suggestions.in_quotes(key, value)}"


def _as_one(line: str) -> str:
    """Return "; did you mean ...?" where commas stand for a point or for a list, or nothing."""
    key, _, value = line.partition("=")
    name = key if key in KEYS or key.startswith(BUILT) else suggestions.key_meant(key)
    if name not in KEYS:
        return ""
    if re.fullmatch(r"\d+,\d+", value) and takes(name, 0.5):
        return f"; did you mean {name}={value.replace(',', '.')}?"
    items = value.split(",")
    is_list = takes(name, items) or (all(map(str.isdecimal, items)) and takes(name, [1]))
    return f"; did you mean {name}=[{value}]?" if is_list else ""


def _keys_there(error: Exception, key: str) -> set[str] | None:
    """Return the keys that a configuration has beside `key`, and what it may have elsewhere."""
    node = getattr(error.__cause__, "parent_node", None)
    if not OmegaConf.is_dict(node) or getattr(error.__cause__, "full_key", key) != key:
        return None  # what is not there is the group
    group = key.rpartition(".")[0]
    prefix = f"{group}." if group else ""
    values = OmegaConf.to_container(node, resolve=False)
    values.pop("hydra", None)
    beside = flatten(values, prefix)
    return {*beside, *(name for name in KEYS if prefix and not name.startswith(prefix))}


def unknown_flag(text: str) -> str:
    """Turn what argparse says of a flag into a sentence: keys are no flags."""
    if found := re.match(r"argument (--\w+)/(-\w): ignored explicit argument '(.*)'", text):
        typed = f"{found[2]}{found[3]}"
        if found[1] == f"-{typed}":
            return f"{typed}: no such flag; did you mean {found[1]}?"
        return f"{found[1]} ({found[2]}): takes no value, and got {found[3]}"
    found = re.match(r"unrecognized arguments: (-+([A-Za-z][\w.-]*))(?:=(\S+))?", text)
    if found is None:
        return text
    flag, name, value = found.groups()
    meant = suggestions.key_meant(name.replace("-", "_")) or ""
    if meant.startswith("-"):
        return f"{flag}: no such flag; did you mean {meant}?"
    if meant:
        line = meant if "=" in meant else f"{meant}={value or 'VALUE'}"
        return f"{flag}: keys have no dashes, expected {line}"
    return f"{flag}: no such flag, expected key=value, or a flag that --help lists"


def yaml_sentence(error: yaml.YAMLError, folder: str) -> str:
    """Return one sentence about a mistake in a file of a person's own."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or one_line(error)
    return f"--config-dir {folder}: {place}expected YAML ({problem})"


def _missing(error: MissingConfigException) -> str:
    if not error.options:
        return _no_such_file(error.missing_cfg_file)
    # the name of a choice may be a path
    found = re.search(r"Available options in '([^']+)'", str(error))
    group, name = error.missing_cfg_file.rpartition("/")[::2]
    if found:
        group, name = found[1], error.missing_cfg_file.removeprefix(f"{found[1]}/")
    if extra := _EXTRAS.get(name):
        return f"{group}={name}: is not installed, it comes with pip install -e '.[{extra}]'"
    choices = ", ".join(error.options)
    meant = suggestions.of_option(name, error.options, group)
    if not meant and group in GROUPS:
        meant = ", or one of your own, in the folder of --config-dir"
    return f"{group}={name}: expected one of {choices}{meant}"


def _no_such_file(name: str) -> str:
    """Return a sentence about a configuration that --config-name names, or a file of one's own."""
    group = suggestions.group_with(name)
    meant = f"; did you mean {group}={name}?" if group else ""
    flag = "" if "/" in name else "--config-name "
    return f"{flag}{name}: there is no such configuration{meant}"


def no_such_key(key: str, value: str = "", there: Collection[str] | None = None) -> str:
    """Return a sentence about a key that the configuration does not have."""
    if key in GROUPS:
        return f"{key}: is a group, expected {key}=NAME or {key}.KEY=VALUE"
    return f"{key}: no such key{suggestions.of_key(key, value, there)}"


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    lines = str(cause or "").splitlines()  # behind the first stands what only OmegaConf needs
    return lines[0] if lines else "expected another kind of value"
