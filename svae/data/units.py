"""Between a person's own observations and the rows of numbers that a model works on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svae.data.levels import found

_LARGEST = np.finfo(np.float32).max
# a turn, by what angles are in; those that are unwrapped may go on beyond it
TURNS = {"degrees": 360.0, "radians": 2 * np.pi, "unwrapped": 2 * np.pi}
TOLERANCE = 0.01  # of the length of a unit vector, of an angle of a turn: files are rounded


@dataclass(frozen=True)
class Units:
    """In which shape and units a person has observations, as the training data were.

    Args:
        shape: of one observation, such as (28, 28).
        divisors: what arrays of a type, such as uint8, are divided by to be rows.
        highest: of a row's numbers, which then begin at 0; None where any number will do.
        is_direction: whether a row is one unit vector.
        channels: the axis of the colours of images (N, ...), which stand first in rows.
        angles: what observations are angles in, a key of TURNS; (cos, sin) of each stand in rows.
        first: the angle from which the turn of decoded ones goes.
    """

    shape: tuple[int, ...]
    divisors: Mapping[str, int]
    highest: int | None = None
    is_direction: bool = False
    channels: int | None = None
    angles: str | None = None
    first: float = 0.0

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Units":
        """Return those of which `saved` are the plain values."""
        return cls(**{**saved, "shape": tuple(saved["shape"])})

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape) * (1 if self.angles is None else 2)

    def rows(self, array: np.ndarray, name: str = "x") -> Tensor:
        """Return observations (N, *shape) as rows (N, D) of float32.

        Raises:
            ValueError: when shape, type or range are not those of the training data.
        """
        divisor = self.divisor(array, name)
        if not array.size:
            return torch.zeros(0, self.features)
        if array.dtype.kind == "f" and not (np.abs(array) <= _LARGEST).all():
            bad = array[~(np.abs(array) <= _LARGEST)][0]
            raise ValueError(f"{name}: expected finite numbers, got {bad}")
        if self.highest is not None and not 0 <= array.min() <= array.max() <= divisor:
            raise ValueError(
                f"{name}: expected numbers from 0 to {divisor}, as this run was trained on, got "
                f"{found(array)}"
            )
        if self.angles is not None:
            return self._circles(array.astype(np.float64), name)
        planes = array if self.channels is None else np.moveaxis(array, self.channels, 1)
        rows = torch.from_numpy(planes.astype(np.float32).reshape(len(array), -1))
        if self.is_direction:
            return normalised(rows, name)
        return rows if divisor == 1 else rows / divisor

    def _circles(self, angles: np.ndarray, name: str) -> Tensor:
        furthest = np.abs(angles).max()
        if self.angles == "radians" and furthest > TURNS["radians"] + TOLERANCE:
            raise ValueError(
                f"{name}: expected angles in radians, as this run was trained on, got "
                f"{furthest:g}, more than a turn"
            )
        points = on_circles(angles, self.angles).astype(np.float32)
        return torch.from_numpy(points.reshape(len(angles), -1))

    def observations(self, rows: Tensor) -> np.ndarray:
        """Return rows (..., D) as observations (..., *shape), float32, in the units of the data."""
        if self.angles is not None:
            points = rows.unflatten(-1, (-1, 2)).cpu().numpy()
            found = np.arctan2(points[..., 1], points[..., 0]) * (TURNS[self.angles] / (2 * np.pi))
            found = (found - self.first) % TURNS[self.angles] + self.first
            return found.reshape(*rows.shape[:-1], *self.shape)
        scaled = (rows if self.unit == 1 else rows * self.unit).cpu().numpy()
        if self.channels is None:
            return scaled.reshape(*rows.shape[:-1], *self.shape)
        shape, axis = list(self.shape), self.channels - 1
        planes = scaled.reshape(*rows.shape[:-1], shape.pop(axis), *shape)
        return np.moveaxis(planes, -len(self.shape), axis - len(self.shape))

    @property
    def unit(self) -> int:
        """What a row's 1 stands for."""
        return next(iter(self.divisors.values()))

    def divisor(self, array: np.ndarray, name: str = "x") -> int:
        """Return what observations are divided by, by shape and type alone.

        Raises:
            ValueError: when these are not those of the training data.
        """
        if array.shape[1:] != self.shape or not array.ndim:
            wanted = ", ".join(map(str, ("N", *self.shape)))
            alone = "; one alone is x[None]" if array.shape == self.shape else ""
            raise ValueError(f"{name}: expected shape ({wanted}), got {array.shape}{alone}")
        kind = array.dtype
        if str(kind) in self.divisors:
            return self.divisors[str(kind)]
        is_alike = {"f": "f", "i": "iu", "u": "iu", "b": ""}.get(kind.kind, "")
        known = [d for other, d in self.divisors.items() if np.dtype(other).kind in is_alike]
        plain = [divisor for divisor in self.divisors.values() if divisor == 1]
        if kind.kind in "biuf" and (known or plain):
            return (known or plain)[0]
        types = " or ".join(self.divisors)
        raise ValueError(
            f"{name}: expected {types}, as this run was trained on, got {kind} {array.shape}"
        )

    def saved(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint."""
        plain = {"shape": [int(n) for n in self.shape], "divisors": dict(self.divisors)}
        others = ["highest", "is_direction", "channels"]
        others += [] if self.angles is None else ["angles", "first"]
        return plain | {name: getattr(self, name) for name in others}


def on_circles(angles: np.ndarray, unit: str) -> np.ndarray:
    """Return angles (...), in a key of TURNS, as points (..., 2) of the circle: (cos, sin)."""
    radians = angles * (2 * np.pi / TURNS[unit])
    return np.stack([np.cos(radians), np.sin(radians)], -1)


def normalised(rows: Tensor, name: str) -> Tensor:
    """Return unit vectors (N, D), which files round, of length 1.

    Raises:
        ValueError: when one of them is none.
    """
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    wrong = (lengths - 1).abs() > TOLERANCE
    if wrong.any():
        raise ValueError(f"{name}: expected unit vectors, got one of length {lengths[wrong][0]:g}")
    return rows / lengths
