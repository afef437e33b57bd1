"""Which rows of a file train, and which are held out of them."""

from collections.abc import Mapping

import numpy as np

from svae.data.splits import MISSING

ORDERS = ("shuffled", "time", "file")
_IN_TIME = ("test", "validation")  # which is cut off first, from the end


def hold_out(
    total: int,
    counts: Mapping[str, int],
    order: str,
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the rows of `train` and of each split in `counts`, by their numbers 0 to `total` - 1.

    With `order="shuffled"` they are drawn at random by `seed`, and where there are `labels`
    (`total`,), every split holds each class in its share, within one row: of the rows in the order
    of their classes, which is itself at random, every (total / count)-th is taken. Otherwise each
    split is what is left at the end: with `order="time"` the very last rows test and those before
    them validate, with `order="file"` the first of `counts` has the very last rows.

    Of what is drawn where some labels are missing (-1), every class that has a label has one among
    the rows that train, as far as there are rows to change places with.

    Raises:
        ValueError: for another order.
    """
    if order not in ORDERS:
        raise ValueError(f"dataset.order={order}: expected one of {', '.join(ORDERS)}")
    left, held_out = np.arange(total), {}
    random = np.random.default_rng(seed)
    if order == "shuffled":
        left = _by_class(left, labels, random)
    names = sorted(counts, key=_IN_TIME.index) if order == "time" else counts
    for name in names:
        count = counts[name]
        places = np.arange(len(left) - count, len(left))
        if order == "shuffled":
            places = ((np.arange(count) + random.random()) * (len(left) / count)).astype(np.int64)
        held_out[name] = left[places]
        left = np.delete(left, places)
    rows = {"train": left, **held_out}
    if order == "shuffled":  # no longer by class
        rows = {name: random.permutation(own) for name, own in rows.items()}
        if labels is not None and (labels == MISSING).any():
            _give_back(rows, labels)
    return rows


def _give_back(rows: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Let a held-out row of each class that has no label in training change places with another.

    The other is one without a label, or of the class with most labels if there is none. Nothing is
    drawn and nothing else moves: where each class has a label, splits are as they were.
    """
    train = rows["train"]
    for kind in np.setdiff1d(labels[labels != MISSING], labels[train]):
        held_out = next(own for own in rows.values() if (labels[own] == kind).any())
        place, other = np.flatnonzero(labels[held_out] == kind)[0], _spare(labels[train])
        if other is not None:
            train[other], held_out[place] = held_out[place], train[other]


def _spare(labels: np.ndarray) -> int | None:
    """Return the first place without a label, or of the class with most; None if each has one."""
    kinds, counts = np.unique(labels, return_counts=True)
    if MISSING in kinds:
        return int(np.flatnonzero(labels == MISSING)[0])
    most = counts.argmax()
    return int(np.flatnonzero(labels == kinds[most])[0]) if counts[most] > 1 else None


def _by_class(rows: np.ndarray, labels: np.ndarray | None, random) -> np.ndarray:
    """Return `rows` in random order, or so that those of a class stand together."""
    rows = random.permutation(rows)
    if labels is None:
        return rows
    names, classes = np.unique(labels, return_inverse=True)
    ranks = random.permutation(len(names))[classes]
    return rows[np.argsort(ranks[rows], kind="stable")]
