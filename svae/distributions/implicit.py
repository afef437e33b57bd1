"""The implicit gradient of the height w = mu.x of a von Mises-Fisher sample in kappa.

With q the density of w, q(w) ~ e^(kappa w) (1 - w^2)^((m-3)/2), and A its mean,

    dw/dkappa = -(1/q(w)) int_{-1}^{w} (u - A) q(u) du,

Figurnov, Mohamed and Mnih 2018, "Implicit reparameterization gradients", eq. 5. There is no closed
form except at odd m. Over all of [-1, 1] the integral is zero, so that it may start at either end:
taken from the end that lies on w's side of A, nothing cancels. In u = cos(t) the integrand is
smooth for every m, up to both ends. Integrated is the stretch of t on which it falls by e^-CUT.
"""

import math

import numpy as np
import torch
from torch import Tensor

# With these every slope is within 1e-7 of mpmath's, on the CPU within 1e-8.
CUT = 20.0
GAUSS_NODES, FEJER_NODES = 16, 24
_BETWEEN = 1e-200, 2.0 - 1e-12  # the ends of 1 - w, where a quotient would be 0 / 0


def gauss(count: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Gauss and Legendre's rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def fejer(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Fejer's first rule on [0, 1], computed on the device.

    Trefethen 2008, "Is Gauss quadrature better than Clenshaw-Curtis?".
    """
    options = {"dtype": torch.float64, "device": device}
    angle = torch.linspace(0.5, count - 0.5, count, **options) * (math.pi / count)
    order = torch.linspace(2.0, count, count // 2, **options)
    series = torch.cos(angle.unsqueeze(-1) * order) @ (1.0 / (order * order - 1.0))
    return torch.sin(angle / 2.0).square(), (1.0 - 2.0 * series) / count


GAUSS = gauss(GAUSS_NODES)


def implicit_slope(
    m: int, concentration: Tensor, mean_complement: Tensor, below_top: Tensor
) -> Tensor:
    """Return (dw/dkappa) / (1 - w^2) for m >= 2, kappa in [0, 1e8] and any w, relative to 1e-6.

    About 1 / sqrt(4 kappa^2 + (m-1)^2) where samples are; (1 - A) / (m - 1) at w = 1 and
    (1 + A) / (m - 1) at w = -1.

    Args:
        m: the dimension of the surrounding space.
        concentration: kappa; all are float64 and broadcast.
        mean_complement: 1 - A.
        below_top: 1 - w.
    """
    if m == 3:
        return ordinary_slope(concentration, below_top)
    # at an end the stretch has no length and would give 0 / 0; the slope is level there
    o = below_top.clamp(*_BETWEEN)
    e = 2.0 - o
    above_mean = o - mean_complement  # A - w
    stretch = _stretch(m, concentration, above_mean, o, e)
    # a table would have to be copied to another device, which no captured step can do
    nodes, weights = GAUSS if o.device.type == "cpu" else fejer(FEJER_NODES, o.device)

    # with t the angle of w and t + d that of u: sin(d/2), (1 - cos d)/2 and sin(d)/2
    half = torch.mul((0.5 * stretch).unsqueeze(-1), nodes).sin_()
    versed = half * half
    sine_d = (1.0 - versed).sqrt_().mul_(half)
    sine, cosine = torch.sqrt(o * e), 1.0 - o
    fall = torch.addcmul(cosine.unsqueeze(-1) * versed, sine.unsqueeze(-1), sine_d)  # (w - u)/2
    factor = (-2.0 * concentration).unsqueeze(-1)
    if m == 2:
        density = factor * fall
    else:
        growth = torch.addcmul(versed, (cosine / sine).unsqueeze(-1), sine_d, value=-1).mul_(-2.0)
        density = torch.addcmul(growth.log1p_().mul_(m - 2.0), factor, fall)
    density.exp_()
    distance = fall.mul_(2.0).add_(above_mean.unsqueeze(-1))  # A - u
    return (distance.mul_(density) @ weights).mul_(stretch).div_(sine)


def ordinary_slope(concentration: Tensor, below_top: Tensor) -> Tensor:
    """Return `implicit_slope` on the ordinary sphere, m = 3, where all is elementary."""
    o = below_top.clamp(*_BETWEEN)
    e = 2.0 - o
    kappa = concentration.clamp_min(3e-8)  # at 0 the terms would cancel to 0 / 0
    share = torch.expm1(-kappa * torch.minimum(o, e)) / torch.expm1(-2.0 * kappa) * 2.0
    # two ways to write one number, each free of cancellation at its own end
    length = torch.where(o < e, o - share * torch.exp(-kappa * e), share - e)
    return length / (kappa * o * e)


def _stretch(m: int, concentration: Tensor, above_mean: Tensor, o: Tensor, e: Tensor) -> Tensor:
    """Return how far the angle of u need go from that of w, negative towards mu.

    With o = 1 - w and e = 1 + w: at w - s o y, s = 1 below A and -1 above it, the logarithm of the
    density of the angle has fallen by at least s D y + nu y^2 / (2 + s 4y/3), where
    nu = (m - 2) / 2 and D = kappa o + nu (o/e - 1). This is solved for CUT. Going down, it has also
    fallen by nu d^2 after an angle d.
    """
    nu, sign = (m - 2) / 2, torch.ones_like(above_mean).copysign_(above_mean)
    ratio = o / e
    twice = torch.addcmul(ratio * nu, concentration, o).sub_(nu - 2 / 3 * CUT).mul_(2.0)
    root = twice.square().add_(8 * CUT * nu).sqrt_()
    y = twice.sub_(8 / 3 * CUT).mul_(sign).add_(root).reciprocal_()
    end = torch.addcmul(o, sign.mul_(o), y, value=4 * CUT).clamp_(0.0, 2.0)
    stretch = end.div_(2.0 - end).sqrt_().atan_().sub_(ratio.sqrt_().atan_()).mul_(2.0)
    return stretch.clamp_max_(math.sqrt(CUT / nu)) if nu > 0 else stretch
