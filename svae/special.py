"""Modified Bessel functions of the first kind as a von Mises-Fisher distribution needs them.

Everything rests on one integral over w = cos(theta), for n = 2 order + 1 >= 1,

    M(x) = E[e^{xw}] = Gamma(order + 1) (2/x)^order I_order(x),     density of w ~ (1 - w^2)^{n/2 - 1},

the moment generating function of a coordinate of a uniform point on the sphere S^n in R^{n+1}. Its
derivatives are cumulants of w under the tilted density e^{xw} (1 - w^2)^{n/2 - 1}: the mean is the
Bessel ratio, the variance the ratio's derivative. All are sums of one positive integrand, so
nothing cancels, neither at x = 0 nor at x = 1e8.

With w = tanh y the integrand e^{xw} (1 - w^2)^{n/2} has its only peak at w0 = 2x / (n + c),
c = sqrt(4x^2 + n^2), and a curvature between n and 2n whatever x is. Hence the trapezoidal rule on
*fixed* nodes y0 + t converges geometrically for every x (Trefethen and Weideman, 2014, "The
exponentially convergent trapezoidal rule"). In terms of u = n / (n + c), omega = (1 - w0)/2,
F = e^{-2t} - 1 and f = F / (1 + omega F),

    w = w0 - u f,     g = exp(n [-w0 f / 2 - t - log(1 + omega F)]),     g = 1 at the peak.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

# Terms of the power series of M; with x^2 <= 2 order + 2 the first one left out is below 1e-15.
SERIES_TERMS = 14


class BesselMoments(NamedTuple):
    """What one pass over the integral gives; each field is differentiable in x, twice."""

    log_normaliser: Tensor
    relative_entropy: Tensor
    ratio: Tensor
    complement: Tensor
    variance: Tensor


def bessel_moments(order: float | Tensor, x: Tensor) -> BesselMoments:
    r"""Returns the Bessel ratio and what belongs to it, from one pass and without cancellation.

    With M(x) = Gamma(order + 1) (2/x)^order I_order(x) and A(x) = I_{order+1}(x) / I_order(x):

    - log_normaliser = log M(x) - x, slope A - 1
    - relative_entropy = x A(x) - log M(x), slope x A'(x); x^2 / (4 order + 4) as x -> 0
    - ratio = A(x), slope A'(x)
    - complement = 1 - A(x)
    - variance = A'(x) = 1 - A^2 - (2 order + 1) A / x; 1 / (2 order + 2) as x -> 0

    Computed in float64 on a matrix of some 50 columns per element; x's dtype and device come back.

    Args:
        order: a number, or a tensor that broadcasts with x; not differentiated; >= 0.
        x: any shape, >= 0.

    Raises:
        ValueError: if the order is a negative or infinite number, or a tensor with a gradient.
    """
    return BesselMoments(*(field.to(x.dtype) for field in _moments(order, x)))


def log_bessel_i(order: float | Tensor, x: Tensor) -> Tensor:
    r"""Returns log I_order(x), the logarithm of the modified Bessel function of the first kind.

    log I = log M(x) + order log(x/2) - log Gamma(order + 1); slope A(x) + order / x. At x = 0 it is
    0 for order 0 and -inf for any other order. Arguments and errors are those of
    :func:`bessel_moments`.
    """
    log_normaliser = _moments(order, x)[0]
    value = log_normaliser + x
    if isinstance(order, Tensor):
        order = order.to(value)
        value = value + torch.xlogy(order, x.to(value) / 2) - torch.lgamma(order + 1)
    elif order > 0:
        value = value + order * torch.log(x.to(value) / 2) - math.lgamma(order + 1)
    return value.to(x.dtype)


def bessel_i_ratio(order: float | Tensor, x: Tensor) -> Tensor:
    r"""Returns A(x) = I_{order+1}(x) / I_order(x), in [0, 1).

    x / (2 order + 2) as x -> 0 and 1 - (2 order + 1) / (2x) as x -> inf. Arguments and errors are
    those of :func:`bessel_moments`.
    """
    return _moments(order, x)[2].to(x.dtype)


def _moments(order: float | Tensor, x: Tensor) -> tuple[Tensor, ...]:
    if isinstance(order, Tensor):
        if order.requires_grad:
            raise ValueError(f"the order of a Bessel function has no gradient here, got {order}")
        order, x = torch.broadcast_tensors(order.to(x.device, torch.float64), x)
    elif not 0 <= order < math.inf:
        raise ValueError(f"the order of a Bessel function must be finite and >= 0, got {order}")
    return _Moments.apply(order, x.to(torch.float64))[:5]


def _nodes(n: float | Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns t and log dt of the quadrature, (..., nodes).

    t = U y + (T - U) y^9 for y in [-1, 1]: even steps where the peak can be, long ones in the tails
    e^{-n|t|}, cut at T where they are below e^{-38}. U and the count were found by search: with
    them every sum is within 1e-13 for every n >= 1 and x >= 0.
    """
    count = 76 if isinstance(n, Tensor) else 36 + math.ceil(40 / math.sqrt(n))
    if isinstance(n, Tensor):
        n = n.unsqueeze(-1)
    inner, outer = 7 / (n + 1.5) ** 0.5, 38 / n * (1 + n / 19) ** 0.5
    y = torch.linspace(-1, 1, count, dtype=torch.float64, device=device)
    stretch = (outer - inner) * y**8
    return y * (inner + stretch), torch.log((inner + 9 * stretch) * (2 / (count - 1)))


def _log_beta(n: float | Tensor) -> float | Tensor:
    """Returns log B(n/2, 1/2), the integral of (1 - w^2)^{n/2 - 1} over [-1, 1]."""
    lgamma = torch.lgamma if isinstance(n, Tensor) else math.lgamma
    return lgamma(n / 2) - lgamma((n + 1) / 2) + 0.5 * math.log(math.pi)


def _log_series(order: float | Tensor, x: Tensor) -> Tensor:
    """Returns log M from its power series, sum of (x^2/4)^k / (k! (order + 1)_k)."""
    k = torch.arange(1, SERIES_TERMS + 1, dtype=x.dtype, device=x.device)
    order = order.unsqueeze(-1) if isinstance(order, Tensor) else order
    factors = (x * x / 4).unsqueeze(-1) / (k * (k + order))
    return torch.log1p(torch.cumprod(factors, -1).sum(-1))


class _Moments(Function):
    """The fields of BesselMoments; the backward pass is made of outputs, hence differentiable."""

    @staticmethod
    def forward(ctx, order, x):
        n = 2 * order + 1
        n_column = n.unsqueeze(-1) if isinstance(n, Tensor) else n
        c = torch.sqrt(4 * x * x + n * n)
        u = n / (n + c)
        b = n / (2 * x + c)
        w0 = 2 * x / (n + c)
        omega = u * (1 + b) / 2

        t, log_step = _nodes(n, x.device)
        F = torch.expm1(-2 * t)
        L = omega.unsqueeze(-1) * F
        f = F / (1 + L)
        exponent = torch.addcmul(log_step - n_column * t, f, (n * w0 / -2).unsqueeze(-1))
        g = exponent.sub_(L.log1p_().mul_(n_column)).exp_()
        gff = g * f * f
        total = g.sum(-1)
        m2 = gff.sum(-1) / total
        # integration by parts gives the first moment from the second, all factors positive
        m1 = u * w0 * m2 / (2 * (1 - u))

        ratio = w0 * (1 + w0 * m1 - u * m2 / 2)
        complement = u * (1 + b + m1)
        variance = u * u * (m2 - m1 * m1)
        rest = n / 2 * torch.log(2 * u) + torch.log(total) - _log_beta(n)
        # below, the closed form loses digits against x^2 / (2n + 2), above the series is too short
        small = x * x < n + 1
        series = _log_series(order, x)
        log_normaliser = torch.where(small, series - x, rest - n / 2 * (1 - b))
        entropy = torch.where(small, x * ratio - series, n / -2 * w0 * m1 - rest)

        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, complement, variance, u, m1, m2, total, gff, f)
        return log_normaliser, entropy, ratio, complement, variance

    @staticmethod
    def backward(ctx, *grads):
        x, complement, variance, *integrals = ctx.saved_tensors
        slopes = (
            lambda: -complement,
            lambda: x * variance,
            lambda: variance,
            lambda: -variance,
            lambda: _ThirdCumulant.apply(x, *integrals),
        )
        terms = [g * slope() for g, slope in zip(grads, slopes, strict=True) if g is not None]
        return None, sum(terms[1:], terms[0]) if terms else None


class _ThirdCumulant(Function):
    """A''(x), the end of the chain of derivatives."""

    @staticmethod
    def forward(ctx, x, u, m1, m2, total, gff, f):
        m3 = torch.linalg.vecdot(gff, f) / total
        return -(u**3) * (m3 - 3 * m1 * m2 + 2 * m1**3)

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError(
            "the Bessel ratio has two derivatives here, a third was asked for"
        )
