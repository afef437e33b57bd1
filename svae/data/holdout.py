"""Which rows of a file train, and which are held out of them."""

from collections.abc import Mapping

import numpy as np

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
    return rows


def _by_class(rows: np.ndarray, labels: np.ndarray | None, random) -> np.ndarray:
    """Return `rows` in random order, or so that those of a class stand together."""
    rows = random.permutation(rows)
    if labels is None:
        return rows
    names, classes = np.unique(labels, return_inverse=True)
    ranks = random.permutation(len(names))[classes]
    return rows[np.argsort(ranks[rows], kind="stable")]
