"""What a run folder says was asked: read with care, since the folder may come from anybody."""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from svae.configuration import CONF

# OmegaConf only asserts that a file holds a list or keys
_UNREADABLE = (
    UnicodeError,
    yaml.YAMLError,
    OmegaConfBaseException,
    RecursionError,
    AssertionError,
)
_LARGEST = 2**18  # bytes; a record has a few thousand


def saved_overrides(path: Path) -> list[str]:
    """Return what was typed when the run in `path` began.

    Raises:
        ValueError: when the folder holds no run, or the record could run code or write elsewhere.
    """
    file = path / ".hydra" / "overrides.yaml"
    lines = read_plain(file, path)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"{file}: expected a list of overrides")
    for line in lines:
        key = line.split("=", 1)[0].lstrip("+~")
        if re.match(r"hydra\b", key) or "@" in key or "_target_" in line:
            raise ValueError(f"{file}: the saved override {line} is not allowed in a run folder")
    return lines


def saved_config(path: Path) -> DictConfig:
    """Return the composed configuration of the run in `path`.

    Raises:
        ValueError: when the folder holds no run, or the record names code that is not ours.
    """
    file = path / "config.yaml"
    content = read_plain(file, path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file}: expected a configuration")
    _refuse_foreign_targets(content, _own_targets(), file)
    return OmegaConf.create(content)


def read_plain(file: Path, folder: Path) -> Any:
    """Return what stands in a YAML file: plain values, no tags that make objects, no aliases.

    Raises:
        ValueError: when it stands for anything else, or cannot be read.
    """
    name = file.relative_to(folder)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a run folder, found no readable {name} in it ({error.strerror})"
        ) from None
    if len(content) > _LARGEST:
        raise ValueError(f"{file}: expected at most {_LARGEST} bytes")
    try:
        # a few aliases of aliases fill any memory; what this program writes has none
        text = content.decode()
        aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        parsed = {} if aliases else OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except _UNREADABLE as error:
        raise ValueError(f"{file}: expected YAML ({_one_line(error)})") from None
    if aliases:
        raise ValueError(f"{file}: YAML aliases are not allowed in a run folder")
    return parsed


def _own_targets() -> set[str]:
    """Return every `_target_` of the shipped configuration.

    Not whatever begins with `svae.`: `svae.data.array.zipfile.os.system` does, too.
    """
    text = "".join(file.read_text() for file in CONF.rglob("*.yaml"))
    return set(re.findall(r"_target_: *(\S+)", text))


def _refuse_foreign_targets(node: Any, own: set[str], file: Path) -> None:
    """Refuse a record that could run code of others, such as `_target_: os.system`."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in children:
        if key == "_target_" and str(value) not in own:
            raise ValueError(f"{file}: _target_ {value} is not allowed in a run folder")
        if isinstance(value, dict | list):
            _refuse_foreign_targets(value, own, file)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
