"""What a study gives."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Findings:
    """Tables (rows of equal keys) by name, figures to be drawn by name, and numbers by name."""

    tables: dict[str, list[dict]]
    figures: dict[str, Callable] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)
