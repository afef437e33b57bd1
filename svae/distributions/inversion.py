"""The exact sampler of w = mu.x on the ordinary sphere, m = 3."""

import torch
from torch import Size, Tensor

from svae.distributions.ulrich_wood import Height
from svae.noise import Source, uniform


def draw_by_inversion(concentration: Tensor, shape: Size, generator: Source = None) -> Height:
    """Draw heights of `shape` by inverting the distribution function of w at m = 3.

    1 - w = -log(1 - (1 - e^(-2 kappa)) u) / kappa with u uniform on [0, 1); 2u at kappa = 0.
    `concentration` (float64) broadcasts to `shape`. One proposal per sample, and nothing is read
    from the device. Reference: Jakob 2012, "Numerically stable sampling of the von Mises Fisher
    distribution on S^2".
    """
    u = uniform(shape, concentration, generator)
    # at 1e-30 the formula gives 2u, at 0 it would be 0 / 0
    kappa = concentration.clamp_min(1e-30)
    below_top = -torch.log1p(torch.expm1(-2 * kappa) * u) / kappa
    return Height(below_top, torch.ones_like(u))
