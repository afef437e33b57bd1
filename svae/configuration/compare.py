"""Two configurations side by side: one of a run that has begun, and one of now."""

from collections.abc import Collection, Iterable
from typing import Any

from svae.configuration.checks import is_unread, key_of, needed
from svae.configuration.schema import ALWAYS, KEYS, flatten
from svae.configuration.suggestions import shown
from svae.configuration.words import GROUPS

# what runs did before these keys came in
_BEFORE = {name: key.before for name, key in sorted(KEYS.items()) if key.before is not ALWAYS}
# groups whose choice reaches beyond their own keys
_CHOOSES_MORE = ("experiment", "dataset", "search", "cluster")


def since(values: dict) -> dict[str, Any]:
    """Return what a configuration lacks of the keys that came in later, with what such a run did.

    The classes of `model` and `network` have that as their defaults.
    """
    return come_since(values, dict.fromkeys(needed(flatten(values))))


def come_since(before: dict, after: dict) -> dict[str, Any]:
    """Return the keys of `after` that came in since `before`, with what such a run did."""
    had, has = flatten(before), flatten(after)
    came = {k: v for k, v in _BEFORE.items() if k in has and k not in had}
    return {k: v for k, v in came.items() if not is_unread(after, k)}


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


def retyped(before: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    """Return how the keys begin on which other values, or no longer the same ones, were typed."""
    keys = {key_of(line) for line in {*before} ^ {*now}}
    words = {key: f"{key}." if key in GROUPS else key for key in keys}
    return tuple("" if key in _CHOOSES_MORE else word for key, word in sorted(words.items()))
