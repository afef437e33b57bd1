"""MNIST: 50,000 training, 10,000 validation and 10,000 test images, verified when read."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from svae.data.labels import described, keep
from svae.data.splits import DataSet, Split, digest

PACKAGED = Path(__file__).with_name("mnist_files")
VALIDATION = 10_000  # the last images of the training file, as in the first author's later code
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(root: str | None = None, labels: int | None = None, split_seed: int = 0) -> DataSet:
    """Read MNIST from the package or from the folder `root`.

    With `labels` only so many of the training labels are kept, see `svae.data.labels`.

    `root` holds the four IDX files, gzipped or raw, itself or in `MNIST/raw` (torchvision's
    layout). Images are (N, 784) uint8; the order of the files is kept: the first 50,000 training
    images train, the last 10,000 validate.

    Raises:
        ValueError: when a file is missing, cut short, or differs from the published one, or for
            more labels than there are, or less than ten.

    Reference: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document
    recognition".
    """
    folder = _folder(root)
    images, digits, *test = (_read(folder, name) for name in MD5)
    parts = Split(images, digits, binary=True).cut(len(images) - VALIDATION, VALIDATION)
    train, fingerprint = keep(parts[0], labels, split_seed), [*map(len, (*parts, test[0]))]
    return DataSet(
        train,
        parts[1],
        Split(*test, binary=True),
        likelihood="bernoulli",
        image_shape=(28, 28),
        origin="the last images of the training file validate" + described(labels, split_seed),
        data_hash=digest(*MD5.values()),  # each file has been found to have its own
        fingerprint=digest(*fingerprint, *([] if labels is None else ["labels", train.labels])),
    )


def _folder(root: str | None) -> Path:
    if root is None:
        return PACKAGED
    given = Path(os.path.expanduser(root))
    for folder in (given, given / "MNIST" / "raw"):
        if any(_path(folder, name) for name in MD5):
            return folder
    wanted = ", ".join(MD5)
    raise ValueError(f"dataset.root={root}: expected a folder with {wanted} (raw or .gz)")


def _path(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}.gz", folder / name)
    return next((path for path in candidates if path.is_file()), None)


def _read(folder: Path, name: str) -> Tensor:
    path = _path(folder, name)
    if path is None:
        raise ValueError(f"{folder}: expected the MNIST file {name} (raw or .gz), found none")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read, expected {name} of MNIST ({error})") from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[name]:
        raise ValueError(f"{path}: MD5 {digest}, expected {MD5[name]}: not the published MNIST")
    return _tensor(content)


def _tensor(content: bytes) -> Tensor:
    """Decode an IDX file of bytes: images to (N, 784) uint8, labels to (N,) int64."""
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    if dimensions == 1:
        return torch.from_numpy(values.astype(np.int64))
    return torch.from_numpy(values.reshape(len(values), -1).copy())
