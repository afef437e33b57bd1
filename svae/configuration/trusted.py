"""Which names a configuration may turn into objects, and who vouches for them.

A configuration names classes (`_target_`), and to build one is to run its code. So a name passes
only if a file of this package's own configuration holds it, or if somebody at this command line
vouches for it: by a `--config-dir DIR`, for all names that the files of DIR hold, or by typing it.
What a run folder says vouches for nothing.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from svae.configuration import CONF
from svae.configuration.words import GROUPS

# of a thread, since others may run beside it
_vouched: ContextVar[frozenset[str]] = ContextVar("vouched", default=frozenset())


@contextmanager
def vouching(
    folders: str | Path | Iterable[str | Path] = (), typed: Iterable[str] = ()
) -> Iterator[None]:
    """Trust, while the block runs, the names in the files of `folders` and in what was `typed`.

    Other threads do not.

    Modules that lie in the folders can be imported from then on, after all others: none of them
    takes the place of an installed one.

    Raises:
        ValueError: when one of the folders is none.
    """
    several = [folders] if isinstance(folders, str | Path) else folders
    folders = [Path(os.path.expanduser(folder)).absolute() for folder in several]
    for folder in folders:
        if not os.path.isdir(folder):
            raise ValueError(f"{folder}: expected a folder of configuration to trust")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    named = [_named_in(folder) for folder in folders]
    names = (name for line in typed for name in _TYPED.findall(line))
    before = _vouched.set(_vouched.get().union(*named, names))
    try:
        yield
    finally:
        _vouched.reset(before)


_TYPED = re.compile(r"_target_[=:]\s*['\"]?([\w.]+)")


def refuse_foreign(values: Any, where: str) -> None:
    """Refuse values of which a `_target_` names what nobody vouches for.

    Raises:
        ValueError: one sentence that names it, `where` it stands and how to vouch for it.
    """
    if not isinstance(values, dict | list):
        return
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if key == "_target_" and not is_trusted(value):
            raise ValueError(
                f"{where}: _target_ {value} is no class that this package configures; if you trust "
                "it, vouch for it by --config-dir DIR (in Python by trust=[DIR]), DIR the folder "
                "whose files name it"
            )
        refuse_foreign(value, where)


def is_trusted(name: Any) -> bool:
    """Tell whether an object of this name may be made in this thread."""
    return isinstance(name, str) and (name in own_names() or name in _vouched.get())


@cache
def own_names() -> frozenset[str]:
    """Return every name of the package's own configuration.

    Not whatever begins with `svae.`: `svae.data.array.zipfile.os.system` does, too.
    """
    return _named_in(CONF)


def _named_in(folder: Path) -> frozenset[str]:
    """Return the names in the files of `folder` that choose for a group, or that lie at its top.

    Not in others: runs and downloads that lie below it are as foreign as elsewhere.
    """
    names = set()
    groups = (file for group in GROUPS for file in (folder / group).rglob("*.yaml"))
    for file in (*folder.glob("*.yaml"), *groups):
        if _lies_in_a_run(file, folder):
            continue
        try:
            names |= _targets(yaml.safe_load(file.read_text("utf-8")))
        except (OSError, UnicodeError, yaml.YAMLError):
            continue  # what reads it for its values says what is wrong with it
    return frozenset(names)


def _lies_in_a_run(file: Path, folder: Path) -> bool:
    inside = [parent for parent in file.parents if parent.is_relative_to(folder)]
    return any((parent / "status.json").exists() for parent in inside)


def _targets(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_targets, node))
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
    return own.union(*map(_targets, node.values()))
