"""What a run folder says of itself: read with care, since the folder may come from anybody."""

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from svae.configuration import checks, compose, trusted
from svae.configuration.compare import since
from svae.configuration.suggestions import shown
from svae.recording.files import read_own

if TYPE_CHECKING:
    import numpy as np

# OmegaConf only asserts that a file holds a list or keys
_UNREADABLE = (ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError, AssertionError)
_LARGEST = 2**18  # bytes; a record has a few thousand
_DEEPEST = 64  # lists and keys in one another; a record has a few
FORMAT = 1  # of config.yaml; files of before have no number and the same keys


def saved_overrides(path: Path) -> list[str]:
    """Return what was typed when the run in `path` began: words to show, never composed again.

    Raises:
        ValueError: when the folder holds no run.
    """
    file = path / ".hydra" / "overrides.yaml"
    lines = read_plain(file, path)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"{file}: expected a list of overrides")
    return lines


def saved_values(path: Path) -> dict[str, Any]:
    """Return the configuration of the run in `path`, plain values, references as they stand.

    Raises:
        ValueError: when the folder holds no run, or one of a later version of this program.
    """
    file = path / "config.yaml"
    content = read_plain(file, path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file}: expected a configuration")
    number = content.pop("format", 0)
    if type(number) is not int or not 0 <= number <= FORMAT:  # true is an int, too
        raise ValueError(f"{file}: format {number}, and this version of svae reads up to {FORMAT}")
    return content


def saved_config(path: Path) -> DictConfig:
    """Return the configuration of the run in `path`, references replaced by what they refer to.

    Raises:
        ValueError: when the folder holds no run, or a reference is not `settled`.
    """
    return OmegaConf.create(settled(saved_values(path), path / "config.yaml"))


def reopened(path: Path, changes: Mapping[str, Any]) -> DictConfig:
    """Return what the run in `path` goes on with: its own values, and `changes` laid over them.

    Nothing is composed: neither the defaults of today nor a file that the folder names have a part
    in it. A key that came in since has the value that means what the run did.

    Raises:
        ValueError: when the folder holds no run, when a name in it is not trusted, or when a value
            is not what its key takes.
    """
    values, file = saved_values(path), path / "config.yaml"
    for key, value in {**since(values), **changes}.items():
        _put(values, key, value)
    config = OmegaConf.create(settled(values, file))
    trusted.refuse_foreign(OmegaConf.to_container(config, resolve=False), str(file))
    checks.check(compose.public(config))
    compose.check_file(config)
    return config


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *groups, leaf = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ValueError(f"{group}: expected keys under it, got {shown(values)}")
    values[leaf] = value


# where a reference to the environment may stand: paths, and the words that the logger is given
ENVIRONMENT_KEYS = (
    *("dataset.root", "dataset.file"),
    *("logger.project", "logger.entity", "logger.name", "logger.tags"),
)
_MOST_REFERENCES = 100  # of a file, counted as often as they are followed; a record has about five
_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+(,[^${}]*)?\}")
_REFERENCE = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")


def settled(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return `values` with each `${key}` replaced by the value of that key of the same file.

    Nothing else that OmegaConf would resolve is left, but `${oc.env:NAME}` in `ENVIRONMENT_KEYS`.
    `${folder}` in dataset.file is the folder of the run, which holds the data of `svae.fit`.

    Raises:
        ValueError: for any other reference, and for one to a key that is not there, to a group of
            keys, or to itself.
    """
    return _Settling(values, file).node("", values)


class _Settling:
    def __init__(self, values: dict[str, Any], file: Path):
        self._values, self._file, self._left = values, file, _MOST_REFERENCES

    def node(self, key: str, value: Any) -> Any:
        """Return what stands at `key`, settled."""
        if isinstance(value, dict):
            return {k: self.node(f"{key}.{k}" if key else str(k), v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.node(key, item) for item in value]
        return self._text(key, value) if isinstance(value, str) and "${" in value else value

    def _text(self, key: str, text: str) -> Any:
        if whole := _REFERENCE.fullmatch(text):
            found = self._referred(key, whole[1])
            # each of several replicas has a seed of its own
            return text if whole[1] == "seed" else found
        replaced = _REFERENCE.sub(lambda match: str(self._referred(key, match[1])), text)
        allowed = _ENVIRONMENT.sub("", replaced) if self._may_read(key) else replaced
        # of the text, too, so that no reference is put together of pieces
        is_pieced = text.count("${oc.env:") != replaced.count("${oc.env:")
        if "${" in allowed or "\\" in replaced or is_pieced:
            self._refuse(key, text)
        return replaced

    def _referred(self, key: str, name: str) -> Any:
        self._left -= 1  # references to references double what they stand for
        if (key, name) == ("dataset.file", "folder") and self._left >= 0:
            return str(self._file.parent.absolute())
        value = self._values
        for part in name.split("."):
            value = value.get(part, self) if isinstance(value, dict) else self
        if value is self or isinstance(value, dict) or self._left < 0:
            self._refuse(key, f"${{{name}}}")
        try:
            found = self.node(name, value)
        except RecursionError:  # a circle of lists
            self._refuse(key, f"${{{name}}}")
        if "${" in str(found):  # the environment belongs to the key that names it
            self._refuse(key, f"${{{name}}}")
        return found

    def _may_read(self, key: str) -> bool:
        """Tell whether the environment may be read at `key`: also by a data set of one's own."""
        if key in ENVIRONMENT_KEYS:
            return True
        dataset = self._values.get("dataset")
        name = dataset.get("_target_") if isinstance(dataset, dict) else None
        is_vouched = trusted.is_trusted(name) and name not in trusted.own_names()
        return key.startswith("dataset.") and key != "dataset._target_" and is_vouched

    def _refuse(self, key: str, text: str) -> None:
        raise ValueError(
            f"{self._file}: {key}: {text} is not allowed in a run folder, expected a value, or "
            "${KEY} of a value in the same file"
        )


def read_plain(file: Path, folder: Path) -> Any:
    """Return what stands in a YAML file: plain values, no tags that make objects, no aliases.

    Raises:
        ValueError: when it stands for anything else, or cannot be read.
    """
    name = file.relative_to(folder)
    try:
        content = read_own(folder, str(name))
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a run folder, found no readable {name} in it ({error.strerror})"
        ) from None
    if len(content) > _LARGEST:
        raise ValueError(f"{file}: expected at most {_LARGEST} bytes")
    try:
        text = content.decode()
        _refuse_costly(file, text)
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except _UNREADABLE as error:
        raise ValueError(f"{file}: expected YAML ({' '.join(str(error).split())})") from None


def _refuse_costly(file: Path, text: str) -> None:
    """Refuse what costs much to read, and this program never writes."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):  # a few aliases of aliases fill any memory
            raise ValueError(f"{file}: YAML aliases are not allowed in a run folder")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:  # the parser takes seconds for some thousands
            raise ValueError(
                f"{file}: YAML nested deeper than {_DEEPEST} is not allowed in a run folder"
            )


def read_history(path: Path) -> list[dict[str, float]]:
    """Return a row per epoch, from metrics.csv; a column that came in later begins with nan.

    A line without an end is a row that was being written, and no row yet.
    """

    def parse(content: bytes) -> list[dict[str, float]]:
        found, seen = [], set()
        text = content.decode()
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            seen |= {name for name, value in row.items() if value}
            found.append({name: float(row[name]) if name in seen else math.nan for name in row})
        if found and (empty := set(found[0]) - seen):
            raise ValueError(f"{min(empty)} is empty")
        return found

    return _read(path / "metrics.csv", "a row of numbers per epoch", parse) or []


def read_results(path: Path) -> dict[str, Any]:
    """Return the final numbers, from results.json; an integer too large for a float is infinite."""

    def parse(content: bytes) -> dict[str, Any]:
        found = json.loads(content, parse_int=lambda n: int(n) if len(n) < 300 else float(n))
        if not isinstance(found, dict):
            raise TypeError(f"got a {type(found).__name__}")
        return found

    return _read(path / "results.json", "results by name", parse) or {}


def read_latents(path: Path) -> dict[str, "np.ndarray"]:
    """Return the arrays of latents.npz by name."""

    def parse(content: bytes) -> dict[str, "np.ndarray"]:
        import numpy as np

        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # a run does not compress: what does may fill any memory
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("compressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    return _read(path / "latents.npz", "arrays by name", parse) or {}


def _read(file: Path, expected: str, parse: Callable[[bytes], Any]) -> Any:
    """Return what `parse` finds in a file of a run, None before the run has come so far.

    Raises:
        ValueError: when it cannot be read.
    """
    try:
        return parse(read_own(file.parent, file.name))
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file fails in every way: BadZipFile, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file}: expected {expected} ({reason})") from None
