"""What a study gives."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Findings:
    """Tables (rows of equal keys), figures to be drawn and numbers, by name; what they say."""

    tables: dict[str, list[dict]]
    figures: dict[str, Callable]
    results: dict[str, float]
    verdict: str
