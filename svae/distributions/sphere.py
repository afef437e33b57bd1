"""The unit sphere S^{m-1} in R^m: its area, its constraint, and points at a given angle."""

import math

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints


class UnitSphere(constraints.Constraint):
    """Vectors of length 1, up to a hundred roundings of their dtype."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(value, dim=-1)
        return (norm - 1).abs() <= 100 * torch.finfo(value.dtype).eps


unit_sphere = UnitSphere()
# inf is refused: the limit is a point mass, without density or entropy
finite_nonnegative = constraints.half_open_interval(0.0, math.inf)


def log_sphere_area(m: int) -> float:
    """Returns log(2 pi^{m/2} / Gamma(m/2)), the log area of the unit sphere in R^m."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


def broadcast_parameters(loc: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    """Returns loc (..., m) and concentration (...) expanded to one batch shape.

    Raises:
        ValueError: if m < 2, the shapes do not broadcast, or the dtypes differ.
    """
    m = loc.shape[-1] if loc.dim() else 0
    if m < 2:
        raise ValueError(f"loc needs m >= 2 entries in its last axis, got shape {tuple(loc.shape)}")
    if loc.dtype != concentration.dtype:
        raise ValueError(
            f"loc and concentration need one dtype, got {loc.dtype} and {concentration.dtype}"
        )
    try:
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
    except RuntimeError as error:
        raise ValueError(
            f"loc of shape {tuple(loc.shape)} and concentration of shape "
            f"{tuple(concentration.shape)} have batch shapes that do not broadcast"
        ) from error
    return loc.expand(*batch, m), concentration.expand(batch)


def joint_batch_shape(p: Distribution, q: Distribution) -> Size:
    """Returns the batch shape of a divergence between p and q.

    Raises:
        ValueError: if p and q live in spaces of different dimension.
    """
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"a divergence needs one space, got R^{p.event_shape[0]} and R^{q.event_shape[0]}"
        )
    return torch.broadcast_shapes(p.batch_shape, q.batch_shape)


def uniform_direction(
    shape: Size, m: int, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Returns unit vectors, uniform on S^{m-1}, of shape (*shape, m) with the dtype of like."""
    g = torch.randn(*shape, m, dtype=like.dtype, device=like.device, generator=generator)
    if m == 1:
        # a float32 normal is exactly 0 once in 2^24, and 0/0 would end a training
        return torch.ones_like(g).copysign(g)
    return g / torch.linalg.vector_norm(g, dim=-1, keepdim=True)


def compose(
    loc: Tensor,
    complement: Tensor,
    sine: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns x = w loc + sqrt(1 - w^2) v, v uniform among the unit vectors orthogonal to loc.

    The angle comes as complement = 1 - w and sine = sqrt(1 - w^2), for neither can be had from a w
    that was rounded next to 1. v is the reflection of (0, e), e uniform on S^{m-2}, along
    loc + s e_1 with s the sign of loc_1:

        v = (-s d, e - loc_{2:} d / (1 + |loc_1|)),     d = loc_{2:}.e

    which divides by at least 1 wherever loc points: x stays on the sphere, also at loc = +-e_1.

    Args:
        loc: unit vectors, (..., m).
        complement: 1 - w in [0, 2]; its shape is that of the samples.
        sine: sqrt(1 - w^2) in [0, 1], same shape.
        generator: the source of the direction v.
    """
    m = loc.shape[-1]
    e = uniform_direction(complement.shape, m - 1, loc, generator)
    first, others = loc[..., :1], loc[..., 1:]
    d = (others * e).sum(-1, keepdim=True)
    s = torch.ones_like(first).copysign(first)
    v = torch.cat((-s * d, e - others * (d / (1 + first.abs()))), -1)
    return loc - complement.unsqueeze(-1) * loc + sine.unsqueeze(-1) * v
