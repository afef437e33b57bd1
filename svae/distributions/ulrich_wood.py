"""The rejection sampler of Ulrich and Wood for w = mu.x, the height of a von Mises-Fisher sample.

With n = m - 1, c = sqrt(4 kappa^2 + n^2), x0 = 2 kappa / (n + c) and z in [-1, 1] symmetric Beta,
of density ~ (1 - z^2)^(n/2 - 1), the proposal is a Moebius image of z,

    p = 1 + x0 z,    w = (x0 + z) / p,    accepted when n (1 - 1/p - log p) >= log u.

This is Wood's algorithm in letters that lose no digits: his b, D and t are (1 - x0) / (1 + x0),
(1 + b) p / 2 and n / p. A proposal with p = 1 is always accepted, at kappa = 0 so is every one.

Everything here is float64: near mu, float32 cannot tell 1 - w from 0.

References: Ulrich 1984, "Computer generation of distributions on the m-sphere"; Wood 1994,
"Simulation of the von Mises Fisher distribution", algorithm VM*.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FAILURE_PROBABILITY = 1e-12


class Height(NamedTuple):
    """The heights w of samples as 1 - w and 1 + w, and how many proposals each one took.

    Neither can be had from a rounded w; the last of the `proposals` is the accepted one.
    """

    below_top: Tensor
    above_bottom: Tensor
    proposals: Tensor


class Envelope(NamedTuple):
    """The parameter x0 of the proposal, 1 - x0, and c = sqrt(4 kappa^2 + n^2)."""

    x0: Tensor
    complement: Tensor
    c: Tensor


def envelope(m: int, concentration: Tensor) -> Envelope:
    """Return x0 = 2 kappa / (n + c), the root of kappa (1 - x0^2) = n x0, with n = m - 1.

    0 at kappa = 0, 1 - n / (2 kappa) as kappa grows. The complement is
    1 - x0 = n (n + c + 2 kappa) / ((n + c) (c + 2 kappa)), which does not cancel.
    """
    n, twice = m - 1, 2 * concentration
    c = torch.sqrt(twice * twice + n * n)
    return Envelope(twice / (n + c), n * (n + c + twice) / ((n + c) * (c + twice)), c)


def draw_until_accepted(
    m: int, concentration: Tensor, shape: torch.Size, generator: torch.Generator | None = None
) -> Height:
    """Draw heights of `shape`, the rejected ones alone again until all are accepted.

    `concentration` (float64) broadcasts to `shape`. Every round reads the device: for the CPU.
    """
    x0, complement, _ = envelope(m, concentration)
    flat_x0 = x0.expand(shape).reshape(-1)
    z, proposals = torch.empty_like(flat_x0), torch.zeros_like(flat_x0, dtype=torch.int64)
    pending = torch.arange(flat_x0.numel(), device=x0.device)
    while pending.numel() > 0:
        # the last few elements try several at once: a call costs more than its arithmetic
        count = min(max(4096 // pending.numel(), 1), 8)
        z[pending], used, found = _first_accepted(m, flat_x0[pending], count, generator)
        proposals[pending] += used
        pending = pending[~found]
    return _height(x0, complement, z.view(shape), proposals.view(shape))


def draw_fixed(
    m: int,
    concentration: Tensor,
    shape: torch.Size,
    generator: torch.Generator | None = None,
    count: int | None = None,
) -> Height:
    """Draw heights of `shape` from `count` proposals each, of which the first accepted is kept.

    `concentration` (float64) broadcasts to `shape`. Nothing is read from the device, so that a
    step can be captured in a CUDA graph. The default `count` is `sufficient_proposals(m)`. Where
    none is accepted the first proposal stands and `proposals` is `count`: the law is off by at
    most the probability of that, below 1e-12 in total variation by default.
    """
    x0, complement, _ = envelope(m, concentration)
    count = sufficient_proposals(m) if count is None else count
    z, proposals, _ = _first_accepted(m, x0.expand(shape), count, generator)
    return _height(x0, complement, z, proposals)


def sufficient_proposals(m: int) -> int:
    """Return how many proposals are all rejected with a probability below 1e-12, whatever kappa.

    The acceptance rate falls with kappa to e^(n/2) (2n)^(-n/2) Gamma(n) / Gamma(n/2), which is
    0.658 at m = 2 and 0.707 as m grows: 26 proposals down to 23.
    """
    n = m - 1
    log_rate = n / 2 * (1 - math.log(2 * n)) + math.lgamma(n) - math.lgamma(n / 2)
    return math.floor(math.log(FAILURE_PROBABILITY) / math.log(-math.expm1(log_rate))) + 1


def _first_accepted(
    m: int, x0: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first accepted of `count` proposals z, how many were used, and if one was."""
    n = m - 1
    u = torch.rand((3, count, *x0.shape), dtype=x0.dtype, device=x0.device, generator=generator)
    z = _symmetric_beta(m, u[0], u[1])
    t = torch.reciprocal(1 + x0 * z)
    accepted = 1 - t + torch.log(t) >= torch.log(u[2]) / n
    # argmax gives the first of equals, and 0 where there is none
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    found = accepted.gather(0, first)[0]
    used = torch.where(found, first[0] + 1, count)
    return z.gather(0, first)[0], used, found


def _symmetric_beta(m: int, u1: Tensor, u2: Tensor) -> Tensor:
    """Return z in [-1, 1] of density ~ (1 - z^2)^((m - 3) / 2) from two uniforms.

    z = sqrt(1 - u1^(2 / (m - 2))) cos(pi u2), and cos(pi u2) for m = 2; Ulrich 1984, Devroye 1986
    section IX.3.
    """
    cosine = torch.cos(math.pi * u2)
    if m == 2:
        return cosine
    return cosine * torch.sqrt(-torch.expm1(2 / (m - 2) * torch.log(u1)))


def _height(x0: Tensor, complement: Tensor, z: Tensor, proposals: Tensor) -> Height:
    """Return 1 - w = (1 - x0) (1 - z) / p and 1 + w = (1 + x0) (1 + z) / p."""
    p = 1 + x0 * z
    return Height(complement * (1 - z) / p, (1 + x0) * (1 + z) / p, proposals)
