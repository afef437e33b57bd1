"""The implicit gradient of the height w = mu.x of a von Mises-Fisher sample in kappa.

With q the density of w, q(w) ~ e^(kappa w) (1 - w^2)^((m-3)/2), and A its mean,

    dw/dkappa = -(1/q(w)) int_{-1}^{w} (u - A) q(u) du,

Figurnov, Mohamed and Mnih 2018, "Implicit reparameterization gradients", eq. 5. There is no closed
form except at odd m. Over all of [-1, 1] the integral is zero, so that it may start at either end:
taken from the end that lies on w's side of A, nothing cancels. In u = cos(t) the integrand is
smooth for every m, up to both ends. Integrated is the stretch of t on which it falls by e^-CUT.
"""

import math

import torch
from torch import Tensor

# With these every slope is within 2e-7 of mpmath's, and within 1e-8 where samples are.
CUT = 20.0
NODES = 24


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
    # at an end the stretch has no length and would give 0 / 0; the slope is level there
    o = below_top.clamp(1e-200, 2 - 1e-12)
    above_mean = o - mean_complement  # A - w
    stretch = _stretch(m, concentration, above_mean, o)
    nodes, weights = _fejer(stretch)

    # with t the angle of w and t + d that of u: versed = 1 - cos d, sine_d = sin d
    half = torch.sin(stretch.unsqueeze(-1) * (nodes / 2))
    versed = 2 * half * half
    sine_d = half.mul_(torch.sqrt(4 - 2 * versed))
    sine, cosine = torch.sqrt(o * (2 - o)), 1 - o
    fall = _outer(sine, sine_d).add_(_outer(cosine, versed))  # w - u
    density = _outer(cosine / sine, sine_d).sub_(versed).log1p_().mul_(m - 2.0)
    density = density.sub_(_outer(concentration, fall)).exp_()
    distance = fall.add_(above_mean.unsqueeze(-1))  # A - u
    return distance.mul_(density) @ weights * stretch / sine


def _outer(per_sample: Tensor, per_node: Tensor) -> Tensor:
    return per_sample.unsqueeze(-1) * per_node


def _stretch(m: int, concentration: Tensor, above_mean: Tensor, o: Tensor) -> Tensor:
    """Return how far the angle of u need go from that of w, negative towards mu.

    In units of o = 1 - w, at a distance y from w, the logarithm of the density of the angle has
    fallen by at least s D y + nu y^2 / (2 + s 4y/3), with s = 1 below A and -1 above it,
    nu = (m - 2) / 2 and D = kappa o + nu (o / (2 - o) - 1). This is solved for CUT. Going down, it
    has also fallen by nu d^2 after an angle d.
    """
    nu, sign = (m - 2) / 2, torch.ones_like(above_mean).copysign_(above_mean)
    ratio = o / (2 - o)
    twice = 2 * concentration * o + 2 * nu * (ratio - 1)
    root = torch.sqrt((twice + 4 / 3 * CUT) ** 2 + 8 * CUT * nu)
    y = 4 * CUT / (sign * (twice - 4 / 3 * CUT) + root)
    end = torch.clamp(o + sign * o * y, 0.0, 2.0)
    stretch = 2 * (torch.atan(torch.sqrt(end / (2 - end))) - torch.atan(torch.sqrt(ratio)))
    return stretch.clamp_max(math.sqrt(CUT / nu)) if nu > 0 else stretch


def _fejer(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [0, 1] of Fejer's first quadrature rule.

    Computed where they are used: a table would have to be copied to the device. Trefethen 2008,
    "Is Gauss quadrature better than Clenshaw-Curtis?".
    """
    options = {"dtype": like.dtype, "device": like.device}
    angle = torch.linspace(0.5, NODES - 0.5, NODES, **options).mul_(math.pi / NODES)
    order = torch.linspace(2.0, NODES, NODES // 2, **options)
    series = torch.cos(angle.unsqueeze(-1) * order) @ (1 / (order * order - 1))
    return (1 - torch.cos(angle)) / 2, (1 - 2 * series) / NODES
