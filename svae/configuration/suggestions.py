"""What somebody may have meant: the nearest key, group or value."""

import difflib
import re
import shlex
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from svae.configuration import CONF
from svae.configuration.schema import KEYS, options, takes
from svae.configuration.words import ALSO, GROUPS, LAUNCHERS

_NOT_TYPED = ("dataset=stored",)  # svae.fit chooses it


def of_key(name: str, value: str = "", there: Collection[str] | None = None) -> str:
    """Return what helps after "no such key": the nearest key or group, or nothing.

    Args:
        name: the key that was typed.
        value: what was typed for it; where it is a word of the key that is meant, that is shown.
        there: the keys that the configuration has; one of these is meant rather than another.
    """
    if choice := _choice(name, value):
        return choice
    if name in KEYS:
        group, kind = name.split(".")[0], KEYS[name].only
        if kind:
            return f" here, it is for {kind}{_question(_twin(name, there or ()))}"
        return f" for this {group}{_only(name, ', only {} it')}"
    there = KEYS if there is None else there
    if meant := _key(name, there):
        has = _only(meant, ", which only {}") if meant in KEYS and meant not in there else ""
        return _question(f"{meant}{_word(meant, value)}{has}")
    return ""


def key_meant(name: str) -> str | None:
    """Return the key, group or flag that is called so, or that is meant by it."""
    is_key = name in KEYS or name in GROUPS or name.startswith("hydra.")
    return name if is_key else _key(name, KEYS)


def flag_meant(word: str) -> str | None:
    """Return the flag that a word without a value stands for."""
    meant = _elsewhere(word.lower()) or ""
    return meant if meant.startswith("-") else None


def _key(name: str, there: Collection[str]) -> str | None:
    """Return what is meant by `name`: a key of those that are `there` rather than another."""
    name = name.lower()
    if meant := _elsewhere(name):
        return meant
    group, _, word = name.rpartition(".")
    for known in (there, KEYS):
        if meant := _also(word, known, group) or _also(word, known):
            return meant
    if meant := _elsewhere(word):
        return meant
    for known in (there, KEYS):
        every = known if group else (*known, *GROUPS)
        if meant := _beside(word, known, group) or _nearest(name, every, 0.85 if group else 0.6):
            return meant
    return None


def _elsewhere(name: str) -> str | None:
    """Return what is no key, or a key with a value, that people call `name`."""
    return next((meant for meant, names in ALSO.items() if name in names.split()), None)


def _beside(word: str, known: Collection[str], group: str) -> str | None:
    """Return the key of the group of which the last part looks most like `word`."""
    last = [name.rpartition(".") for name in known]
    own = [leaf for place, _, leaf in last if place == group and leaf != "_target_"]
    found = difflib.get_close_matches(word, own, 1, 0.6) if group else ()
    return f"{group}.{found[0]}" if found else None


def _word(name: str, value: str) -> str:
    """Return "=word" of a key or group where `value` is one of its words or stands for one."""
    if name.startswith("hydra.") or (name in GROUPS and (CONF / name / f"{value}.yaml").exists()):
        return f"={value}" if value else ""
    if name not in KEYS:
        return ""
    word = KEYS[name].words.get(value.lower(), value)
    return f"={word}" if word in options(KEYS[name].type) or word != value else ""


def _choice(name: str, value: str) -> str:
    """Return "; did you mean GROUP=value?" where key.name=value names a choice of any group."""
    key, _, leaf = name.partition(".")
    is_name = leaf in ("name", "type", "kind", "_target_") and key in GROUPS
    group = group_with(value.lower(), key) if is_name else None
    return _question(group and f"{group}={value.lower()}")


def group_with(choice: str, first: str = "") -> str | None:
    """Return the group that has this choice: `first` where it has it, else any other."""
    groups = (group for group in (first, *GROUPS) if group)
    return next((group for group in groups if (CONF / group / f"{choice}.yaml").exists()), None)


def _twin(name: str, there: Collection[str]) -> str | None:
    """Return the key that has the place of one that is for the other kind of data."""
    group, _, leaf = name.rpartition(".")
    last = [key.removeprefix(f"{group}.") for key in there if key.startswith(f"{group}.")]
    found = (own for own in last if own.endswith(f"_{leaf}") or leaf.endswith(f"_{own}"))
    return next((f"{group}.{own}" for own in found), None)


@cache
def _only(name: str, words: str) -> str:
    """Return `words` with "GROUP=A, GROUP=B and GROUP=C have", the choices with this key; or ""."""
    group, _, leaf = name.partition(".")
    line = re.compile(rf"^ *{re.escape(leaf)}:", re.MULTILINE)
    files = sorted((CONF / group).glob("*.yaml"))
    found = [f"{group}={file.stem}" for file in files if line.search(file.read_text("utf-8"))]
    found = [choice for choice in found if choice not in _NOT_TYPED]
    if len(found) < 2:
        return words.format(f"{found[0]} has") if found else ""
    return words.format(f"{', '.join(found[:-1])} and {found[-1]} have")


def of_value(name: str, value: Any) -> str:
    """Return "; did you mean ...?" with the nearest value that the key takes, or nothing."""
    key, word = KEYS[name], shown(value)
    meant = key.words.get(word.lower()) or _same(name, value) or _several(name, value)
    return _question(meant or _nearest(word.lower(), options(key.type)) or _text(name, value))


def _same(name: str, value: Any) -> str | None:
    """Return what is the same value in the words or the numbers that the key takes."""
    if isinstance(value, str):
        return value.lower() if takes(name, value.lower()) and not takes(name, "any") else None
    is_whole = isinstance(value, float) and value.is_integer() and takes(name, int(value))
    return str(int(value)) if is_whole else None


_RANGE = re.compile(r"(\d{1,9})(?:\.\.\.?|-|:)(\d{1,9})")


def _several(name: str, value: Any) -> str | None:
    """Return how several values are typed that look like a list or like 0..3."""
    if isinstance(value, list) and value and all(takes(name, item) for item in value):
        return f"-m {name}={','.join(map(shown, value))}"
    if value is not None and takes(name, [value]):
        return f"{name}=[{shown(value)}]"
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if found and takes(name, int(found[1])):
        return f"-m '{name}=range({found[1]},{int(found[2]) + 1})'"
    return None


def _text(name: str, value: Any) -> str | None:
    """Return how a text is typed that reads as a number or a switch."""
    is_other = isinstance(value, bool | int | float)
    if is_other and takes(name, shown(value)) and takes(name, "any"):
        return in_quotes(name, shown(value))
    return None


def in_quotes(key: str, text: str) -> str:
    """Return how key=text is typed in a shell, whatever the text is."""
    escaped = re.sub(r'(\\*)("|\Z)', r"\1\1\2", text).replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def of_option(word: str, known: Iterable[str], group: str = "") -> str:
    """Return "; did you mean ...?" with the nearest of the known choices, or nothing."""
    meant = {**GROUPS, "hydra/launcher": LAUNCHERS}.get(group, {}).get(word.lower())
    if group == "dataset" and re.search(r"[/.~]", word):
        kind = "directions" if word.lower().endswith((".csv", ".txt")) else "array"
        meant = f"dataset={kind} dataset.file={word}"
    word = word.lower()
    if not meant and word not in known and (other := group_with(word)):
        meant = f"{other}={word}"
    return _question(meant or _nearest(word, known))


def _question(word: str | None) -> str:
    return f"; did you mean {word}?" if word else ""


def _also(word: str, known: Collection[str], group: str = "") -> str | None:
    """Return the key of a group, or any, that people call `word`."""
    rows = ((name, key) for name, key in KEYS.items() if name in known)
    return next((n for n, key in rows if n.startswith(group) and word in key.also.split()), None)


def _nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the name that looks most like `word`, whole or at its end; None when none does."""
    known = list(known)
    if found := difflib.get_close_matches(word, known, 1, likeness):
        return found[0]
    last = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    found = difflib.get_close_matches(word.rsplit(".", 1)[-1], last, 1, 0.75)
    return last[found[0]] if found else None


def shown(value: Any) -> str:
    """Return the value as a person types it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
