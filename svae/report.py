"""Many runs to one report."""

from pathlib import Path


def make(folders: list[Path]) -> None:
    """Write summary.csv and report.html."""
