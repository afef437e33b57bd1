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

# With these every slope is within 2e-7 of mpmath, and all but the rarest w within 1e-9.
CUT = 20.0
NODES = 24


def implicit_slope(
    m: int, concentration: Tensor, mean_complement: Tensor, below_top: Tensor, above_bottom: Tensor
) -> Tensor:
    """Return (dw/dkappa) / (1 - w^2) for m >= 2, kappa in [0, 1e8] and any w, relative to 1e-6.

    Near 1 / sqrt(4 kappa^2 + (m-1)^2) where samples are; (1 - A) / (m - 1) at w = 1 and
    (1 + A) / (m - 1) at w = -1.

    Args:
        m: the dimension of the surrounding space.
        concentration: kappa, float64; broadcasts with the others.
        mean_complement: 1 - A, float64.
        below_top, above_bottom: 1 - w and 1 + w, float64.
    """
    # a stretch of no length would give 0 / 0; the slope is level there
    angle = torch.clamp(_angle(below_top, above_bottom), 1e-100, math.pi - 1e-6)
    sine, cosine = torch.sin(angle), torch.cos(angle)
    stretch = _stretch(m, concentration, mean_complement, below_top, above_bottom) - angle
    if m > 2:
        stretch = stretch.clamp_max(math.sqrt(2 * CUT / (m - 2)))

    nodes, weights = _fejer(stretch)
    half = torch.sin(stretch.unsqueeze(-1) * (nodes / 2))
    # with t the angle of w and t + d a node: 1 - cos d and sin d
    versed = 2 * half * half
    sine_d = half * torch.sqrt(4 - 2 * versed)
    fall = _outer(sine, sine_d) + _outer(cosine, versed)  # w - u
    sine_ratio = _outer(cosine / sine, sine_d).sub_(versed).add_(1)
    density = sine_ratio.log_().mul_(m - 2).sub_(_outer(concentration, fall)).exp_()
    distance = fall.add_((below_top - mean_complement).unsqueeze(-1))  # A - u
    return distance.mul_(density) @ weights * stretch / sine


def _outer(per_sample: Tensor, per_node: Tensor) -> Tensor:
    return per_sample.unsqueeze(-1) * per_node


def _angle(below_top: Tensor, above_bottom: Tensor) -> Tensor:
    """Return arccos(w), exact near both ends."""
    return 2 * torch.atan2(below_top.sqrt(), above_bottom.sqrt())


def _stretch(
    m: int, concentration: Tensor, mean_complement: Tensor, below_top: Tensor, above_bottom: Tensor
) -> Tensor:
    """Return the angle at which the integral may end, before w's angle if w > A, else behind it.

    In units of 1 - w, at a distance y from w, the logarithm of the density of the angle has fallen
    by at least s D y + nu y^2 / (2 + s 4y/3), with s = 1 below w and -1 above it,
    nu = (m - 2) / 2 and D = kappa (1 - w) + nu ((1 - w)/(1 + w) - 1). It is solved for CUT.
    """
    nu = (m - 2) / 2
    above = below_top <= mean_complement
    sign = torch.where(above, -1.0, 1.0).to(below_top)
    D = concentration * below_top + nu * (below_top / above_bottom.clamp_min(1e-12) - 1)
    root = torch.sqrt((2 * D + 4 / 3 * CUT) ** 2 + 8 * CUT * nu)
    y = 4 * CUT / (sign * (2 * D - 4 / 3 * CUT) + root)
    end = torch.clamp(below_top * (1 + sign * y), 0, 2)
    return _angle(end, 2 - end)


def _fejer(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [0, 1] of Fejer's first quadrature rule.

    Computed where they are used: a table would have to be copied to the device. Trefethen 2008,
    "Is Gauss quadrature better than Clenshaw-Curtis?".
    """
    angle = torch.arange(1, 2 * NODES, 2, dtype=like.dtype, device=like.device)
    angle = angle * (math.pi / (2 * NODES))
    order = 2 * torch.arange(1, NODES // 2 + 1, dtype=like.dtype, device=like.device)
    series = (torch.cos(angle.unsqueeze(-1) * order) / (order * order - 1)).sum(-1)
    return (1 - torch.cos(angle)) / 2, (1 - 2 * series) / NODES
