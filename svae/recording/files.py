"""Files of a run folder: written so that they are the old or the new ones, read with care."""

import contextlib
import csv
import errno
import fnmatch
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a temporary file beside `path`, flush it to the disk and rename it.

    Raises:
        OSError: when the disk is full or the folder is gone; `path` is then what it was.
    """
    with atomically(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream; what is written to it is then in `path`, all of it or nothing.

    Raises:
        OSError: as `write_atomically` does.
    """
    descriptor, temporary = tempfile.mkstemp(_SUFFIX, f".{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_own(folder: Path, name: str) -> bytes:
    """Return what the file `name` of a run folder holds, which may come from anybody.

    Raises:
        OSError: when it cannot be read, is a link or lies behind one, or is a device or a pipe.
    """
    file = folder / name
    if file.is_symlink() or (file.parent != folder and file.parent.is_symlink()):
        raise OSError(errno.ELOOP, "links are not allowed in a run folder", str(file))
    # a pipe without a writer would be waited for
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(file))
        return stream.read()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically; what is no character, as in a path, is written out."""
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def write_within(path: Path, offset: int, content: bytes) -> None:
    """Let `content` be what `path` holds from the byte `offset` on, flushed to the disk.

    Raises:
        OSError: when the disk is full, or the file is gone, a link or shorter than `offset`; it is
            then as long as it was.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        length = os.fstat(descriptor).st_size
        if length < offset:
            raise OSError(errno.ESTALE, "has become shorter", str(path))
        stream.seek(offset)
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError:
            stream.truncate(length)
            raise
        stream.truncate()
        os.fsync(descriptor)


def write_table(path: Path, rows: list[dict], last: str | None = None) -> None:
    """Write `path` atomically as CSV: a column for each key of the rows, `last` at the end."""
    columns = columns_of(rows, last)
    write_text(path, csv_text(columns, [dict(zip(columns, columns, strict=True)), *rows]))


def columns_of(rows: list[dict], last: str | None) -> list[str]:
    """Return the keys of the rows in the order in which they come, but `last` at the end."""
    names = dict.fromkeys(name for row in rows for name in row)
    return sorted(names, key=lambda name: name == last)


def csv_text(columns: list[str], rows: list[dict]) -> str:
    """Return the rows as lines of CSV; what a row does not have is left empty."""
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()


def json_text(content: dict) -> str:
    """Return `content` as JSON that a person can read.

    Raises:
        ValueError: for a number that is not finite, which JSON does not have.
    """
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def is_temporary(path: Path) -> bool:
    """Tell whether `path` is what a killed `write_atomically` leaves behind."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers have left below `folder`."""
    for path in below(folder, f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()


def below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield what is called so below `folder`, at any depth; links to folders are not followed.

    What another process removes meanwhile is passed over, where `Path.rglob` raises.
    """
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in fnmatch.filter((*folders, *files), pattern))
