"""Integrals over the sphere of functions of a density that depends on one angle alone."""

import math
from collections.abc import Callable

import torch
from scipy import integrate


def over_sphere(q, function: Callable[[float], float]) -> float:
    """Return the integral of a function of the log density of `q`, a law around its `loc`."""
    m = len(q.loc)
    across = torch.zeros(m, dtype=torch.float64)
    across[0], across[1] = q.loc[1], -q.loc[0]
    across = across / across.norm()
    ring = 2 * math.pi ** ((m - 1) / 2) / math.gamma((m - 1) / 2)  # area of S^{m-2}

    def integrand(theta: float) -> float:
        x = math.cos(theta) * q.loc + math.sin(theta) * (across - across @ q.loc * q.loc)
        log_density = float(q.log_prob(x / x.norm()))
        return ring * math.sin(theta) ** (m - 2) * function(log_density)

    return integrate.quad(integrand, 0, math.pi, epsabs=1e-11, limit=200)[0]
