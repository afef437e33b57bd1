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
    n, twice = float(m - 1), 2 * concentration
    c = torch.sqrt(twice * twice + n * n)
    return 2 * n / (twice + c + n), c


def draw_until_accepted(
    m: int, concentration: Tensor, shape: Size, generator: torch.Generator | None = None
) -> Height:
    """Draw heights of `shape`, the rejected ones alone again until all are accepted.

    `concentration` (float64) broadcasts to `shape`. Every round reads the device: for the CPU.
    """
    complement, _ = envelope(m, concentration)
    complement = complement.expand(shape).reshape(-1)
    z, proposals, accepted = _try(m, complement, _round(complement), generator)
    pending = torch.nonzero(~accepted).squeeze(-1)
    while pending.numel() > 0:
        left = complement[pending]
        z[pending], used, accepted = _try(m, left, _round(left), generator)
        proposals[pending] += used
        pending = pending[~accepted]
    return Height(_image(complement, z).view(shape), proposals.view(shape))


def _round(pending: Tensor) -> int:
    """Return how many proposals to try at once: a call on few elements costs as much as on many."""
    return min(max(4096 // max(pending.numel(), 1), 1), 8)


def draw_fixed(
    m: int,
    concentration: Tensor,
    shape: Size,
    generator: torch.Generator | None = None,
    count: int | None = None,
) -> Height:
    """Draw heights of `shape` from `count` proposals each, of which the first accepted is kept.

    `concentration` (float64) broadcasts to `shape`. Nothing is read from the device, so that a
    step can be captured in a CUDA graph. The default `count` is `sufficient_proposals(m)`. Where
    none is accepted the last proposal stands and `proposals` is `count`: the law is off by at most
    the probability of that, below 1e-12 in total variation by default.
    """
    complement, _ = envelope(m, concentration)
    complement = complement.expand(shape)
    count = sufficient_proposals(m) if count is None else count
    z, proposals, _ = _try(m, complement, count, generator)
    return Height(_image(complement, z), proposals)


def sufficient_proposals(m: int) -> int:
    """Return how many proposals are all rejected with a probability below 1e-12, whatever kappa.

    The acceptance rate falls with kappa to e^(n/2) (2n)^(-n/2) Gamma(n) / Gamma(n/2), which is
    0.658 at m = 2 and 0.707 as m grows: 26 proposals down to 23.
    """
    n = m - 1
    log_rate = n / 2 * (1 - math.log(2 * n)) + math.lgamma(n) - math.lgamma(n / 2)
    return math.floor(math.log(FAILURE_PROBABILITY) / math.log(-math.expm1(log_rate))) + 1


def _try(
    m: int, complement: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first accepted of `count` z or the last, the number used, if accepted."""
    n, shape = float(m - 1), (count, *complement.shape)
    like = {"dtype": complement.dtype, "device": complement.device}
    log_u, log_v = torch.rand((2, *shape), generator=generator, **like).log_().unbind(0)
    z = _symmetric_beta(m, log_u, torch.rand(shape, generator=generator, **like))
    p = z - complement * z + 1
    accepted = torch.add(log_v, p.log() + p.reciprocal(), alpha=n) <= n

    tries = torch.arange(count, device=complement.device).view(-1, *(1,) * complement.dim())
    first = torch.where(accepted, tries, count).amin(0)
    index = first.clamp_max(count - 1)
    return z.gather(0, index.unsqueeze(0))[0], index + 1, first < count


def _symmetric_beta(m: int, log_u: Tensor, v: Tensor) -> Tensor:
    """Return z in [-1, 1] of density ~ (1 - z^2)^((m - 3) / 2) from two uniforms.

    z = sqrt(1 - u^(2 / (m - 2))) cos(pi v), and cos(pi v) at m = 2; Ulrich 1984, Devroye 1986
    section IX.3. It overwrites its arguments.
    """
    cosine = v.mul_(math.pi).cos_()
    if m == 2:
        return cosine
    return cosine.mul_(log_u.mul_(2 / (m - 2)).expm1_().neg_().sqrt_())


def _image(complement: Tensor, z: Tensor) -> Tensor:
    """Return 1 - w = (1 - x0) (1 - z) / p."""
    return complement * (1 - z) / (z - complement * z + 1)
