"""The report of sweeps made again.

    python -m svae.report DIR [DIR ...]

reads the run folders below DIR and puts report.html and summary.csv into the first of them.
"""

import sys
from pathlib import Path

from svae.recording import terminal
from svae.report import summary


def main() -> None:
    """Make the report of the folders that were given; exits 2 when they hold no runs."""
    terminal.prepare()
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m svae.report DIR [DIR ...]")
    try:
        summary.make([Path(argument) for argument in sys.argv[1:]])
    except (ValueError, OSError) as error:
        print(f"svae.report: {terminal.visible(str(error))}", file=sys.stderr)
        sys.exit(2)


main()
