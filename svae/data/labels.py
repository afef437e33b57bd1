"""Few labels: which of them a model is given, and batches with and without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from svae.data.splits import MISSING, DataSet, Split
from svae.noise import Source


def keep(split: Split, count: int | None, seed: int) -> Split:
    """Return a split with `count` of its labels, of each class as many, the others missing.

    They are drawn by `seed`. Where `count` is no multiple of the number of classes, some, drawn
    too, have one more. None keeps all of them.

    Raises:
        ValueError: for more labels than there are, in all or of a class, and for less than one of
            each class.
    """
    if count is None:
        return split
    labels = np.full(len(split), MISSING) if split.labels is None else split.labels.numpy()
    classes, sizes = np.unique(labels[labels != MISSING], return_counts=True)
    if not len(classes):
        raise ValueError(f"dataset.labels={count}: the training rows have none, expected null")
    if count > sizes.sum():
        raise ValueError(
            f"dataset.labels={count}: expected at most {sizes.sum()}, which the {len(labels)} "
            "training rows have"
        )
    if count < len(classes):
        raise ValueError(
            f"dataset.labels={count}: leaves one of the {len(classes)} classes without a label, "
            f"expected at least {len(classes)}"
        )
    random = np.random.default_rng(seed)
    kept = np.full_like(labels, MISSING)
    for rank, place in enumerate(random.permutation(len(classes))):
        share = count // len(classes) + (rank < count % len(classes))
        if share > sizes[place]:
            raise ValueError(
                f"dataset.labels={count}: takes {share} of class {classes[place]}, which has "
                f"{sizes[place]}, expected at most {len(classes) * sizes.min()}"
            )
        rows = random.permutation(np.flatnonzero(labels == classes[place]))[:share]
        kept[rows] = classes[place]
    return replace(split, labels=torch.from_numpy(kept))


def labelled(split: Split) -> Split:
    """Return the observations whose label is known, in order."""
    if split.labels is None or (known := split.labels != MISSING).all():
        return split
    return split.take(known.nonzero().squeeze(1).cpu().numpy())


def check(data: DataSet) -> None:
    """Refuse data all of whose training labels are known, and classes without one among these.

    Raises:
        ValueError: for such data.
    """
    known = len(labelled(data.train))
    if known == len(data.train):
        raise ValueError(
            f"network=m1m2: all {known} training rows have a label, expected some without, as with "
            f"dataset.labels={10 * len(data.classes)}"
        )
    for name in ("validation", "test"):
        labels = getattr(data, name).labels
        found = [] if labels is None else labels[labels != MISSING].unique().tolist()
        if unknown := sorted({*found} - {*data.classes}):
            raise ValueError(
                f"network=m1m2: class {unknown[0]} of the {name} rows has no label among those "
                "that train, expected at least one"
            )


def described(count: int | None, seed: int) -> str:
    """Say how many training labels are left, nothing if all."""
    return "" if count is None else f"; {count} training labels, drawn by dataset.split_seed={seed}"


def withheld(whole: Split, train: Split) -> str:
    """Say how many labels do not train where some are missing, nothing where none is."""
    if whole.labels is None or not (whole.labels == MISSING).any():
        return ""
    known, kept = len(labelled(whole)), len(labelled(train))
    return f"; {known - kept} of {known} labels are held out" if known > kept else ""


class Batch(NamedTuple):
    """Observations (n, D), and what is known of their classes.

    `labels` (n,) are the numbers of the classes, 0 to K - 1, or -1. The last `given` of them are
    what a model may learn from; of all the others the bound is that of an unknown label, and a
    label only measures. `share` is that of the observations with a label in the whole split.
    """

    observations: Tensor
    labels: Tensor
    given: int
    share: float


@dataclass(frozen=True)
class Partly:
    """A split of which some observations have a label, by batches with their labels.

    The methods are those of a `Split`. Where labels are given, in training, an epoch goes once
    through the observations without, and `given` of those with a label come with every batch: all
    of them, or the next ones in random order, round and round.

    Args:
        split: the observations; a label of -1 is missing.
        classes: the labels in increasing order; the place of each is its number.
        given: how many observations whose label is given come with every batch.
    """

    split: Split
    classes: Sequence[int]
    given: int = 0

    def __len__(self) -> int:
        return len(self._rows(labelled=False)) if self.given else len(self.split)

    @cached_property
    def numbers(self) -> Tensor:
        """The numbers (N,) of the classes, -1 where a label is missing or is none of them."""
        labels = self.split.labels
        if labels is None:
            return torch.full((len(self.split),), MISSING, device=self.split.values.device)
        classes = torch.tensor(self.classes, device=labels.device)
        places = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
        return places.where(classes[places] == labels, MISSING)

    @cached_property
    def share(self) -> float:
        """That of the observations with a label among all."""
        return (self.numbers != MISSING).double().mean().item()

    def observe(self, index: Tensor | slice, generator: Source = None) -> Batch:
        """Return the observations at `index`, fresh draws where they are binary, and labels."""
        observations = self.split.observe(index, generator)
        return Batch(observations, self.numbers[index], self.given, self.share)

    def batches(self, batch_size: int, generator: Source = None) -> Iterator[Batch]:
        """Yield every observation once, in order, `batch_size` at a time."""
        for start in range(0, len(self.split), batch_size):
            yield self.observe(slice(start, start + batch_size), generator)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield where to `observe` the observations of an epoch, in random order, by batches."""
        without, labelled = (self._drawn(known, generator) for known in (False, True))
        places = torch.arange(self.given, device=labelled.device)
        for number, batch in enumerate(without.split(batch_size)):
            yield torch.cat([batch, labelled[(places + number * self.given) % len(labelled)]])

    def _rows(self, *, labelled: bool) -> Tensor:
        return ((self.numbers != MISSING) == labelled).nonzero().squeeze(1)

    def _drawn(self, labelled: bool, generator: torch.Generator) -> Tensor:
        rows = self._rows(labelled=labelled)
        return rows[torch.randperm(len(rows), generator=generator, device=rows.device)]
