"""What every data set hands to the program: three splits of observations on one device."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from svae.data.binarise import bernoulli


@dataclass(frozen=True)
class Split:
    """Observations that are used for one purpose.

    `values` is (N, D): the observations themselves (float32) or, where `binary`, the probabilities
    of the pixels they are drawn from (float32 in [0, 1], or uint8 in units of 1/255). `labels` is
    (N,) int64 or None. `positions` (N, m) are the points of the sphere that the observations were
    made from, where that is known. `directions` is p where a row is made
    of unit vectors of p numbers.
    """

    values: Tensor
    labels: Tensor | None = None
    binary: bool = False
    positions: Tensor | None = None
    directions: int | None = None

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device) -> "Split":
        names = ("values", "labels", "positions")
        tensors = {name: getattr(self, name) for name in names}
        moved = {name: t.to(device) for name, t in tensors.items() if t is not None}
        return replace(self, **moved)

    def observe(self, index: Tensor | slice, generator: torch.Generator | None = None) -> Tensor:
        """Return the observations at `index`, float32 (n, D): fresh draws where they are binary."""
        whole = self.values
        values = whole[index] if isinstance(index, slice) else whole.index_select(0, index)
        return bernoulli(values, generator) if self.binary else values

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None, *, shuffle: bool = False
    ) -> Iterator[Tensor]:
        """Yield every observation once, `batch_size` at a time, in order or shuffled."""
        if not shuffle:
            for start in range(0, len(self), batch_size):
                yield self.observe(slice(start, start + batch_size), generator)
            return
        device = self.values.device
        order = torch.randperm(len(self), generator=generator, device=device)
        for index in order.split(batch_size):
            yield self.observe(index, generator)


@dataclass(frozen=True)
class DataSet:
    """Training, validation and test split, and the likelihood that fits the observations.

    `image_shape` is (height, width) where a row can be shown as a picture; `fingerprint` tells one
    random split from another.
    """

    train: Split
    validation: Split
    test: Split
    likelihood: str
    image_shape: tuple[int, int] | None = None
    fingerprint: str | None = None

    @property
    def is_graph(self) -> bool:
        return self.likelihood == "edges"

    @property
    def is_labelled(self) -> bool:
        """Whether training and test observations have labels."""
        return self.train.labels is not None and self.test.labels is not None

    @property
    def features(self) -> int:
        return self.train.values.shape[-1]

    @property
    def split_hash(self) -> str:
        """A hash that tells this split from any other: `fingerprint`, or SHA-256 of the values."""
        if self.fingerprint is not None:
            return self.fingerprint
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            values = split.values.cpu().contiguous().numpy()
            digest.update(f"{values.dtype} {values.shape}".encode())
            digest.update(memoryview(values).cast("B"))
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        return self.train.values.device

    def to(self, device: torch.device) -> "DataSet":
        names = ("train", "validation", "test")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})
