"""Arrays of an .npz file that may come from anywhere."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def reading(path: Path, kinds: str) -> Iterator[None]:
    """Let whatever fails in reading a file be a ValueError of one sentence.

    A damaged file fails in every way: struct.error, EOFError, ...
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"dataset.file={path}: expected a readable {kinds} file ({reason(error)})"
        ) from None


def reason(error: Exception) -> str:
    """Return why an .npy or .npz file cannot be read, without numpy's advice to trust it."""
    text = " ".join(str(error).split())
    if "Object arrays" in text:
        return "it holds objects, such as rows of different lengths"
    if "pickled" in text or isinstance(error, zipfile.BadZipFile):
        return "it is none that numpy.save or numpy.savez wrote"
    return text or type(error).__name__


def unpacked(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by their names; nothing is unpickled.

    Raises:
        ValueError: when they would not fit in memory; many others where the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > memory():  # a few bytes may be packed from more than there is room for
            raise ValueError(f"{size} bytes unpacked, and this machine has {memory()} of memory")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def memory() -> int:
    """Return how many bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
