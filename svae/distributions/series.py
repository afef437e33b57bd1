"""The functions of kappa that a training step needs, as Chebyshev series made once per dimension.

With n = m - 1 and v = 1 - x0 in (0, 1] of the rejection sampler's `envelope`, these functions of v
are smooth from kappa = 0 (v = 1) to kappa = inf (v = 0):

    (-n/2 log(1 - x0^2) - KL) / x0^2,    kappa A' / (x0 v),    A / x0,    (1 - A) / v,

with A the Bessel ratio and KL the divergence from the uniform law. So is the implicit slope times
(1 + x0 w) / v, as a function of v and of where w lies between the ends of

    y = 1 - 2 (1 - z) / (2 - delta x0^p),    z = (w - x0) / (1 - x0 w);

z is the proposal that the sampler makes w from. As v -> 0 the slope bends sharply at z = -1, where
no sample ever is: y leaves that corner out.

One product of matrices, of the polynomials T_k(1 - 2v) and the coefficients, gives all of them:
within 1e-8 of `special` and, where samples are, of `implicit_slope`. That is for float32.

Reference: Trefethen 2019, "Approximation theory and approximation practice", chapters 3 and 8.
"""

import math
from functools import cache, cached_property

import torch
from torch import Tensor

from svae.distributions.implicit import implicit_slope, ordinary_slope
from svae.distributions.ulrich_wood import Envelope
from svae.special import BesselMoments, bessel_moments

_SLOPE_FROM = 4  # the smallest m whose slope converges fast enough
_COLUMNS = 5  # what comes before the slope's


class Series:
    """All functions at concentrations (...), float64, without gradient.

    `envelope` is that of the concentrations.
    """

    def __init__(self, m: int, concentration: Tensor, envelope: Envelope):
        self._m, self._kappa, self._v = m, concentration, envelope.complement
        self._x0 = 1.0 - self._v
        self._orders, coefficients = _coefficients(m, concentration.device)
        self._values = self._polynomials(self._x0 - self._v) @ coefficients
        self._columns = self._values[..., :_COLUMNS].unbind(-1)

    def _polynomials(self, x: Tensor) -> Tensor:
        """Return T_0, T_1, ... at x in [-1, 1], (..., degree)."""
        return (x.acos_().unsqueeze(-1) * self._orders).cos_()

    def divergence(self) -> tuple[Tensor, Tensor]:
        """Return KL and its slope kappa A'."""
        excess, slope = self._columns[:2]
        square = self._x0 * self._x0
        width = (-square).log1p_().mul_((1 - self._m) / 2)
        divergence = torch.addcmul(width, square, excess, value=-1)
        return divergence, (slope * self._x0).mul_(self._v)

    @cached_property
    def moments(self) -> BesselMoments:
        """What `bessel_moments` returns."""
        n, kappa, v = self._m - 1, self._kappa, self._v
        divergence, _ = self.divergence()
        _, slope, ratio, complement, _ = self._columns
        width = (2.0 - v).mul_(v)  # 1 - x0^2: so x0 = kappa width / n is free of cancellation
        ratio, complement = (kappa * width).mul_(ratio).mul_(1 / n), complement * v
        log_normaliser = torch.addcmul(divergence, kappa, complement).neg_()
        variance = width.mul_(v).mul_(slope).mul_(1 / n)
        return BesselMoments(log_normaliser, divergence, ratio, complement, variance)

    def slope(self, below_top: Tensor) -> Tensor:
        """Return what `implicit_slope` returns, at 1 - w in the shape sample + batch."""
        if self._m == 3:
            return ordinary_slope(self._kappa, below_top)
        if self._m < _SLOPE_FROM:
            return implicit_slope(self._m, self._kappa, self.moments.complement, below_top)
        stretch = self._columns[4]
        p = torch.addcmul(self._v, self._x0, below_top)  # 1 - x0 w
        y = torch.div(below_top, p).mul_(stretch).neg_().add_(1.0).clamp_min_(-1.0)
        quotient = torch.linalg.vecdot(self._values[..., _COLUMNS:], self._polynomials(y))
        return quotient.mul_(self._v).div_(2.0 - p)


def _degree(m: int) -> int:
    """Return how many polynomials there are: 48, 42, 39, 32 and 26 for m = 4, 5, 6, 11, 41."""
    return 24 + math.ceil(72 / (m - 1))


def _stretch(m: int, v: Tensor) -> Tensor:
    """Return 2 (1 + x0) / (2 - delta x0^p), the factor of (1 - w) / (1 - x0 w) in 1 - y."""
    n = m - 1
    delta, power = n / (n + 20 + 6 * math.sqrt(n)), 12 if n < 4 else 8 if n < 9 else 4
    return 2.0 * (2.0 - v) / (2.0 - delta * (1.0 - v) ** power)


@cache
def _coefficients(m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the orders 0, 1, ... and the coefficients (degree, functions)."""
    count, n = _degree(m), m - 1
    orders = torch.arange(float(count), dtype=torch.float64)
    angle = (orders + 0.5) * (math.pi / count)
    analysis = torch.cos(orders.unsqueeze(-1) * angle) * (2 / count)
    analysis[0] /= 2
    v = torch.sin(angle / 2).square()  # where T_k(1 - 2v) = cos(k angle)
    x0 = torch.cos(angle / 2).square()
    kappa = n * x0 / (v * (1.0 + x0))
    moments = bessel_moments(n / 2 - 0.5, kappa)
    values = [
        (-n / 2 * torch.log1p(-x0 * x0) - moments.relative_entropy) / x0**2,
        kappa * moments.variance / (x0 * v),
        moments.ratio / x0,
        moments.complement / v,
        _stretch(m, v),
    ]
    values = torch.stack(values, -1)
    if m >= _SLOPE_FROM:
        slopes = _slopes(m, kappa, moments.complement, v, angle)
        values = torch.cat((values, slopes @ analysis.T), -1)
    return orders.to(device), (analysis @ values).to(device)


def _slopes(m: int, kappa: Tensor, complement: Tensor, v: Tensor, angle: Tensor) -> Tensor:
    """Return the slope's function at the nodes of v and y, (degree of v, degree of y)."""
    kappa, complement, v = kappa.unsqueeze(-1), complement.unsqueeze(-1), v.unsqueeze(-1)
    x0 = 1.0 - v
    share = 2.0 * torch.sin(angle / 2).square() / _stretch(m, v)  # o / (v + x0 o), o = 1 - w
    o = share * v / (1.0 - x0 * share)
    slope = implicit_slope(m, kappa.expand_as(o), complement.expand_as(o), o)
    return slope * (2.0 - v - x0 * o) / v
