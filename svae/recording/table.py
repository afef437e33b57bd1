"""metrics.csv of a run at work: rows are appended, and last.pt says how many of them count.

Rows are on the disk before last.pt has their number and hash. What stands behind those, rows of
epochs that no checkpoint was written of or a part of a row, is cut off when the run goes on.
"""

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

from svae.recording.files import (
    columns_of,
    csv_text,
    read_own,
    write_table,
    write_within,
)

_LAST = "seconds"  # the column at the end


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file that count, the first `rows` of it: `size` bytes with the names on top.

    An empty one takes the place of whatever the file holds when it gets its first rows.
    """

    path: Path
    columns: list[str] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        """The hash of the rows, whatever their columns are: a later version may add some."""
        return self._hash.hexdigest()

    def appended(self, rows: list[dict]) -> "Table":
        """Return the table with `rows` at its end, which are then on the disk.

        Repeated after a failure or an interruption, it writes the same to the same place.

        Raises:
            OSError: when the disk is full or the file is gone; it is then no shorter than it was.
        """
        columns = columns_of([dict.fromkeys(self.columns), *rows], _LAST)
        if columns != self.columns:
            return self._widened(columns, rows)
        lines = csv_text(columns, rows).encode()
        write_within(self.path, self.size, lines)
        return self._longer(columns, rows, self.size + len(lines))

    def _widened(self, columns: list[str], rows: list[dict]) -> "Table":
        """Return the table with other columns, in a file that is written anew."""
        earlier = (
            _parsed(read_own(self.path.parent, self.path.name)[: self.size]) if self.rows else []
        )
        write_table(self.path, [*earlier, *rows], _LAST)
        return self._longer(columns, rows, self.path.stat().st_size)

    def _longer(self, columns: list[str], rows: list[dict], size: int) -> "Table":
        whole = _hashed(self._hash.copy(), rows)
        return Table(self.path, columns, self.rows + len(rows), size, whole)


def read(path: Path, rows: int, sha256: str) -> list[dict]:
    """Return the first `rows` rows of a table, whose hash is `sha256`.

    Raises:
        ValueError: when there are fewer or other ones, or the file cannot be read.
    """
    try:
        lines = read_own(path.parent, path.name).splitlines(keepends=True)
        found = _parsed(b"".join(lines[: rows + 1]))  # of what is behind them nothing is known
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # anybody may have written to it
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: expected a row of numbers per epoch ({reason})") from None
    if len(found) < rows:
        raise ValueError(
            f"{path}: holds {len(found)} epochs and last.pt {rows}, expected the file as the run "
            "left it"
        )
    if _hashed(hashlib.sha256(), found).hexdigest() != sha256:
        raise ValueError(
            f"{path}: its first {rows} epochs are not those of last.pt, expected the file as the "
            "run left it"
        )
    return found


def _parsed(content: bytes) -> list[dict]:
    lines = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [{name: _number(text) for name, text in row.items() if text} for row in lines]


def _number(text: str) -> int | float:
    """Return what `text` was written of, to the bit."""
    return int(text) if text.isdecimal() else float(text)


def _hashed(found: "hashlib._Hash", rows: list[dict]) -> "hashlib._Hash":
    """Take the rows into a hash; in which columns they stand makes no difference."""
    for row in rows:
        found.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return found
