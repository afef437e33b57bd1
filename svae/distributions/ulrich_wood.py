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
from torch import Size, Tensor

from svae.distributions.noise import Generators, rows, uniform

FAILURE_PROBABILITY = 1e-12


class Height(NamedTuple):
    """The heights w of samples as 1 - w, and how many proposals each took, the last accepted."""

    below_top: Tensor
    proposals: Tensor


def envelope(m: int, concentration: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - x0 and c, the parameters of the proposal.

    1 - x0 = 2n / (n + 2 kappa + c), c = sqrt(4 kappa^2 + n^2), n = m - 1: from 1 at kappa = 0 to
    n / (2 kappa). x0 is the root of kappa (1 - x0^2) = n x0.
    """
    n, twice = float(m - 1), 2.0 * concentration
    c = torch.sqrt(twice * twice + n * n)
    return 2.0 * n / (twice + c + n), c


def draw_until_accepted(
    m: int, concentration: Tensor, shape: Size, generator: Generators = None
) -> Height:
    """Draw heights of `shape`, the rejected ones alone again until all are accepted.

    `concentration` (float64) broadcasts to `shape`. Every round reads the device: for the CPU.
    """
    complement = envelope(m, concentration)[0].expand(shape)
    together = len(generator) if isinstance(generator, tuple) else 1
    count = _at_once(complement.numel() // together)
    below_top, proposals, found = _try(m, complement, count, generator)
    if not found.all():
        for row in rows(generator, complement, below_top, proposals, found):
            _complete(m, *row)
    return Height(below_top, proposals)


def _complete(
    m: int,
    generator: torch.Generator | None,
    complement: Tensor,
    below_top: Tensor,
    proposals: Tensor,
    found: Tensor,
) -> None:
    """Go on, in place, where no proposal was accepted yet."""
    while not found.all():
        pending = ~found
        left = complement[pending]
        below_top[pending], used, found[pending] = _try(m, left, _at_once(len(left)), generator)
        proposals[pending] += used


def _at_once(pending: int) -> int:
    """Return how many proposals to try at once: a call costs as much for a few as for one."""
    return min(max(4096 // max(pending, 1), 1), 8)


def draw_fixed(
    m: int,
    concentration: Tensor,
    shape: Size,
    generator: Generators = None,
    count: int | None = None,
) -> Height:
    """Draw heights of `shape` from `count` proposals each, of which the first accepted is kept.

    `concentration` (float64) broadcasts to `shape`. Nothing is read from the device, so that a
    step can be captured in a CUDA graph. The default `count` is `sufficient_proposals(m)`. Where
    none is accepted the first proposal stands and `proposals` is `count`: the law is off by at most
    the probability of that, below 1e-12 in total variation by default.
    """
    complement = envelope(m, concentration)[0].expand(shape)
    count = sufficient_proposals(m) if count is None else count
    below_top, proposals, _ = _try(m, complement, count, generator)
    return Height(below_top, proposals)


def sufficient_proposals(m: int) -> int:
    """Return how many proposals are all rejected with a probability below 1e-12, whatever kappa.

    The acceptance rate falls with kappa to e^(n/2) (2n)^(-n/2) Gamma(n) / Gamma(n/2), which is
    0.658 at m = 2 and 0.707 as m grows: 26 proposals down to 23.
    """
    n = m - 1
    log_rate = n / 2 * (1 - math.log(2 * n)) + math.lgamma(n) - math.lgamma(n / 2)
    return math.floor(math.log(FAILURE_PROBABILITY) / math.log(-math.expm1(log_rate))) + 1


def _try(
    m: int, complement: Tensor, count: int, generator: Generators
) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 - w of the first accepted of `count` proposals, its number, and if there is one.

    Where there is none, it is the first and its number is `count`.
    """
    z = _symmetric_beta(m, (count, *complement.shape), complement, generator)
    p = torch.addcmul(z, complement, z, value=-1).add_(1.0)  # 1 + x0 z
    t = p.reciprocal()
    below_top = torch.mul(t, complement).mul_(1.0 - z)
    chance = p.log_().add_(t).sub_(1.0).mul_(1.0 - m).exp_()
    # not "<": where the concentration is nan the loop must end, and the sample be nan
    accepted = (uniform(chance.shape, complement, generator) >= chance).logical_not_()
    if count == 1:
        return below_top[0], torch.ones_like(accepted[0], dtype=torch.int64), accepted[0]
    # the maximum over truths is the first of them, by its index too
    found, index = accepted.max(0, keepdim=True)
    used = torch.where(found, index + 1, count)
    return below_top.gather(0, index)[0], used[0], found[0]


def _symmetric_beta(m: int, shape: Size, like: Tensor, generator: Generators) -> Tensor:
    """Draw z in [-1, 1] of density ~ (1 - z^2)^((m - 3) / 2) from one or two uniforms.

    z = sqrt(1 - u^(2 / (m - 2))) cos(pi v), cos(pi v) at m = 2; Ulrich 1984, Devroye 1986 section
    IX.3. At m = 3 it is uniform.
    """
    v = uniform(shape, like, generator)
    if m == 3:
        return v.mul_(2.0).sub_(1.0)
    cosine = v.mul_(math.pi).cos_()
    if m == 2:
        return cosine
    log_u = uniform(shape, like, generator).log_()
    return cosine.mul_(log_u.mul_(2 / (m - 2)).expm1_().neg_().sqrt_())
