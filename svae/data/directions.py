"""Directions: observations that are unit vectors or angles, generated or from a CSV file."""

import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from svae.data.holdout import hold_out
from svae.data.labels import described, keep, withheld
from svae.data.splits import MISSING, DataSet, Split, digest
from svae.data.units import TOLERANCE, TURNS, Units, on_circles

LIKELIHOODS = ("vmf", "gaussian", "heteroscedastic")
_NO_LABEL = {"label": str(MISSING)}  # what an empty cell of a column stands for
_LARGEST = 2**53  # below it whole numbers are told apart


def load(
    file: str | None = None,
    unit: str | None = None,
    likelihood: str = "vmf",
    columns: int = 8,
    observations: int = 7000,
    seed: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    unwrapped: bool = True,
    order: str = "file",
    split_seed: int = 0,
    labels: int | None = None,
) -> DataSet:
    """Read directions from a CSV file (see `read`), or without a file generate some (see `winds`).

    With `likelihood="vmf"` each unit vector has a von Mises-Fisher law. For comparison "gaussian"
    and "heteroscedastic" treat the same numbers as any others: one deviation per number, or a
    deviation that varies with the latent vector as the concentration does. Of a file what validates
    and tests is drawn as `svae.data.holdout` says; of generated rows, which are at random already,
    the last test and those before them validate. The defaults of `unwrapped` and `order` are what
    was done before there were such keys.

    Raises:
        ValueError: for what cannot be read or is no direction, with file, line and column.
    """
    if likelihood not in LIKELIHOODS:
        raise ValueError(
            f"dataset.likelihood={likelihood}: expected one of {', '.join(LIKELIHOODS)}"
        )
    kinds = positions = units = None
    class_names: list[str] = []
    if file is None:
        vectors, positions = winds(columns, observations, seed)
        data_hash, source, order = digest("winds", columns, observations, seed), "", "file"
    else:
        path = Path(os.path.expanduser(file))
        vectors, kinds, class_names, source, data_hash, units = read(path, unit, unwrapped)
    count, size = len(vectors), vectors.shape[-1]
    test, held_out = (int(count * s) for s in (test_fraction, validation_fraction + test_fraction))
    if not 0 < test < held_out < count:
        raise ValueError(
            f"dataset.validation_fraction={validation_fraction}, dataset.test_fraction="
            f"{test_fraction}: leave a split of {count} directions empty"
        )
    counts = {"test": test, "validation": held_out - test}
    rows = hold_out(count, counts, order, split_seed, kinds)
    arrays = (vectors.reshape(count, -1).astype(np.float32), kinds, positions)
    values, kinds, positions = (None if a is None else torch.from_numpy(a) for a in arrays)
    whole = Split(values, kinds, positions=positions, directions=size)
    splits = {name: whole.take(own) for name, own in rows.items()}
    of_labels = withheld(whole, splits["train"]) + described(labels, split_seed)
    splits["train"] = keep(splits["train"], labels, split_seed)
    # by their places, as before they were kept as they are: else no such run would go on
    places = [] if labels is None else [_places(splits["train"].labels.numpy(), kinds.numpy())]
    circles = "von_mises" if size == 2 else "vmf"
    words = f"at random by dataset.split_seed={split_seed}"
    words += ", of each class its share" if whole.labels is not None else ""
    return DataSet(
        **splits,
        likelihood=circles if likelihood == "vmf" else likelihood,
        origin=(words if order == "shuffled" else "in order, the last rows test") + of_labels,
        source=source,
        data_hash=data_hash,
        fingerprint=digest(
            *(part for name in sorted(rows) for part in (name, rows[name])),
            *(part for own in places for part in ("labels", own)),
        ),
        given_units=units,
        class_names=class_names,
    )


def winds(columns: int, observations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate wind directions (N, columns, 2) at some stations, and the weather (N, 2) behind.

    At station k: a_k + s_k t + b_k sin(t + c_k), s_k = 1 or -1, b_k up to 1, in radians, with von
    Mises noise of a concentration between 2 and 50; the weather t is uniform on the circle.
    """
    random = np.random.default_rng(seed)
    shift, phase = random.uniform(-np.pi, np.pi, (2, columns))
    turn, bend = random.choice([-1, 1], columns), random.uniform(0, 1, columns)
    concentration = np.geomspace(2, 50, columns)
    weather = random.uniform(-np.pi, np.pi, (observations, 1))
    angle = shift + turn * weather + bend * np.sin(weather + phase)
    angle += random.vonmises(0, concentration, angle.shape)
    vectors, positions = (on_circles(own, "radians") for own in (angle, weather))
    return vectors, positions[:, 0].astype(np.float32)


class Directions(NamedTuple):
    """What a file holds: unit vectors (N, K, p), classes (N,) or None, and in which units it was.

    `class_names` are what classes stand for, empty where for themselves. `source` says in words
    what was read, `data_hash` is its digest.
    """

    vectors: np.ndarray
    labels: np.ndarray | None
    class_names: list[str]
    source: str
    data_hash: str
    units: Units


def read(path: Path, unit: str | None, unwrapped: bool = False) -> Directions:
    """Read directions and, where a column is named `label`, classes.

    Labels that are whole numbers stay as they are, others are numbered 0, 1, ... A label of -1, or
    none between two commas, is missing: -1.

    A line of the file is an observation: with `unit` degrees or radians K angles, each of which
    becomes a point (cos, sin) of the circle, so p = 2; with `unit` vectors the coordinates of one
    unit vector, K = 1. The first line may hold names. Angles beyond 2 pi, which are rather degrees,
    are radians only if they are `unwrapped`.

    Raises:
        ValueError: with the line and the column.
    """
    if unit not in ("degrees", "radians", "vectors"):
        shown = "null" if unit is None else unit
        raise ValueError(
            f"dataset.unit={shown}: expected one of degrees, radians, vectors with dataset.file"
        )
    names, rows = _table(path)
    numbers = np.array([_numbers(path, line, row, names) for line, row in rows])
    labels, class_names, data_hash = None, [], digest(numbers, *names)
    if "label" in names:
        column = names.index("label")
        labels, class_names = _classes(numbers[:, column])
        numbers, names = np.delete(numbers, column, 1), names[:column] + names[column + 1 :]
    if unit == "vectors":
        lines = [line for line, _ in rows]
        vectors, units = _unit_vectors(path, lines, numbers), _units(numbers, is_direction=True)
        source = "unit vectors, normalised"
        return Directions(vectors, labels, class_names, source, data_hash, units)
    if unit == "radians" and not unwrapped:
        _refuse_beyond_a_turn(path, [line for line, _ in rows], numbers, names)
    source = f"angles from {numbers.min():.6g} to {numbers.max():.6g} {unit}, put on circles"
    kind = "unwrapped" if unit == "radians" and unwrapped else unit
    units = _units(numbers, angles=kind, first=_first(numbers, TURNS[kind]))
    vectors = on_circles(numbers, kind)
    return Directions(vectors, labels, class_names, source, data_hash, units)


def _first(angles: np.ndarray, turn: float) -> float:
    """Return the angle from which one turn goes that holds them all, as far as one does."""
    low, high, rounding = angles.min(), angles.max(), 1e-6 * turn
    starts = (0.0, -turn / 2, -turn, float(low))
    holds = (s for s in starts if s - rounding <= low and high <= s + turn + rounding)
    return next(holds, 0.0 if low >= 0 else -turn / 2)


def _units(numbers: np.ndarray, **options) -> Units:
    return Units(numbers.shape[1:], {"float64": 1}, **options)


def _classes(cells: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return whole numbers as they are, others by their places, and then what these stand for."""
    if (np.abs(cells) < _LARGEST).all() and (cells == np.rint(cells)).all():
        return cells.astype(np.int64), []
    return _places(cells, cells), [f"{cell:g}" for cell in np.unique(cells[cells != MISSING])]


def _places(labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the places (n,) of labels in order among those that there are, -1 where missing."""
    places = np.searchsorted(np.unique(among[among != MISSING]), labels)
    return np.where(labels == MISSING, MISSING, places)


def _refuse_beyond_a_turn(path: Path, lines: list[int], angles: np.ndarray, names) -> None:
    beyond = np.argwhere(np.abs(angles) > 2 * np.pi + TOLERANCE)
    if not len(beyond):
        return
    row, column = beyond[0]
    raise ValueError(
        f"{path}, line {lines[row]}, column {names[column]}: {angles[row, column]:g} radians is "
        "more than a turn, expected dataset.unit=degrees, or dataset.unwrapped=true if angles are "
        "meant to go on beyond 2 pi"
    )


def _unit_vectors(path: Path, lines: list[int], numbers: np.ndarray) -> np.ndarray:
    """Return the rows as unit vectors (N, 1, p)."""
    lengths = np.linalg.norm(numbers, axis=1)
    wrong = np.flatnonzero(np.abs(lengths - 1) > TOLERANCE)
    if numbers.shape[1] < 2 or len(wrong):
        line, length = (lines[wrong[0]], lengths[wrong[0]]) if len(wrong) else (1, lengths[0])
        raise ValueError(
            f"{path}, line {line}: expected a unit vector of two numbers or more, got "
            f"{numbers.shape[1]} of length {length:.6g}"
        )
    return (numbers / lengths[:, None])[:, None]


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns (numbers where there are none), and numbered lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(i, row) for i, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise ValueError(f"dataset.file={path}: expected a readable CSV file ({error})") from None
    names = [str(i + 1) for i in range(len(rows[0][1]))] if rows else []
    if rows and any(rows[0][1]) and not any(_is_number(cell) for cell in rows[0][1]):
        names = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows or names == ["label"]:
        raise ValueError(f"dataset.file={path}: expected lines of numbers, found none")
    return names, rows


def _numbers(path: Path, line: int, row: list[str], names: list[str]) -> list[float]:
    if len(row) != len(names):
        raise ValueError(f"{path}, line {line}: expected {len(names)} columns, got {len(row)}")
    row = [cell.strip() or _NO_LABEL.get(name, "") for name, cell in zip(names, row, strict=True)]
    for name, cell in zip(names, row, strict=True):
        if not _is_number(cell):
            place = f"{path}, line {line}, column {name}"
            raise ValueError(f"{place}: expected a number, got {repr(cell)[:40]}")
    return [float(cell) for cell in row]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
