"""What every data set hands to the program: three splits of observations on one device."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from svae.data.binarise import bernoulli
from svae.data.units import Units
from svae.noise import Rows, Source

MISSING = -1  # in place of a label


def digest(*parts: np.ndarray | Tensor | str | float) -> str:
    """Return the SHA-256 of arrays, words and numbers: of bytes, types, shapes and order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.cpu().numpy()
        if not isinstance(part, np.ndarray):
            part = np.frombuffer(repr(part).encode(), np.uint8)
        part = np.ascontiguousarray(part)
        found.update(f"{part.dtype.str} {part.shape} ".encode())
        found.update(part.data.cast("B") if part.size else b"")
    return found.hexdigest()


@dataclass(frozen=True)
class Split:
    """Observations that are used for one purpose.

    `values` is (N, D): the observations themselves (float32, or uint8 in units of 1/255) or, where
    `binary`, the probabilities of the pixels they are drawn from (of the same types, in [0, 1]).
    `labels` is (N,) int64 or None. `positions` (N, m) are the points of the sphere that the
    observations were made from, where that is known. `directions` is p where a row is made of unit
    vectors of p numbers.
    """

    values: Tensor
    labels: Tensor | None = None
    binary: bool = False
    positions: Tensor | None = None
    directions: int | None = None

    def __len__(self) -> int:
        return len(self.values)

    def cut(self, *sizes: int) -> list["Split"]:
        """Return the observations in parts of these sizes, in order."""
        tensors = {name: getattr(self, name) for name in ("values", "labels", "positions")}
        parts = {name: t.split(sizes) for name, t in tensors.items() if t is not None}
        rows = zip(*parts.values(), strict=True)
        return [replace(self, **dict(zip(parts, row, strict=True))) for row in rows]

    def take(self, rows: np.ndarray) -> "Split":
        """Return the observations of these numbers, in their order."""
        index = torch.from_numpy(rows)
        tensors = {"values": self.values, **self.known}
        return replace(self, **{name: values[index] for name, values in tensors.items()})

    def to(self, device: torch.device) -> "Split":
        tensors = {"values": self.values, **self.known}
        return replace(self, **{name: values.to(device) for name, values in tensors.items()})

    @property
    def known(self) -> dict[str, Tensor]:
        """What is known of each observation, by name."""
        known = {"labels": self.labels, "positions": self.positions}
        return {name: values for name, values in known.items() if values is not None}

    @property
    def has_levels(self) -> bool:
        """Whether an observation is made of the 256 levels of a byte, each of a probability."""
        return self.values.dtype == torch.uint8 and not self.binary

    def observe(self, index: Tensor | slice, generator: Source = None) -> Tensor:
        """Return the observations at `index`, float32 (..., D): fresh draws where they are binary.

        Of several generators each draws for a row of `index` (R, n), as it would alone.
        """
        if isinstance(index, slice):
            values = self.values[index]
        else:
            values = self.values.index_select(0, index.flatten()).unflatten(0, index.shape)
        if self.binary:
            return bernoulli(values, generator)
        return values.float().div_(255) if self.has_levels else values

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Yield every observation once, in order, `batch_size` at a time."""
        for start in range(0, len(self), batch_size):
            yield self.observe(slice(start, start + batch_size), generator)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield where to `observe` every observation once, in random order, by batches."""
        order = torch.randperm(len(self), generator=generator, device=self.values.device)
        yield from order.split(batch_size)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` observations (count, D) drawn with replacement."""
        device = self.values.device
        index = torch.randint(len(self), (count,), device=device, generator=generator)
        return self.observe(index, generator)


@dataclass(frozen=True)
class Splits:
    """R splits of one shape for R models side by side: observations are (R, n, D).

    The methods are those of a `Split`, for R generators, and row r is what the split r alone would
    give.
    """

    rows: Sequence[Split]

    def __len__(self) -> int:
        return len(self.rows[0])

    def observe(self, index: Tensor, generators: Rows) -> Tensor:
        """Return the observations at `index` (R, n)."""
        first, *others = self.rows
        if all(split.values is first.values for split in others):
            return first.observe(index, generators)  # in fewer operations
        rows = zip(self.rows, index, generators, strict=True)
        return torch.stack([split.observe(i, generator) for split, i, generator in rows])

    def batches(self, batch_size: int, generators: Rows) -> Iterator[Tensor]:
        """Yield every observation once, in order, `batch_size` of each row at a time."""
        return map(torch.stack, self._together(Split.batches, batch_size, generators))

    def shuffled(self, batch_size: int, generators: Rows) -> Iterator[Tensor]:
        """Yield where to `observe` every observation once, in random order, by batches."""
        orders = next(self._together(Split.shuffled, len(self), generators))
        yield from torch.stack(orders).split(batch_size, -1)

    def sample(self, count: int, generators: Rows) -> Tensor:
        """Return `count` observations of each row, drawn with replacement."""
        rows = zip(self.rows, generators, strict=True)
        return torch.stack([split.sample(count, generator) for split, generator in rows])

    def _together(self, method: Callable, size: int, generators: Rows) -> Iterator[tuple]:
        rows = zip(self.rows, generators, strict=True)
        return zip(*(method(split, size, generator) for split, generator in rows), strict=True)


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know of its observations.

    `features` is D, how many numbers an observation (of a graph: a node) has; `likelihood` is the
    name of one, or a class like those of `svae.models.likelihoods`; `image_shape` is (height,
    width) or (3, height, width) where an observation can be shown as a picture, grey or coloured:
    of a coloured one all of the red comes first; `classes` is how many classes the labels of the
    training data tell apart, 0 without labels.
    """

    features: int
    likelihood: str | type
    image_shape: tuple[int, ...] | None = None
    classes: int = 0

    @property
    def kind(self) -> str:
        """Either "vectors" or "graph"."""
        return "graph" if self.likelihood == "edges" else "vectors"


@dataclass(frozen=True)
class DataSet:
    """Training, validation and test split, and what makes up their `spec`.

    `source` says what was read and what is done with it, `origin` how the splits were made.
    `data_hash` is the `digest` of the data as they were read, before any processing and splitting:
    of what is generated, of all that it follows from, as its last digits may depend on the machine.
    `fingerprint` is that of which rows are in which split. Where a data set of a person's own gives
    none, the observations of the splits stand for both. `given_units` are those of what was read,
    where rows have others. `class_names` are what the labels 0, 1, ... stand for, empty where they
    stand for themselves.
    """

    train: Split
    validation: Split
    test: Split
    likelihood: str | type
    image_shape: tuple[int, ...] | None = None
    fingerprint: str | None = None
    origin: str = ""
    source: str = ""
    data_hash: str | None = None
    given_units: Units | None = None
    class_names: Sequence[str] = ()

    @property
    def units(self) -> Units:
        """In which shape and units a person has observations; by default as they are in rows."""
        if self.given_units is not None:
            return self.given_units
        shape = self.image_shape or (self.spec.features,)
        kind = "uint8" if self.train.values.dtype == torch.uint8 else "float32"
        divisors = {kind: 255 if kind == "uint8" else 1}
        highest = 1 if self.train.binary or kind == "uint8" else None
        return Units(tuple(shape), divisors, highest, self.likelihood == "vmf")

    @property
    def spec(self) -> DataSpec:
        features, labels = self.train.values.shape[-1], self.classes
        return DataSpec(features, self.likelihood, self.image_shape, len(labels))

    @property
    def classes(self) -> list[int]:
        """The labels of the training observations, each once, in increasing order."""
        labels = getattr(self.train, "labels", None)  # a graph's nodes have none here
        return [] if labels is None else labels[labels != MISSING].unique().tolist()

    @property
    def naming(self) -> dict[str, np.ndarray]:
        """The array `class_names` by its name, nothing where labels stand for themselves."""
        names = [*map(str, self.class_names)]
        return {"class_names": np.array(names)} if names else {}

    @property
    def is_labelled(self) -> bool:
        """Whether some training and some test observations have labels."""
        labels = self.train.labels, self.test.labels
        return all(own is not None and bool((own != MISSING).any()) for own in labels)

    @property
    def split_hash(self) -> str:
        """A hash that tells this split from any other: `fingerprint`, or the observations'."""
        if self.fingerprint is not None:
            return self.fingerprint
        parts = ({"values": split.values, **split.known} for split in self._splits.values())
        return digest(*(part for own in parts for item in own.items() for part in item))

    @property
    def _splits(self) -> dict:
        return {name: getattr(self, name) for name in ("train", "validation", "test")}

    @property
    def device(self) -> torch.device:
        return self.train.values.device

    def to(self, device: torch.device) -> "DataSet":
        return replace(self, **{name: own.to(device) for name, own in self._splits.items()})
