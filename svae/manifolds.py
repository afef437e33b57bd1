"""The spaces in which latent vectors lie, and what metrics and pictures have to know of them.

A manifold is a set of points in R^m, m its `ambient_dim`. A class of one's own that has the
attributes and methods of `Euclidean` serves as well as those here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Grid(NamedTuple):
    """Points (rows * columns, m) that cover the prior evenly, row by row, and a name for them."""

    points: Tensor
    rows: int
    name: str


def _chords(x: Tensor, y: Tensor) -> Tensor:
    """Return |x - y| (N, K) of x (N, m) and y (K, m), which |x|^2 - 2 xy + |y|^2 would round."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Euclidean:
    """R^d with the straight line and its length.

    `has_axes`: the prior is independent in each coordinate, so that single ones can collapse.
    `is_compact`: inner products are bounded.
    """

    dim: int

    path = "the straight line"
    has_axes = True
    is_compact = False

    def __str__(self) -> str:
        return f"R^{self.dim}"

    @property
    def ambient_dim(self) -> int:
        return self.dim

    def contains(self, points: Tensor) -> bool:
        """Return whether all points (..., m) lie in it, up to rounding."""
        return True

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distances (N, K) of the points x (N, m) from the points y (K, m)."""
        return _chords(x, y)

    def geodesic(self, first: Tensor, last: Tensor, share: Tensor) -> Tensor:
        """Return points (N, S, m) at the shares (S,) of the ways from `first` to `last` (N, m)."""
        return torch.lerp(first[:, None], last[:, None], share[:, None])

    def centres(self, points: Tensor, members: Tensor) -> Tensor:
        """Return the centre (K, m) of each cluster of points (N, m); members (N, K) are 0 or 1."""
        return members.T @ points / members.sum(0)[:, None]

    def centred(self, points: Tensor) -> Tensor:
        """Return points (N, m) as they are seen from the middle of the space, or of themselves."""
        return points - points.mean(0)

    def standardised(self, points: Tensor) -> Tensor:
        """Return points (..., m) scaled so that each coordinate has variance 1 under the prior."""
        return points

    def grid(self) -> Grid | None:
        """Return quantiles of the standard Gaussian in each dimension, None beyond two.

        Kingma and Welling 2014, figure 4.
        """
        if self.dim > 2:
            return None
        count = 40 if self.dim == 1 else 15
        quantiles = torch.special.ndtri((torch.arange(count) + 0.5) / count)
        if self.dim == 1:
            name = "quantiles of the prior from 1.25 % to 98.75 %, in two rows"
            return Grid(quantiles[:, None], 2, name)
        down, across = torch.meshgrid(-quantiles, quantiles, indexing="ij")
        points = torch.stack([across, down], -1).flatten(0, 1)
        name = "quantiles of the prior from 3 % to 97 %: z1 across, z2 up (equal shares)"
        return Grid(points, count, name)


@dataclass(frozen=True)
class Sphere:
    """The unit sphere S^d in R^(d+1) with great circles and angles; see `Euclidean`."""

    dim: int

    path = "the great circle"
    has_axes = False
    is_compact = True

    def __str__(self) -> str:
        return f"S^{self.dim}"

    @property
    def ambient_dim(self) -> int:
        return self.dim + 1

    def contains(self, points: Tensor) -> bool:
        return bool((points.norm(dim=-1) - 1).abs().max() <= 1e-3)

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        # by the chord, without products: of near directions a cosine in float32 tells nothing
        return 2 * (_chords(x, y) / 2).clamp(max=1).asin()

    def geodesic(self, first: Tensor, last: Tensor, share: Tensor) -> Tensor:
        """Return points of the arcs from `first` to `last`.

        sin((1 - s) t) / sin t first + sin(s t) / sin t last, t the angle between them (Shoemake
        1985). Where both are the same they are returned; opposite ends have no shortest arc.
        """
        chord = torch.linalg.vector_norm(first - last, dim=-1)
        angle = 2 * torch.asin((chord / 2).clamp(max=1))
        angle = angle.clamp(1e-4, math.pi - 1e-4)[:, None, None]
        share, first, last = share[:, None], first[:, None], last[:, None]
        points = torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last
        return F.normalize(points, dim=-1)

    def centres(self, points: Tensor, members: Tensor) -> Tensor:
        """Return the mean directions."""
        return F.normalize(members.T @ points, dim=-1)

    def centred(self, points: Tensor) -> Tensor:
        return points

    def standardised(self, points: Tensor) -> Tensor:
        return points * math.sqrt(self.ambient_dim)

    def grid(self) -> Grid | None:
        """Return a turn of the circle, or Lambert's cylindrical equal-area grid of S^2."""
        if self.dim == 1:
            turn = torch.arange(40) * (2 * math.pi / 40)
            name = "once round the circle, 9 degrees a step, in two rows"
            return Grid(torch.stack([turn.cos(), turn.sin()], -1), 2, name)
        if self.dim > 2:
            return None
        sine = 1 - (torch.arange(10) + 0.5) / 5
        turn = torch.linspace(-math.pi, math.pi, 21)[:-1] + math.pi / 20
        sine, turn = torch.meshgrid(sine, turn, indexing="ij")
        radius = (1 - sine**2).sqrt()
        points = torch.stack([radius * turn.cos(), radius * turn.sin(), sine], -1).flatten(0, 1)
        words = "the whole sphere: longitude -180 to 180 degrees across"
        return Grid(points, 10, f"{words}, sine of the latitude 1 to -1 down (equal areas)")


class Product:
    """The product of manifolds, their coordinates one after another; see `Euclidean`.

    Its distance is the root of the sum of the squared distances in the factors.
    """

    path = "the shortest way in each factor"
    has_axes = False

    def __init__(self, *factors: "Euclidean | Sphere | Product"):
        self.factors = factors
        self.dim = sum(factor.dim for factor in factors)
        self.ambient_dim = sum(factor.ambient_dim for factor in factors)
        self.is_compact = all(factor.is_compact for factor in factors)

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.factors))})"

    def __str__(self) -> str:
        return " x ".join(map(str, self.factors))

    def split(self, points: Tensor) -> tuple[Tensor, ...]:
        """Return the coordinates (..., m_k) in each factor of points (..., m)."""
        return points.split([factor.ambient_dim for factor in self.factors], -1)

    def _joined(self, function: Callable[..., Tensor], *points: Tensor) -> Tensor:
        parts = zip(self.factors, *map(self.split, points), strict=True)
        return torch.cat([function(*part) for part in parts], -1)

    def contains(self, points: Tensor) -> bool:
        parts = zip(self.factors, self.split(points), strict=True)
        return all(factor.contains(part) for factor, part in parts)

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self.factors, self.split(x), self.split(y), strict=True)
        return sum(factor.distances(*both).square() for factor, *both in parts).sqrt()

    def geodesic(self, first: Tensor, last: Tensor, share: Tensor) -> Tensor:
        return self._joined(lambda factor, a, b: factor.geodesic(a, b, share), first, last)

    def centres(self, points: Tensor, members: Tensor) -> Tensor:
        return self._joined(lambda factor, part: factor.centres(part, members), points)

    def centred(self, points: Tensor) -> Tensor:
        return self._joined(lambda factor, part: factor.centred(part), points)

    def standardised(self, points: Tensor) -> Tensor:
        return self._joined(lambda factor, part: factor.standardised(part), points)

    def grid(self) -> Grid | None:
        return None


Manifold = Euclidean | Sphere | Product
