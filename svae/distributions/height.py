"""The law of the height w = mu.x of a von Mises-Fisher sample, and of what the sampler proposes.

    g(w) = S_{m-2} / S_{m-1} exp(kappa w) (1 - w^2)^((m-3)/2) / M(kappa)

with S_{m-1} the area of the unit sphere in R^m and M as in `VonMisesFisher`. These are closed forms
and quadratures that the sampler makes no use of: what it is shown and checked against. Everything
is float64 on the CPU and in 1 - w, for near mu w itself rounds to 1.

References: Ulrich 1984; Wood 1994, algorithm VM*.
"""

import math

import torch
from torch import Tensor

from svae.distributions.sphere import log_sphere_area
from svae.distributions.ulrich_wood import envelope
from svae.special import bessel_moments

_POINTS = 100_001  # of the quadrature


def log_density(m: int, concentration: float, below_top: Tensor) -> Tensor:
    """Return log g(w) from 1 - w in (0, 2)."""
    kappa = torch.tensor(concentration, dtype=torch.float64)
    moments = bessel_moments(m / 2 - 1, kappa)
    log_sine_square = torch.log(below_top) + torch.log(2 - below_top)
    log_shape = (m - 3) / 2 * log_sine_square - kappa * below_top
    return log_sphere_area(m - 1) - log_sphere_area(m) + log_shape - moments.log_normaliser


def log_proposal_density(m: int, concentration: float, below_top: Tensor) -> Tensor:
    """Return the log density of w as it is proposed, before any is rejected.

    w is a Moebius image of z, symmetric Beta: z = (w - x0) / (1 - x0 w).
    """
    complement = envelope(m, torch.tensor(concentration, dtype=torch.float64))[0]
    x0 = 1 - complement
    bottom = complement + x0 * below_top  # 1 - x0 w
    z_below, z_above = below_top * (1 + x0) / bottom, complement * (2 - below_top) / bottom
    slope = torch.log(complement * (1 + x0)) - 2 * torch.log(bottom)
    log_shape = (m - 3) / 2 * (torch.log(z_below) + torch.log(z_above))
    return log_sphere_area(m - 1) - log_sphere_area(m) + log_shape + slope


def distribution(m: int, concentration: float, below_top: Tensor) -> Tensor:
    """Return the probability of a height above w, that is of less than 1 - w, by quadrature.

    Within 1e-6 up to m = 41, 5e-6 at m = 129 and 2e-5 at m = 1025: the trapezoidal rule in the
    logarithm of the angle, in which the law of every kappa is smooth and wide.
    """
    log_angle = torch.linspace(-25, math.log(math.pi), _POINTS, dtype=torch.float64)
    half = torch.sin(log_angle.exp() / 2)
    sine = torch.sin(log_angle.exp()).abs()
    log_weight = (m - 2) * sine.log() + log_angle - concentration * 2 * half * half
    weight = torch.exp(log_weight - log_weight.max())
    share = torch.cumulative_trapezoid(weight)
    share = torch.cat([share.new_zeros(1), share]) / share[-1]
    place = torch.log(2 * torch.asin(torch.sqrt(below_top.clamp(0, 2) / 2)).clamp(min=1e-11))
    place = (place - log_angle[0]) / (log_angle[1] - log_angle[0])
    index = place.floor().long().clamp(0, _POINTS - 2)
    return torch.lerp(share[index], share[index + 1], (place - index).clamp(0, 1))


def kolmogorov_p_value(distance: float, count: int) -> float:
    """Return how likely a Kolmogorov-Smirnov distance at least as large is by chance.

    Kolmogorov's limit law at Stephens' effective distance (1970, "Use of the Kolmogorov-Smirnov,
    Cramer-von Mises and related statistics without extensive tables"): within
    0.012 from 100 samples up and 0.0045 from 1000 up, of which most at p = 0.7; where p is below
    0.05 within 9 % and 5 % of itself.
    """
    root = math.sqrt(count)
    x = distance * (root + 0.12 + 0.11 / root)
    if x < 0.2:
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
