"""The tables of docs/results*.md and docs/images.md, from the rows of docs/results/mnist.csv.

    python -m benchmarks.tables FOLDER ...    adds a row for each finished run below the folders
    python -m benchmarks.tables               writes tables and figure again

Which runs become rows is said in `benchmarks.rows`. Rows that no table asks for, as those of
`model=power_spherical`, stand in the file alone. Between `<!-- NAME -->` and `<!-- end -->` those
pages are written here, the rest by people.
"""

import sys
from pathlib import Path

from benchmarks.cells import render
from benchmarks.convolutions import conv
from benchmarks.families import families, figure
from benchmarks.paper import beyond, fast1, fast2, table1, table2
from benchmarks.questions import isotropic, surface
from benchmarks.rows import ROOT, collect
from svae.recording.files import write_text

DOCS = ROOT / "docs"
PAGES = {
    DOCS / "results.md": (table1, table2, fast1, fast2, beyond),
    DOCS / "results-questions.md": (surface, isotropic),
    DOCS / "results-families.md": (families,),
    DOCS / "images.md": (conv,),
}


def main() -> None:
    """Add the rows of the folders that were given and write tables and figure."""
    try:
        rows = collect(map(Path, sys.argv[1:]))
        for page, tables in PAGES.items():
            write_text(page, render(page.read_text(), rows, tables))
        figure(rows)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
