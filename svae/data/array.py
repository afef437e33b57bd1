"""A person's own images or vectors, from one .npz file."""

import os
import zipfile
from pathlib import Path

import numpy as np
import torch

from svae.data.splits import DataSet, Split

_SPLITS = ("train", "validation", "test")
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
        raise ValueError(f"dataset.likelihood={likelihood}: expected one of {_words(_LIKELIHOODS)}")
    arrays = _read(Path(file).expanduser())
    arrays = _complete(arrays, {"validation": validation_fraction, "test": test_fraction})
    shape = arrays["train"].shape[1:]
    family = _family(arrays, likelihood)
    splits = {name: _split(arrays, name, shape, family) for name in _SPLITS}
    return DataSet(
        **splits, likelihood=family, image_shape=tuple(shape) if len(shape) == 2 else None
    )


def _words(names) -> str:
    return ", ".join(names)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(entry.file_size for entry in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:  # a damaged file fails in every way: struct.error, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"dataset.file={path}: expected a readable .npz file ({reason})") from None
    known = {*_SPLITS, *(f"{name}_labels" for name in _SPLITS)}
    if unknown := sorted(set(arrays) - known):
        raise ValueError(f"{path}: unknown key {unknown[0]}, expected {_words(sorted(known))}")
    if "train" not in arrays:
        raise ValueError(f"{path}: expected the key train, found {_words(arrays) or 'none'}")
    for key, array in arrays.items():
        _check(f"{path}: {key}", array, is_labels=key.endswith("_labels"))
        split = key.removesuffix("_labels")
        if split not in arrays:
            raise ValueError(f"{path}: {key} without {split}")
        if len(array) != len(arrays[split]):
            raise ValueError(f"{path}: {key}: {len(array)} labels for {len(arrays[split])} rows")
    return arrays


def _check_size(size: int) -> None:
    """Refuse a file of a few bytes that is packed from more than fits in memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"{size} bytes unpacked, and this machine has {memory} of memory")


def _check(name: str, array: np.ndarray, *, is_labels: bool) -> None:
    if is_labels:
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"{name}: expected whole numbers (N,), got {array.dtype} {array.shape}"
            )
        return
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{name}: expected shape (N, D) or (N, height, width), got {array.shape}")
    if array.dtype.kind not in "bf" and array.dtype != np.uint8:
        raise ValueError(f"{name}: expected uint8, boolean or floating point, got {array.dtype}")
    # in float32, which the program computes in: 1e300 is not finite there
    if array.dtype.kind == "f" and (bad := ~(np.abs(array) <= _LARGEST)).any():
        raise ValueError(f"{name}: expected finite values, got {array[bad][0]}")


def _complete(arrays: dict[str, np.ndarray], fractions: dict[str, float]) -> dict[str, np.ndarray]:
    """Cut the splits that the file lacks from the end of the training arrays."""
    arrays = dict(arrays)
    total = len(arrays["train"])
    for name, fraction in fractions.items():
        if name in arrays:
            continue
        count = int(total * fraction)
        if not 0 < count < len(arrays["train"]):
            raise ValueError(
                f"dataset.{name}_fraction={fraction}: leaves {count} of {total} rows for {name}, "
                f"expected at least one and some left to train on"
            )
        for suffix in ("", "_labels"):
            if f"train{suffix}" in arrays:
                whole = arrays[f"train{suffix}"]
                arrays[f"train{suffix}"], arrays[name + suffix] = whole[:-count], whole[-count:]
    return arrays


def _family(arrays: dict[str, np.ndarray], likelihood: str) -> str:
    ranges = [(arrays[name].dtype.kind, arrays[name].min(), arrays[name].max()) for name in _SPLITS]
    probabilities = all(kind != "f" or (low >= 0 and high <= 1) for kind, low, high in ranges)
    if likelihood == "bernoulli" and not probabilities:
        low, high = min(r[1] for r in ranges), max(r[2] for r in ranges)
        raise ValueError(
            f"dataset.likelihood=bernoulli: expected values in [0, 1], got [{low}, {high}]"
        )
    if likelihood == "auto":
        return "bernoulli" if probabilities else "gaussian"
    return likelihood


def _split(arrays: dict[str, np.ndarray], name: str, shape: tuple, family: str) -> Split:
    values, labels = arrays[name], arrays.get(f"{name}_labels")
    if values.shape[1:] != shape:
        raise ValueError(f"{name}: rows of shape {values.shape[1:]}, those of train have {shape}")
    rows = values.reshape(len(values), -1)
    binary = family == "bernoulli"
    tensor = torch.from_numpy(
        rows if binary and rows.dtype == np.uint8 else rows.astype(np.float32)
    )
    labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    return Split(tensor, labels, binary=binary)
