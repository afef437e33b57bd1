"""Two configurations side by side: one of a run that has begun, and one of now."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from svae.configuration.schema import ALWAYS, BUILT, GROUPS, KEYS
from svae.configuration.suggestions import shown

# what runs did before these keys came in
_BEFORE = {name: key.before for name, key in sorted(KEYS.items()) if key.before is not ALWAYS}
# what every study reads
_READ = ("experiment", "hydra", "resume", "evaluate", "report")
# groups whose choice reaches beyond their own keys
_CHOOSES_MORE = ("experiment", "dataset", "search", "cluster")


def flatten(config: dict, prefix: str = "") -> dict[str, Any]:
    """Return {"trainer.samples": 1, ...}: the leaves of nested mappings by their dotted keys."""
    leaves = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return leaves


def of_kind(kind: str) -> set[str]:
    """Return the keys that only data of a kind has a use for, vectors or graphs."""
    return {name for name, key in KEYS.items() if key.only == kind}


def needed(flat: dict[str, Any]) -> set[str]:
    """Return the keys that a configuration needs: all but those of the other kind of data.

    Those of the classes that it builds have defaults there.
    """
    other = of_kind("vectors" if of_kind("graphs") & flat.keys() else "graphs")
    return {name for name in KEYS if not name.startswith(BUILT)} - other


def since(values: dict) -> dict[str, Any]:
    """Return what a configuration lacks of the keys that came in later, with what such a run did.

    The classes of `model` and `network` have that as their defaults.
    """
    flat = flatten(values)
    missing = needed(flat) - flat.keys()
    return {name: value for name, value in _BEFORE.items() if name in missing}


def come_since(before: dict, after: dict) -> dict[str, Any]:
    """Return the keys of `after` that came in since `before`, with what such a run did."""
    had, has = flatten(before), flatten(after)
    came = {k: v for k, v in _BEFORE.items() if k in has and k not in had}
    return {k: v for k, v in came.items() if not is_unread(after, k)}


def is_unread(config: dict, key: str) -> bool:
    """Tell whether `config` is of a study that a key or group has no effect on."""
    study = config.get("study")
    return bool(study) and re.split(r"[./]", key)[0] not in (*_READ, *study.get("reads", ()))


def difference(
    before: dict, after: dict, free: Collection[str], among: tuple[str, ...] = ("",)
) -> str | None:
    """Return in which key a run's configuration differs from the one it began with, or None.

    Looks `among` the keys that start with one of these words, but for those that are `free`.
    """
    began, now = come_since(before, after) | flatten(before), flatten(after)
    for key in sorted(began.keys() | now.keys()):
        old, new = began.get(key), now.get(key)
        if old == new or key in free or is_unread(after, key):
            continue
        if key.startswith(among):
            return f"{key} was {shown(old)} when the run began and is {shown(new)} now"
    return None


def key_of(line: str) -> str:
    """Return the key or group that an override is of."""
    return re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0]


def retyped(before: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    """Return how the keys begin on which other values, or no longer the same ones, were typed."""
    keys = {key_of(line) for line in {*before} ^ {*now}}
    words = {key: f"{key}." if key in GROUPS else key for key in keys}
    return tuple("" if key in _CHOOSES_MORE else word for key, word in sorted(words.items()))
