"""`svae-train encode=`: latent vectors of the rows of a file, by a run, into files of their own."""

from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from svae import build
from svae.codec import Codec
from svae.data import archive
from svae.recording.console import Screen
from svae.recording.files import atomically

_FILES = ("latents.npz", "latents.csv")
_ROWS = 10_000  # of text at once


def encode(folder: Path, file: Path, output: Path, device: str, threads: int | None) -> None:
    """Write `row`, `loc` and `concentration` or `scale` of each row of `file` into `output`.

    An .npy file is mapped, and read by batches: memory holds one of them and the latent vectors.
    Into latents.npz and latents.csv, where a row's number is its place in the file, from 0.

    Raises:
        ValueError: when there is no such run, when the file does not hold what it was trained on,
            or `output` has such files or cannot be written.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    screen = Screen()
    codec = build.codec(folder, device)
    for name in _FILES:
        if (output / name).exists():
            raise ValueError(f"output={output}: holds {name}, expected a folder without")
    columns = _columns(codec, read(file), str(file), screen)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with atomically(output / "latents.npz") as stream:
            np.savez(stream, **columns)
        with atomically(output / "latents.csv") as stream:
            _write_table(columns, stream)
    except OSError as error:
        raise ValueError(f"output={output}: cannot be written ({error.strerror})") from None
    count = len(columns["row"])
    screen.note(f"{count:,} rows: {' and '.join(str(output / name) for name in _FILES)}")


def read(file: Path) -> np.ndarray:
    """Return the array of an .npy file, mapped, or the only one of an .npz file.

    Raises:
        ValueError: when it is no such file.
    """
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found as arrays:
            names = arrays.files
            if len(names) == 1:
                return arrays[names[0]]
    except Exception as error:  # a damaged file fails in every way: BadZipFile, EOFError, ...
        words = f"expected a readable .npy or .npz file ({archive.reason(error)})"
        raise ValueError(f"file={file}: {words}") from None
    words = ", ".join(names) or "none"
    raise ValueError(f"file={file}: expected one array in it, found {words}")


def _columns(codec: Codec, array: np.ndarray, name: str, screen: Screen) -> dict[str, np.ndarray]:
    """Return the numbers of the rows and their posteriors, by the names of latents.npz."""
    loc, spread = codec.encode(array, name, partial(screen.work, "encoding"))
    columns = {"row": np.arange(len(loc)), "loc": loc}
    return columns if spread is None else columns | {codec.spread: spread}


def _write_table(columns: dict[str, np.ndarray], stream: BinaryIO) -> None:
    """Write arrays (N,) and (N, K) as the columns of a CSV, with all digits of a float32."""
    names, numbers = [], []
    for name, own in columns.items():
        wide = own if own.ndim > 1 else own[:, None]
        names += [f"{name}_{k + 1}" for k in range(wide.shape[1])] if own.ndim > 1 else [name]
        numbers.append(wide)
    stream.write(f"{','.join(names)}\n".encode())
    line = ",".join(["%d", *["%.9g"] * (len(names) - 1)]) + "\n"
    for start in range(0, len(numbers[0]), _ROWS):
        part = np.hstack([own[start : start + _ROWS].astype(np.float64) for own in numbers])
        stream.write("".join(line % tuple(row) for row in part.tolist()).encode())
