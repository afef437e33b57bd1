"""A person's own images or vectors, from one .npz or .npy file, or from memory."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from svae.data.archive import reading, unpacked
from svae.data.holdout import hold_out
from svae.data.labels import described, keep, withheld
from svae.data.levels import Reading, interpret
from svae.data.pictures import channel_axis, layout, with_planes
from svae.data.splits import MISSING, DataSet, Split, digest
from svae.data.units import Units, normalised

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
    """Read the arrays of an .npz file, or the one array of an .npy file, which is `train`.

    The other arguments are those of `of`. The defaults of `levels` and `order` are what was done
    before there were such keys.

    Raises:
        ValueError: for a missing file, and for what `of` refuses.
    """
    if file is None:
        raise ValueError(
            "dataset.file=null: expected an .npz or .npy file; of a run of svae.fit(store=False), "
            "which keeps no data, the model can be loaded and nothing else"
        )
    path = Path(os.path.expanduser(file))
    fractions = {"validation": validation_fraction, "test": test_fraction}
    return of(_read(path), str(path), likelihood, levels, fractions, order, split_seed, labels)


def of(
    arrays: Mapping[str, np.ndarray],
    where: str,
    likelihood: str,
    levels: int | str | None,
    fractions: Mapping[str, float],
    order: str,
    split_seed: int,
    labels: int | None,
) -> DataSet:
    """Return the data set of `train` and, where present, `validation`, `test`, `<split>_labels`.

    Arrays are (N, D) vectors, (N, height, width) images, or images with one or three channels,
    first or last: uint8, booleans, floating point, or with `levels` whole numbers of any type; see
    `svae.data.levels` for what they are taken for. A split that is missing is its share of
    `fractions`, taken out of `train`, see `svae.data.holdout`. Labels are whole numbers, -1 where
    one is missing, or texts, which are numbered in alphabetical order and missing where they are
    empty; of those that train, `labels` are kept, see `svae.data.labels`. A refusal says `where`
    the arrays were found.

    Raises:
        ValueError: for a missing or unknown key, shapes that do not agree, values that are not
            finite, or values that the likelihood cannot have.
    """
    _check(arrays, where)
    arrays = {key: _plain(own) if key in _SPLITS else own for key, own in arrays.items()}
    data_hash = digest(*(part for key in sorted(arrays) for part in (key, arrays[key])))
    arrays, class_names = _numbered(where, arrays)
    axis = channel_axis(f"{where}: train", arrays["train"].shape)
    images = {name: with_planes(arrays[name], axis) for name in _SPLITS if name in arrays}
    values = {f"{where}: {name}": array for name, array in images.items()}
    reading = interpret(values, likelihood, levels)
    splits = {
        name: _split(array, arrays.get(f"{name}_labels"), f"{where}: {name}", reading)
        for name, array in images.items()
    }
    whole = splits["train"]
    counts = _counts(len(whole), {k: f for k, f in fractions.items() if k not in splits})
    rows = hold_out(len(whole), counts, order, split_seed, arrays.get("train_labels"))
    if counts:
        splits |= {name: whole.take(own) for name, own in rows.items()}
    of_labels = withheld(whole, splits["train"]) + described(labels, split_seed)
    splits["train"] = keep(splits["train"], labels, split_seed)
    shape = images["train"].shape[1:]
    return DataSet(
        **splits,
        likelihood=reading.likelihood,
        image_shape=shape if len(shape) > 1 else None,
        origin=_origin(counts, order, split_seed, whole.labels is not None) + of_labels,
        source="; ".join([reading.source(values) + layout(axis), *_named(class_names)]),
        data_hash=data_hash,
        fingerprint=digest(
            *(part for name in sorted(rows) for part in (name, rows[name])),
            *([] if labels is None else ["labels", splits["train"].labels]),
        ),
        given_units=Units(
            arrays["train"].shape[1:],
            {str(kind): divisor for kind, divisor in reading.divisors.items()},
            highest=1 if reading.is_bounded else None,
            is_direction=reading.likelihood == "vmf",
            channels=axis,
        ),
        class_names=class_names,
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
        if counts[name] < 1:
            raise ValueError(
                f"dataset.{name}_fraction={fraction}: leaves {counts[name]} of {total} rows for "
                f"{name}, expected at least one"
            )
    if left < 1:
        typed = ", ".join(f"dataset.{name}_fraction={share}" for name, share in fractions.items())
        raise ValueError(
            f"{typed}: leave none of {total} rows to train on, expected fractions whose sum is "
            "below 1"
        )
    return counts


def _origin(cut: Iterable[str], order: str, seed: int, is_labelled: bool) -> str:
    """Say how the splits were made."""
    if not cut:
        return "as in the file"
    names = " and ".join(cut)
    if order != "shuffled":
        last = ", the last rows test" if order == "time" and "test" in cut else ""
        return f"{names} cut from the end of train{last}"
    words = ", of each class its share" if is_labelled else ""
    return f"{names} drawn from train by dataset.split_seed={seed}{words}"


def _read(path: Path) -> dict[str, np.ndarray]:
    with reading(path, ".npz or .npy"):
        if path.suffix == ".npy":
            # mapped first: a header may promise more than the file holds
            return {"train": np.array(np.load(path, mmap_mode="r", allow_pickle=False))}
        return unpacked(path)


def _check(arrays: Mapping[str, np.ndarray], where: str) -> None:
    if unknown := sorted(set(arrays) - set(_KEYS)):
        raise ValueError(f"{where}: unknown key {unknown[0]}, expected {', '.join(_KEYS)}")
    if "train" not in arrays:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"{where}: expected the key train, found {found}")
    values = {key: array for key, array in arrays.items() if key in _SPLITS}
    for key, array in values.items():
        _check_values(f"{where}: {key}", array, values["train"])
    for key, array in arrays.items():
        if key not in values:
            _check_labels(f"{where}: {key}", array, values.get(key.removesuffix("_labels")))


def _plain(array: np.ndarray) -> np.ndarray:
    """Return numbers in this machine's byte order, long doubles as float64; else as they are."""
    kind = array.dtype.newbyteorder("=")
    return array.astype(np.float64 if kind.char == "g" else kind, copy=False)


def _check_values(name: str, array: np.ndarray, train: np.ndarray) -> None:
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        expected = "(N, D), (N, height, width), or (N, height, width, 3)"
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
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


def _numbered(
    where: str, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays with numbers in the place of labels that are texts, and these in order.

    Raises:
        ValueError: for texts and numbers in one file; for labels of -1, which are missing, and of
            another number alone.
    """
    arrays = dict(arrays)
    found = {key: array for key, array in arrays.items() if key.endswith("_labels")}
    kinds = {array.dtype.kind == "U" for array in found.values()}
    if len(kinds) > 1:
        raise ValueError(f"{where}: expected whole numbers or texts as labels, got both")
    if kinds == {True}:
        texts = np.unique(np.concatenate([*found.values()]))
        texts = texts[texts != ""]
        for key, array in found.items():
            numbers = np.searchsorted(texts, array)
            arrays[key] = np.where(array == "", MISSING, numbers)
        return arrays, texts.tolist()
    for key, array in found.items():
        if (array == MISSING).any() and len(np.unique(array)) == 2:
            other = array[array != MISSING][0]
            raise ValueError(
                f"{where}: {key} has {other} alone, and -1, which is a missing label; expected 0 "
                "and 1 for two classes"
            )
    return arrays, []


def _named(texts: list[str]) -> list[str]:
    """Say which number stands for which text, nothing where labels are numbers."""
    shown = ", ".join(f"{number} {text}" for number, text in enumerate(texts[:_SHOWN]))
    return [f"classes {shown}{', ...' if len(texts) > _SHOWN else ''}"] if texts else []


def _writable(rows: np.ndarray) -> np.ndarray:
    """Return rows that torch takes: bytes are a person's own, maybe mapped, or read backwards."""
    is_taken = rows.flags.writeable and min(rows.strides) >= 0
    # a new layout would let pixels be drawn in another order
    return rows if is_taken else rows.copy(order="K")


def _split(array: np.ndarray, labels: np.ndarray | None, name: str, reading: Reading) -> Split:
    rows = torch.from_numpy(_writable(reading.rows(array)))
    if reading.likelihood == "vmf":
        if array.ndim != 2 or array.shape[1] < 2:
            raise ValueError(
                f"{name}: expected unit vectors (N, D), D from 2 up, got {array.shape}"
            )
        rows = normalised(rows, name)
    return Split(
        rows,
        None if labels is None else torch.from_numpy(labels.astype(np.int64)),
        binary=reading.likelihood == "bernoulli",
        directions=rows.shape[1] if reading.likelihood == "vmf" else None,
    )
