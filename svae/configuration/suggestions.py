"""What somebody may have meant: the nearest key, group or value."""

import difflib
from collections.abc import Iterable
from typing import Any

from svae.configuration.schema import GROUPS, KEYS, options

_BY_DATASET = ("network", "trainer", "evaluation")  # groups that a data set chooses


def of_key(name: str) -> str:
    """Return what helps after "no such key": the nearest key or group, or nothing."""
    if name in KEYS:
        group = name.split(".")[0]
        chosen = ", which the dataset chooses" if group in _BY_DATASET else ""
        return f" for this {group}{chosen}"
    group, _, word = name.rpartition(".")
    known = KEYS if group else (*KEYS, *GROUPS)
    return _question(_also(word, group) or _also(word) or _nearest(name, known))


def of_value(name: str, value: Any) -> str:
    """Return "; did you mean ...?" with the nearest value that the key takes, or nothing."""
    key, word = KEYS[name], shown(value)
    return _question(key.words.get(word) or _nearest(word, options(key.type)))


def of_option(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest of the known words, or nothing."""
    return _question(_nearest(word.lower(), known))


def _question(word: str | None) -> str:
    return f"; did you mean {word}?" if word else ""


def _also(word: str, group: str = "") -> str | None:
    """Return the key of a group, or any, that people call `word`."""
    rows = KEYS.items()
    return next((n for n, key in rows if n.startswith(group) and word in key.also.split()), None)


def _nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the name that looks most like `word`, whole or at its end; None when none does."""
    known = list(known)
    if found := difflib.get_close_matches(word, known, 1, 0.6):
        return found[0]
    last = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    found = difflib.get_close_matches(word.rsplit(".", 1)[-1], last, 1, 0.75)
    return last[found[0]] if found else None


def shown(value: Any) -> str:
    """Return the value as a person types it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
