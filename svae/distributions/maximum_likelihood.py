"""Concentrations and mean directions of greatest likelihood, from unit vectors; in float64."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from svae.distributions.sphere import refuse_untensored, unit_sphere
from svae.special import bessel_moments

LARGEST = 1e8  # a concentration; that of a single point has no limit
_CANDIDATES, _STARTS = 256, 4
_STEPS, _ROUNDING = 500, 1e-15
_TINY, _LONGEST = 1e-300, 1e6


def weighted(x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return unit vectors (..., N, m) and weights (..., N) of sum 1, in float64.

    Raises:
        ValueError: when `x` are no unit vectors, or a weight is negative, or none is positive.
    """
    refuse_untensored("x", x)
    if x.dim() < 2 or x.shape[-1] < 2 or not x.shape[-2]:
        raise ValueError(f"x: expected unit vectors (..., N, m), m from 2 up, got {tuple(x.shape)}")
    if not x.is_floating_point() or not unit_sphere.check(x).all():
        raise ValueError("x: expected vectors of length 1, of floating point numbers")
    x = F.normalize(x.detach().double(), dim=-1)
    if weights is None:
        return x, x.new_full(x.shape[:-1], 1 / x.shape[-2])
    refuse_untensored("weights", weights)
    try:
        w = weights.detach().to(x).expand(x.shape[:-1])
    except RuntimeError:
        shapes = f"{tuple(weights.shape)}, and x has {tuple(x.shape)}"
        raise ValueError(f"weights: expected one of each vector, got {shapes}") from None
    if not (w.isfinite() & (w >= 0)).all() or not (w.sum(-1) > 0).all():
        raise ValueError("weights: expected finite numbers from 0 up, some of them above 0")
    return x, w / w.sum(-1, keepdim=True)


def von_mises_fisher(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu (..., m) and kappa (...): the direction of the mean, A(kappa) its length.

    Where the mean is 0, mu is the first axis and kappa 0.
    """
    m = x.shape[-1]
    mean = (weights.unsqueeze(-1) * x).sum(-2)
    R = torch.linalg.vector_norm(mean, dim=-1)
    first = torch.zeros_like(mean)
    first[..., 0] = 1.0
    mu = torch.where((R > 0).unsqueeze(-1), F.normalize(mean, dim=-1, eps=0.0), first)
    # 1 - R by distances: as a difference it has no digits where all points are near to each other
    c = torch.where(R > 0.5, (weights * (x - mu.unsqueeze(-2)).square().sum(-1)).sum(-1) / 2, 1 - R)

    def step(kappa: Tensor) -> Tensor:
        moments = bessel_moments(m / 2 - 1, kappa)
        excess = torch.where(R > 0.5, c - moments.complement, moments.ratio - R)
        return -excess / (kappa * moments.variance)

    start = R * (m - R * R) / (c * (2 - c))
    return mu, _root(step, start, R > 0)


def power_spherical(
    x: Tensor, weights: Tensor, beta: float, slope: Callable, curvature: Callable
) -> tuple[Tensor, Tensor]:
    """Return mu (..., m) and kappa (...): mu of greatest t = mean log (1 + mu.x)/2, r'(kappa) = -t.

    `slope` is r'(beta, kappa) and `curvature` -r''. Where -t is r'(0) or more, kappa is 0.
    """
    mu = _farthest_from_antipodes(x, weights)
    toward = (x - mu.unsqueeze(-2)).square().sum(-1) / 4
    away = (x + mu.unsqueeze(-2)).square().sum(-1) / 4
    near = torch.log1p(-toward.clamp(max=0.5))
    t = -(weights * torch.where(toward < 0.5, near, away.clamp(min=_TINY).log())).sum(-1)

    def step(kappa: Tensor) -> Tensor:
        return (slope(beta, kappa) - t) / (kappa * curvature(beta, kappa))

    start = (beta / t - (3 * beta - 1) / 2).clamp(min=1e-3 * beta)
    return mu, _root(step, start, t < slope(beta, torch.zeros_like(t)))


def _root(step: Callable[[Tensor], Tensor], start: Tensor, has_one: Tensor) -> Tensor:
    """Return where `step`, Newton's in log kappa, is 0, at most `LARGEST`; 0 without a root."""
    kappa = torch.nan_to_num(start, nan=LARGEST, posinf=LARGEST).clamp(1e-300, LARGEST)
    kappa = torch.where(has_one, kappa, 1.0)
    for _ in range(_STEPS):
        before = kappa
        kappa = (before * step(before).clamp(-1, 1).exp()).clamp(1e-300, LARGEST)
        moved = (kappa - before).abs() > 4 * _ROUNDING * before
        if not (moved & has_one).any():
            break
    return torch.where(has_one, kappa, 0.0)


def _farthest_from_antipodes(x: Tensor, weights: Tensor) -> Tensor:
    """Return mu (..., m) that maximises sum w log (1 + mu.x), far from every -x.

    That has many maxima where points lie all around: the best one that is reached from the mean
    direction and from the best of some hundred of the points, by steps of Barzilai and Borwein
    (1988, "Two-point step size gradient methods") that never go down.
    """
    mu = _starts(x, weights)
    value, full = _potential(x, weights, mu)
    slope = _tangent(full, mu)
    step = 1 / (mu * full).sum(-1, keepdim=True).abs().clamp(min=1e-3)  # mu becomes `full`
    for _ in range(_STEPS):
        trial = F.normalize(mu + step * slope, dim=-1)
        found, full = _potential(x, weights, trial)
        is_up = (found >= value - _ROUNDING * value.abs()).unsqueeze(-1)
        moved, turned = trial - mu, _tangent(full, trial) - slope
        square = (moved * moved).sum(-1, keepdim=True)
        better = (square / (moved * turned).sum(-1, keepdim=True).abs()).nan_to_num(0)
        step = torch.where(
            is_up, torch.where(square > 0, better.clamp(max=_LONGEST), step), step / 4
        )
        slope = torch.where(is_up, slope + turned, slope)
        mu, value = torch.where(is_up, trial, mu), torch.where(is_up.squeeze(-1), found, value)
        if not ((step * slope).abs() > _ROUNDING).any():
            break
    best = value.argmax(-1)[..., None, None].expand(*value.shape[:-1], 1, x.shape[-1])
    return mu.gather(-2, best).squeeze(-2)


def _starts(x: Tensor, weights: Tensor) -> Tensor:
    """Return some directions (..., S, m) from which the best maximum is likely to be reached."""
    count, m = x.shape[-2:]
    generator = torch.Generator().manual_seed(0)  # where the mean is 0 and points have antipodes
    others = torch.randn(4, m, generator=generator, dtype=x.dtype).to(x.device)
    mean = (weights.unsqueeze(-1) * x).sum(-2, keepdim=True)
    chosen = x[..., :: -(-count // _CANDIDATES), :]
    all_ = torch.cat([mean, others.expand(*x.shape[:-2], 4, m), chosen], -2)
    all_ = F.normalize(all_, dim=-1)
    value, _ = _potential(x, weights, all_)
    is_none = torch.linalg.vector_norm(all_, dim=-1) < 0.5  # the direction of no mean
    best = value.masked_fill(is_none, -math.inf).topk(_STARTS, -1).indices
    return all_.gather(-2, best.unsqueeze(-1).expand(*best.shape, m))


def _potential(x: Tensor, weights: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum w log (1 + mu.x) (..., S) at directions mu (..., S, m), and its gradients."""
    above = (1 + mu @ x.mT).clamp(min=_TINY)
    value = (weights.unsqueeze(-2) * above.log()).sum(-1)
    return value, (weights.unsqueeze(-2) / above) @ x


def _tangent(gradient: Tensor, mu: Tensor) -> Tensor:
    return gradient - (gradient * mu).sum(-1, keepdim=True) * mu
