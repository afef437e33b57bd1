"""The rejection sampler of Ulrich and Wood for w = mu.x, the height of a von Mises-Fisher sample.

With n = m - 1, c = sqrt(4 kappa^2 + n^2), x0 = 2 kappa / (n + c) and z in [-1, 1] symmetric Beta,
of density ~ (1 - z^2)^(n/2 - 1), the proposal is a Moebius image of z,

    p = 1 + x0 z,    w = (x0 + z) / p,    accepted when n (1 - 1/p - log p) >= log u.

This is Wood's algorithm in letters that lose no digits: his b, D and t are (1 - x0) / (1 + x0),
(1 + b) p / 2 and n / p. A proposal with p = 1 is always accepted, at kappa = 0 so is every one.

Everything here is float64: near mu, float32 cannot tell 1 - w from 0. (The uniform numbers that a
compiled program draws lie on the coarser grid of float32, which moves a probability by some 1e-7.)

References: Ulrich 1984, "Computer generation of distributions on the m-sphere"; Wood 1994,
"Simulation of the von Mises Fisher distribution", algorithm VM*.
"""

import math
from typing import NamedTuple

import torch
from torch import Size, Tensor

from svae.noise import Source, row_count, rows, uniform

FAILURE_PROBABILITY = 1e-12
FIRST_ROUND = 6  # proposals for every sample where a fixed number is made


class Height(NamedTuple):
    """The heights w of samples as 1 - w, and how many proposals each took, the last accepted."""

    below_top: Tensor
    proposals: Tensor


class Envelope(NamedTuple):
    """The parameters of the proposal, 1 - x0 and c."""

    complement: Tensor
    c: Tensor


def envelope(m: int, concentration: Tensor) -> Envelope:
    """Return the proposal's parameters for the concentrations.

    1 - x0 = 2n / (n + 2 kappa + c), c = sqrt(4 kappa^2 + n^2), n = m - 1: from 1 at kappa = 0 to
    n / (2 kappa). x0 is the root of kappa (1 - x0^2) = n x0.
    """
    n, twice = float(m - 1), concentration * 2.0
    c = (twice * twice + n * n).sqrt()
    return Envelope((twice + n + c).reciprocal() * (2.0 * n), c)


def draw_until_accepted(
    m: int, complement: Tensor, shape: Size, generator: Source = None
) -> Height:
    """Draw heights of `shape`, the rejected ones alone again until all are accepted.

    `complement` is that of the `envelope` and broadcasts to `shape`. Every round reads the device:
    for the CPU.
    """
    complement = complement.expand(shape)
    count = _at_once(complement.numel() // row_count(generator))
    below_top, proposals, rejected = _try(m, complement, count, generator)
    if rejected.any():
        for own, *row in rows(generator, complement, below_top, proposals, rejected):
            _complete(m, own, count, *row)
    return Height(below_top, proposals)


def _complete(
    m: int,
    generator: torch.Generator | None,
    count: int,
    complement: Tensor,
    below_top: Tensor,
    proposals: Tensor,
    rejected: Tensor,
) -> None:
    """Go on, in place, where all of the `count` proposals were rejected."""
    while rejected.any():
        pending = rejected.clone()
        left = complement[pending]
        proposals[pending] += count - 1
        count = _at_once(len(left))
        below_top[pending], used, rejected[pending] = _try(m, left, count, generator)
        proposals[pending] += used


def _at_once(pending: int) -> int:
    """Return how many proposals to try at once: a call costs as much for a few as for one."""
    return min(max(4096 // max(pending, 1), 1), 8)


def draw_fixed(
    m: int,
    complement: Tensor,
    shape: Size,
    generator: Source = None,
    count: int | None = None,
) -> Height:
    """Draw heights of `shape` from at most `count` proposals each, the first accepted is kept.

    `complement` is that of the `envelope` and broadcasts to `shape`. Nothing is read from the
    device, so that a step can be captured in a CUDA graph. Where none is accepted the first
    proposal stands and `proposals` is `count`: the law is off by at most the probability of that.
    By default it is below 1e-12, with `sufficient_proposals(m)` of which most are made only for
    those few, `sufficient_places(m, n)` of n along the last axis, that reject the first ones.
    """
    complement = complement.expand(shape)
    if count is None:
        return _draw_in_two_rounds(m, complement, generator)
    below_top, proposals, rejected = _try(m, complement, count, generator)
    return Height(below_top, torch.where(rejected, count, proposals))


def _draw_in_two_rounds(m: int, complement: Tensor, generator: Source) -> Height:
    count, size = sufficient_proposals(m), complement.shape[-1] if complement.dim() else 1
    places = sufficient_places(m, size)
    if places > size // 2:
        return draw_fixed(m, complement, complement.shape, generator, count)
    below_top, proposals, rejected = _try(m, complement, FIRST_ROUND, generator)
    proposals = torch.where(rejected, count, proposals)
    # those that rejected all come first; what fills the other places is not used
    needy, index = rejected.byte().topk(places)
    again = _try(m, complement.gather(-1, index), count - FIRST_ROUND, generator)
    more = torch.where(again[2], count, again[1] + FIRST_ROUND)
    for values, new in ((below_top, again[0]), (proposals, more)):
        values.scatter_(-1, index, torch.where(needy.bool(), new, values.gather(-1, index)))
    return Height(below_top, proposals)


def sufficient_proposals(m: int) -> int:
    """Return how many proposals are all rejected with a probability below 1e-12, whatever kappa.

    26 down to 23, see `_log_rejection`.
    """
    return math.floor(math.log(FAILURE_PROBABILITY) / _log_rejection(m)) + 1


def sufficient_places(m: int, size: int) -> int:
    """Return a number that those of `size` samples that reject all of the first round exceed with
    a probability below 1e-12, whatever kappa.

    More than r of n do so with a probability of at most C(n, r + 1) p^(r + 1).
    """
    log_p = FIRST_ROUND * _log_rejection(m)
    for places in range(size):
        k = places + 1
        log_subsets = math.lgamma(size + 1) - math.lgamma(k + 1) - math.lgamma(size - k + 1)
        if log_subsets + k * log_p < math.log(FAILURE_PROBABILITY):
            return places
    return size


def _log_rejection(m: int) -> float:
    """Return the log of the largest probability, over kappa, that a proposal is rejected.

    The acceptance rate falls with kappa to e^(n/2) (2n)^(-n/2) Gamma(n) / Gamma(n/2), which is
    0.658 at m = 2 and 0.707 as m grows.
    """
    n = m - 1
    log_rate = n / 2 * (1 - math.log(2 * n)) + math.lgamma(n) - math.lgamma(n / 2)
    return math.log(-math.expm1(log_rate))


def _try(
    m: int, complement: Tensor, count: int, generator: Source
) -> tuple[Tensor, Tensor, Tensor]:
    """Return 1 - w of the first accepted of `count` proposals, its number, and if there is none.

    Where there is none, they are those of the first proposal.
    """
    u = uniform((3, count, *complement.shape), complement, generator).unbind()
    z = _symmetric_beta(m, u[0], u[1])
    p = torch.addcmul(z, complement, z, value=-1).add_(1.0)  # 1 + x0 z
    t = p.reciprocal()
    below_top = (1.0 - z).mul_(complement).mul_(t)
    # accepted when log p + t - 1 <= log(1/u) / n; where the concentration is nan nothing may seem
    # rejected, or the loop would not end
    bound = u[2].log_().mul_(-1 / (m - 1)).add_(1.0)
    rejected, index = (p.log_().add_(t) > bound).byte().min(0)
    # the minimum over truths is the first that is false, by its index too; bytes, since torch's
    # compiler fails at truths whose number does not fill its vectors
    return below_top.gather(0, index.unsqueeze(0))[0], index.add_(1), rejected.bool()


def _symmetric_beta(m: int, u: Tensor, v: Tensor) -> Tensor:
    """Return z in [-1, 1] of density ~ (1 - z^2)^((m - 3) / 2) made in place of uniforms u and v.

    z = sqrt(1 - u^(2 / (m - 2))) cos(pi v), cos(pi v) at m = 2; Ulrich 1984, Devroye 1986 section
    IX.3. At m = 3 it is uniform.
    """
    if m == 3:
        return v.mul_(2.0).sub_(1.0)
    cosine = v.mul_(math.pi).cos_()
    if m == 2:
        return cosine
    return cosine.mul_((1.0 - u.pow_(2 / (m - 2))).sqrt_())
