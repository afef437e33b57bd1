"""The grid of a sweep: the values of each key, and all combinations of them."""

import itertools
import math
import random
import re
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)

from svae.configuration.messages import Refused, one_line

NAMES = ("grid", "basic")  # the sweepers whose runs are known beforehand: ours, and Hydra's
_MOST = 10_000  # runs of a sweep


def quoted(override: Override) -> str:
    """Return an override with the quotes that Hydra's choice('a,b') loses, and in a drawn order.

    Without them a text with a comma is several values, and one with an accent cannot be read. What
    shuffle() draws is drawn once: the jobs have the order in which they were checked.
    """
    sweep = override.value()
    is_bare = isinstance(sweep, ChoiceSweep) and any(map(_needs_quotes, sweep.list))
    if not (is_bare or getattr(sweep, "shuffle", False)):
        return override.input_line
    return f"{override.get_key_element()}={','.join(_discrete(override))}"


def _needs_quotes(value: Any) -> bool:
    """Tell whether Hydra takes a text without quotes for something else."""
    if not isinstance(value, str) or value in ("true", "false", "null", "nan", "inf"):
        return isinstance(value, str)
    return re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII) is None


def values(overrides: list[Override], searches: bool = False) -> list[list[str]]:
    """Return the values of each key as overrides; what is typed last replaces what came before.

    In a sweep that `searches`, the keys of which it draws values have none here.
    """
    found = {}
    for o in overrides:
        key = o.get_key_element()
        if not o.is_sweep_override():
            found[key] = [f"{key}={o.get_value_element_as_str()}"]
        elif o.is_discrete_sweep():
            found[key] = [f"{key}={value}" for value in _discrete(o)]
        elif searches:
            found[key] = []
        else:
            raise Refused(
                f"{o.input_line}: an interval needs a sweeper that draws from it, expected values "
                "such as a,b or range(1,5)"
            )
    kept = [lines for lines in found.values() if lines]
    runs = math.prod(map(len, kept))
    if runs > _MOST and not searches:
        raise Refused(f"--multirun: {runs} runs, expected at most {_MOST}")
    return kept


def _discrete(override: Override) -> list[str]:
    try:
        found = [_word(value) for value in _first(override)]
    except (ValueError, TypeError) as error:  # such as a step of 0
        raise Refused(f"{override.input_line}: {one_line(error)}") from error
    if not 1 <= len(found) <= _MOST:
        count = f"more than {_MOST} values" if found else "no value"
        raise Refused(f"{override.input_line}: {count}, expected 1 to {_MOST}")
    kept = set()
    for value in found:
        if (own := _read(value)) in kept:
            raise Refused(f"{override.input_line}: {value} is there twice, expected it once")
        kept.add(own)
    return found


def _first(override: Override) -> list[Any]:
    """Return the values of a sweep, of too many only so many that it is known."""
    sweep = override.value()
    if not isinstance(sweep, RangeSweep):
        every = override.sweep_iterator(transformer=Transformer.identity)
        return list(itertools.islice(every, _MOST + 1))
    found = list(itertools.islice(sweep.range(), _MOST + 1))  # Hydra would shuffle all of them
    if sweep.shuffle:
        random.shuffle(found)
    return found


def _word(value: Any) -> str:
    if _needs_quotes(value):
        return QuotedString(value, Quote.single).with_quotes()
    return Transformer.str(value)


def _read(value: str) -> float | str:
    """Return what tells a value from others: 1e-3 is 0.001."""
    try:
        return float(value)
    except ValueError:
        return value


def jobs(values: list[list[str]]) -> list[list[str]]:
    """Return the overrides of each job; the values that were typed last vary fastest."""
    return [list(job) for job in itertools.product(*values)]
