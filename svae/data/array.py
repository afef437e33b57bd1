"""A person's own images or vectors, from one .npz file."""

import os
import zipfile
from pathlib import Path

import numpy as np
import torch

from svae.data.splits import DataSet, Split

_SPLITS = ("train", "validation", "test")
_KEYS = sorted([*_SPLITS, *(f"{name}_labels" for name in _SPLITS)])
_LARGEST = np.finfo(np.float32).max
_LIKELIHOODS = ("auto", "bernoulli", "gaussian")


def load(
    file: str,
    likelihood: str = "auto",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> DataSet:
    """Read `train` and, where present, `validation`, `test` and `<split>_labels` from an .npz.

    Arrays are (N, D) vectors or (N, height, width) images: uint8 in 0..255, booleans, or floating
    point. A split that is missing is cut from the end of `train`, whose order is kept. With
    `likelihood="auto"` values in [0, 1] (and uint8) are Bernoulli probabilities, drawn afresh each
    time, and any others have a Gaussian likelihood.

    Raises:
        ValueError: for a missing file or key, shapes that do not agree, values that are not
            finite, or values that the likelihood cannot have.
    """
    if file is None:
        raise ValueError("dataset.file=null: expected an .npz file")
    if likelihood not in _LIKELIHOODS:
        expected = ", ".join(_LIKELIHOODS)
        raise ValueError(f"dataset.likelihood={likelihood}: expected one of {expected}")
    arrays = _read(Path(os.path.expanduser(file)))
    family = _family([arrays[name] for name in _SPLITS if name in arrays], likelihood)
    splits = {name: _split(arrays, name, family) for name in _SPLITS if name in arrays}
    total, cut = len(splits["train"]), [name for name in _SPLITS if name not in arrays]
    for name, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if name not in splits:
            count = int(total * fraction)
            left = len(splits["train"]) - count
            if min(count, left) < 1:
                raise ValueError(
                    f"dataset.{name}_fraction={fraction}: leaves {count} of {total} rows for "
                    f"{name}, expected at least one and some left to train on"
                )
            splits["train"], splits[name] = splits["train"].cut(left, count)
    shape = arrays["train"].shape[1:]
    return DataSet(
        **splits,
        likelihood=family,
        image_shape=shape if len(shape) == 2 else None,
        origin=f"{' and '.join(cut)} cut from the end of train" if cut else "as in the file",
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(entry.file_size for entry in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # a damaged file fails in every way: struct.error, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"dataset.file={path}: expected a readable .npz file ({reason})") from None
    if unknown := sorted(set(arrays) - set(_KEYS)):
        raise ValueError(f"{path}: unknown key {unknown[0]}, expected {', '.join(_KEYS)}")
    if "train" not in arrays:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"{path}: expected the key train, found {found}")
    values = {key: array for key, array in arrays.items() if key in _SPLITS}
    for key, array in values.items():
        _check_values(f"{path}: {key}", array, values["train"])
    for key, array in arrays.items():
        if key not in values:
            _check_labels(f"{path}: {key}", array, values.get(key.removesuffix("_labels")))
    return arrays


def _check_size(size: int) -> None:
    """Refuse a file of a few bytes that is packed from more than fits in memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"{size} bytes unpacked, and this machine has {memory} of memory")


def _check_values(name: str, array: np.ndarray, train: np.ndarray) -> None:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{name}: expected shape (N, D) or (N, height, width), got {array.shape}")
    if array.dtype.kind not in "bf" and array.dtype != np.uint8:
        raise ValueError(f"{name}: expected uint8, boolean or floating point, got {array.dtype}")
    # in float32, which the program computes in: 1e300 is not finite there
    if array.dtype.kind == "f" and (bad := ~(np.abs(array) <= _LARGEST)).any():
        raise ValueError(f"{name}: expected finite values, got {array[bad][0]}")
    if array.shape[1:] != train.shape[1:]:
        shapes = f"{array.shape[1:]}, those of train have {train.shape[1:]}"
        raise ValueError(f"{name}: rows of shape {shapes}")


def _check_labels(name: str, array: np.ndarray, values: np.ndarray | None) -> None:
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: expected whole numbers (N,), got {array.dtype} {array.shape}")
    if values is None:
        raise ValueError(f"{name} without the split that they belong to")
    if len(array) != len(values):
        raise ValueError(f"{name}: {len(array)} labels for {len(values)} rows")


def _family(arrays: list[np.ndarray], likelihood: str) -> str:
    reals = [array for array in arrays if array.dtype.kind == "f"]
    outside = [n for a in reals for n in (a.min(), a.max()) if not 0 <= n <= 1]
    if likelihood == "bernoulli" and outside:
        raise ValueError(
            f"dataset.likelihood=bernoulli: expected values in [0, 1], got {outside[0]}"
        )
    if likelihood == "auto":
        return "gaussian" if outside else "bernoulli"
    return likelihood


def _split(arrays: dict[str, np.ndarray], name: str, family: str) -> Split:
    values, labels = arrays[name], arrays.get(f"{name}_labels")
    rows, binary = values.reshape(len(values), -1), family == "bernoulli"
    if not binary or rows.dtype != np.uint8:
        rows = rows.astype(np.float32)
    labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    return Split(torch.from_numpy(rows), labels, binary=binary)
