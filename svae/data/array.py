"""A person's own images or vectors, from one .npz or .npy file."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from svae.data.archive import reading, unpacked
from svae.data.holdout import hold_out
from svae.data.labels import described, keep
from svae.data.levels import Reading, interpret
from svae.data.splits import MISSING, DataSet, Split, digest

_SPLITS = ("train", "validation", "test")
_KEYS = sorted([*_SPLITS, *(f"{name}_labels" for name in _SPLITS)])
_SHOWN = 12  # classes
_LARGEST = np.finfo(np.float32).max


def load(
    file: str,
    likelihood: str = "auto",
    levels: int | str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    order: str = "file",
    split_seed: int = 0,
    labels: int | None = None,
) -> DataSet:
    """Read `train` and, where present, `validation`, `test` and `<split>_labels` from an .npz.

    An .npy is read as one with `train` alone.

    Arrays are (N, D) vectors or (N, height, width) images: uint8, booleans, floating point, or
    with `levels` whole numbers of any type; see `svae.data.levels` for what they are taken for.
    A split that is missing is taken out of `train`, see `svae.data.holdout`. Labels are whole
    numbers, -1 where one is missing, or texts, which are numbered in alphabetical order and missing
    where they are empty; of those that train, `labels` are kept, see `svae.data.labels`. The
    defaults of `levels` and `order` are what was done before there were such keys.

    Raises:
        ValueError: for a missing file or key, shapes that do not agree, values that are not
            finite, or values that the likelihood cannot have.
    """
    if file is None:
        raise ValueError("dataset.file=null: expected an .npz or .npy file")
    path = Path(os.path.expanduser(file))
    arrays = _read(path)
    data_hash = digest(*(part for key in sorted(arrays) for part in (key, arrays[key])))
    names = _number_labels(path, arrays)
    values = {f"{path}: {name}": arrays[name] for name in _SPLITS if name in arrays}
    reading = interpret(values, likelihood, levels)
    splits = {name: _split(arrays, name, reading) for name in _SPLITS if name in arrays}
    whole = splits["train"]
    fractions = {"validation": validation_fraction, "test": test_fraction}
    counts = _counts(len(whole), {k: f for k, f in fractions.items() if k not in splits})
    rows = hold_out(len(whole), counts, order, split_seed, arrays.get("train_labels"))
    if counts:
        splits |= {name: whole.take(own) for name, own in rows.items()}
    splits["train"] = keep(splits["train"], labels, split_seed)
    shape = arrays["train"].shape[1:]
    return DataSet(
        **splits,
        likelihood=reading.likelihood,
        image_shape=shape if len(shape) == 2 else None,
        origin=_origin(counts, order, split_seed, whole.labels is not None)
        + described(labels, split_seed),
        source="; ".join([reading.source(values), *names]),
        data_hash=data_hash,
        fingerprint=digest(
            *(part for name in sorted(rows) for part in (name, rows[name])),
            *([] if labels is None else ["labels", splits["train"].labels]),
        ),
    )


def _counts(total: int, fractions: dict[str, float]) -> dict[str, int]:
    """Return how many of `total` rows each split takes that is missing.

    Raises:
        ValueError: when one would be empty, or nothing be left to train on.
    """
    counts, left = {}, total
    for name, fraction in fractions.items():
        counts[name] = int(total * fraction)
        left -= counts[name]
        if min(counts[name], left) < 1:
            raise ValueError(
                f"dataset.{name}_fraction={fraction}: leaves {counts[name]} of {total} rows for "
                f"{name}, expected at least one and some left to train on"
            )
    return counts


def _origin(cut: Iterable[str], order: str, seed: int, is_labelled: bool) -> str:
    """Say how the splits were made."""
    if not cut:
        return "as in the file"
    names = " and ".join(cut)
    if order == "file":
        return f"{names} cut from the end of train"
    words = ", of each class its share" if is_labelled else ""
    return f"{names} drawn from train by dataset.split_seed={seed}{words}"


def _read(path: Path) -> dict[str, np.ndarray]:
    with reading(path, ".npz or .npy"):
        if path.suffix == ".npy":
            # mapped first: a header may promise more than the file holds
            arrays = {"train": np.array(np.load(path, mmap_mode="r", allow_pickle=False))}
        else:
            arrays = unpacked(path)
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


def _check_values(name: str, array: np.ndarray, train: np.ndarray) -> None:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{name}: expected shape (N, D) or (N, height, width), got {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected uint8, boolean or floating point, got {array.dtype}")
    # in float32, which the program computes in: 1e300 is not finite there
    if array.dtype.kind == "f" and (bad := ~(np.abs(array) <= _LARGEST)).any():
        raise ValueError(f"{name}: expected finite values, got {array[bad][0]}")
    if array.shape[1:] != train.shape[1:]:
        shapes = f"{array.shape[1:]}, those of train have {train.shape[1:]}"
        raise ValueError(f"{name}: rows of shape {shapes}")


def _check_labels(name: str, array: np.ndarray, values: np.ndarray | None) -> None:
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        found = f"{array.dtype} {array.shape}"
        raise ValueError(f"{name}: expected whole numbers or texts (N,), got {found}")
    if values is None:
        raise ValueError(f"{name} without the split that they belong to")
    if len(array) != len(values):
        raise ValueError(f"{name}: {len(array)} labels for {len(values)} rows")


def _number_labels(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """Put the numbers of labels in the place of texts, and say which is which.

    Raises:
        ValueError: for texts and numbers in one file; for labels of -1, which are missing, and of
            another number alone.
    """
    found = {key: array for key, array in arrays.items() if key.endswith("_labels")}
    kinds = {array.dtype.kind == "U" for array in found.values()}
    if len(kinds) > 1:
        raise ValueError(f"{path}: expected whole numbers or texts as labels, got both")
    if kinds == {True}:
        texts = np.unique(np.concatenate([*found.values()]))
        texts = texts[texts != ""]
        for key, array in found.items():
            numbers = np.searchsorted(texts, array)
            arrays[key] = np.where(array == "", MISSING, numbers)
        shown = ", ".join(f"{number} {text}" for number, text in enumerate(texts[:_SHOWN]))
        return [f"classes {shown}{', ...' if len(texts) > _SHOWN else ''}"]
    for key, array in found.items():
        if (array == MISSING).any() and len(np.unique(array)) == 2:
            other = array[array != MISSING][0]
            raise ValueError(
                f"{path}: {key} has {other} alone, and -1, which is a missing label; expected 0 "
                "and 1 for two classes"
            )
    return []


def _split(arrays: dict[str, np.ndarray], name: str, reading: Reading) -> Split:
    labels = arrays.get(f"{name}_labels")
    labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    rows = torch.from_numpy(reading.rows(arrays[name]))
    return Split(rows, labels, binary=reading.likelihood == "bernoulli")
