"""Files that are either the old or the new ones, whatever happens while they are written."""

import json
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, write) -> None:
    """Call `write` on a temporary file beside `path`, flush it to the disk and rename it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, content: dict) -> None:
    """Write `content` to `path` atomically as JSON that a person can read."""
    write_text(path, json.dumps(content, indent=2) + "\n")
