"""What can be asked of the method besides one training: `experiment=NAME` with a `study` key.

A study is an object made from the keys under `study`, and called with the configuration, the
device and a function that shows progress; it returns `Findings` and writes nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Findings:
    """Tables (rows of equal keys), figures to be drawn and numbers, by name; what they say."""

    tables: dict[str, list[dict]]
    figures: dict[str, Callable]
    results: dict[str, float]
    verdict: str
