"""Files that are either the old or the new ones, whatever happens while they are written."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

_SUFFIX = ".tmp"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a temporary file beside `path`, flush it to the disk and rename it.

    Raises:
        OSError: when the disk is full or the folder is gone; `path` is then what it was.
    """
    descriptor, temporary = tempfile.mkstemp(_SUFFIX, f".{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    write_atomically(path, text.encode())


def write_json(path: Path, content: dict) -> None:
    """Write `content` to `path` atomically as JSON that a person can read.

    Raises:
        ValueError: for a number that is not finite, which JSON does not have.
    """
    write_text(path, json_text(content))


def overwrite_json(path: Path, content: dict) -> None:
    """Write `content` over what stands in `path`: needs no free block, but is not atomic."""
    with path.open("r+") as stream:
        stream.write(json_text(content))
        stream.truncate()


def json_text(content: dict) -> str:
    """Return `content` as JSON that a person can read; raises ValueError like `write_json`."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def is_temporary(path: Path) -> bool:
    """Tell whether `path` is what a killed `write_atomically` leaves behind."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers have left below `folder`."""
    for path in folder.rglob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()
