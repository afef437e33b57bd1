"""What a person hands over in memory: arrays, tensors, data frames, lists, and labels of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from svae.data import array, stored
from svae.data.splits import DataSet

_SPLITS = ("train", "validation", "test")
_FORMS = "an array, (x, labels), (train, validation, test) or an svae.data.splits.DataSet"


def as_array(x: Any, name: str) -> np.ndarray:
    """Return numbers that a person has in whatever form as an array; not copied where they are one.

    Raises:
        ValueError: when they are none, such as text, None, or a sparse matrix or tensor.
    """
    if isinstance(x, torch.Tensor):
        return _of_tensor(x, name)
    if hasattr(x, "toarray"):
        raise ValueError(f"{name}: is a sparse matrix, expected a dense one, as x.toarray()")
    if np.ma.is_masked(x):
        raise ValueError(f"{name}: holds masked numbers, expected none, as x.filled(0)")
    if hasattr(x, "to_numpy"):
        found = np.asarray(x.to_numpy())
        if found.dtype.kind not in "biuf" and hasattr(x, "columns"):
            found = _columns(x, name)
    else:
        found = _plain(x, name)
    if found.dtype.kind not in "biuf":
        expected = "numbers or booleans"
        raise ValueError(f"{name}: expected an array of {expected}, got {_kind(x, found)}")
    return found


def as_labels(labels: Any, name: str) -> np.ndarray:
    """Return labels as an array of whole numbers or texts.

    Raises:
        ValueError: when they are something else, or some are missing.
    """
    is_tensor = isinstance(labels, torch.Tensor)
    found = _of_tensor(labels, name) if is_tensor else np.asarray(labels)
    if found.dtype.kind == "O":
        wrong = [value for value in found.ravel() if not isinstance(value, str)]
        if wrong:
            raise ValueError(
                f"{name}: expected whole numbers or texts, got {wrong[0]!r:.40}; where a label is "
                "missing, -1 or an empty text"
            )
        found = found.astype(str)
    return found.astype(np.int64) if found.dtype.kind == "b" else found


def _of_tensor(x: torch.Tensor, name: str) -> np.ndarray:
    if x.layout is not torch.strided:
        raise ValueError(f"{name}: is a sparse tensor, expected a dense one, as x.to_dense()")
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # numpy has no bfloat16


def _plain(x: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(x)
    except ValueError as error:  # of rows of different lengths
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: expected rows of one length ({reason})") from None


def _columns(frame: Any, name: str) -> np.ndarray:
    """Return the columns of a data frame, of several types, side by side.

    Raises:
        ValueError: with the first that does not hold numbers.
    """
    columns = {column: np.asarray(frame[column]) for column in frame.columns}
    for column, values in columns.items():
        if values.dtype.kind not in "biuf":
            first = f"{values[0]!s:.40}" if len(values) else "nothing"
            raise ValueError(f"{name}: column {column} holds {first}, expected numbers")
    return np.column_stack(list(columns.values()))


def _kind(x: Any, found: np.ndarray) -> str:
    if found.ndim == 0 or found.dtype.kind == "O":
        return f"{type(x).__name__} {x!r:.40}"
    return f"{found.dtype} {found.shape}"


@dataclass(frozen=True)
class Arrays:
    """Arrays that a person has in memory, by the names that they have in an .npz file."""

    arrays: Mapping[str, np.ndarray]

    choice = "array"

    @property
    def file(self) -> str:
        return "data.npy" if set(self.arrays) == {"train"} else "data.npz"

    def data_set(self, keys: Mapping[str, Any]) -> DataSet:
        """Return what dataset=array with these keys reads of the file."""
        fractions = {name: keys[f"{name}_fraction"] for name in ("validation", "test")}
        others = [keys[name] for name in ("order", "split_seed", "labels")]
        return array.of(self.arrays, "data", keys["likelihood"], keys["levels"], fractions, *others)

    def write(self, stream: BinaryIO) -> None:
        """Write the file that they are in beside the run."""
        if self.file == "data.npy":
            np.save(stream, self.arrays["train"], allow_pickle=False)
        else:
            np.savez(stream, **self.arrays)


@dataclass(frozen=True)
class Stored:
    """A data set of the library."""

    data: DataSet
    content: bytes

    choice, file = "stored", "data.npz"

    def data_set(self, keys: Mapping[str, Any]) -> DataSet:
        return self.data

    def write(self, stream: BinaryIO) -> None:
        stream.write(self.content)


def given(data: Any) -> Arrays | Stored | None:
    """Return what `svae.fit` was given, None where that is nothing.

    Raises:
        ValueError: when it is no data.
    """
    if data is None:
        return None
    if isinstance(data, DataSet):
        return Stored(data, stored.dump(data))
    if isinstance(data, str | Path | dict):
        raise ValueError(
            f"data: expected {_FORMS}, got {type(data).__name__}; for a file: "
            'dataset="array", **{"dataset.file": FILE} and no data'
        )
    if not isinstance(data, tuple):
        return Arrays({"train": as_array(data, "data")})
    if len(data) == 2:
        return Arrays(_split("train", data))
    if len(data) != 3:
        raise ValueError(f"data: expected {_FORMS}, got a tuple of {len(data)}")
    found = {}
    for name, part in zip(_SPLITS, data, strict=True):
        found |= _split(name, part)
    return Arrays(found)


def _split(name: str, part: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a split: observations, and where it is a pair their labels."""
    if not isinstance(part, tuple):
        return {name: as_array(part, f"data: {name}")}
    if len(part) != 2:
        raise ValueError(f"data: {name}: expected (x, labels), got a tuple of {len(part)}")
    x, labels = part
    return {
        name: as_array(x, f"data: {name}"),
        f"{name}_labels": as_labels(labels, f"data: {name}_labels"),
    }
