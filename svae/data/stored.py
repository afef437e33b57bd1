"""A data set that was made in Python, as it lies beside a run: its splits in one .npz file."""

import io
import json
import os
from pathlib import Path

import numpy as np
import torch

from svae.data.splits import DataSet, Split
from svae.data.units import Units

_SPLITS = ("train", "validation", "test")
_WORDS = ("likelihood", "origin", "source", "data_hash")


def dump(data: DataSet) -> bytes:
    """Return the content of a file of which `load` makes the same data set.

    Raises:
        ValueError: for a graph, and for a likelihood that is a class.
    """
    if data.spec.kind == "graph":
        raise ValueError("data: is a graph, expected dataset=NAME of one of those that svae reads")
    if not isinstance(data.likelihood, str):
        raise ValueError(
            f"data: has the class {data.likelihood.__name__} as likelihood, expected dataset=NAME "
            "and config_dir=DIR, the folder that names the function that makes it"
        )
    arrays, splits = {}, {}
    for name in _SPLITS:
        split: Split = getattr(data, name)
        tensors = {"values": split.values, **split.known}
        arrays |= {f"{name}_{key}": own.cpu().numpy() for key, own in tensors.items()}
        splits[name] = {"binary": split.binary, "directions": split.directions}
    about = {word: getattr(data, word) for word in _WORDS}
    about |= {"image_shape": data.image_shape, "fingerprint": data.split_hash}
    about |= {"units": data.units.saved(), "splits": splits}
    about |= {"class_names": [*map(str, data.class_names)]}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
    return buffer.getvalue()


def load(file: str) -> DataSet:
    """Read what `dump` wrote.

    Raises:
        ValueError: when the file is missing, or no such one.
    """
    if file is None:
        raise ValueError("dataset.file=null: expected the file that svae.fit wrote")
    path = Path(os.path.expanduser(file))
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        about = json.loads(str(arrays.pop("about")))
        splits = {
            name: Split(**_tensors(arrays, f"{name}_"), **about["splits"][name]) for name in _SPLITS
        }
        shape, units = about["image_shape"], about["units"]
        return DataSet(
            **splits,
            **{word: about[word] for word in _WORDS},
            image_shape=shape and tuple(shape),
            fingerprint=about["fingerprint"],
            given_units=Units.restored(units),
            class_names=about.get("class_names", ()),  # earlier versions kept none
        )
    except Exception as error:  # a damaged file fails in every way
        reason = " ".join(str(error).split()) or type(error).__name__
        expected = "a file that svae.fit wrote"
        raise ValueError(f"dataset.file={path}: expected {expected} ({reason})") from None


def _tensors(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
