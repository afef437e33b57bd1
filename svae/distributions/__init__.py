"""Distributions on the sphere and the Gaussian they are compared with, all with one surface."""

from svae.distributions.draw import Draw
from svae.distributions.normal import DiagonalNormal, StandardNormal
from svae.distributions.power_spherical import PowerSpherical
from svae.distributions.product import Product
from svae.distributions.scaled import ScaledVonMisesFisher
from svae.distributions.spherical_cauchy import SphericalCauchy
from svae.distributions.uniform import HypersphericalUniform
from svae.distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "DiagonalNormal",
    "Draw",
    "HypersphericalUniform",
    "PowerSpherical",
    "Product",
    "ScaledVonMisesFisher",
    "SphericalCauchy",
    "StandardNormal",
    "VonMisesFisher",
]
