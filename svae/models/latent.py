"""Latent families: what an encoder returns -> posterior, and the prior; one class per family.

A family has no parameters of its own. It says how many numbers per observation it needs
(`parameters`) and in which space latent vectors lie (`manifold`), turns the encoder's output into
the posterior, and names what is worth logging about a posterior (`summary`). With `is_normalised`
it says that the length of that output does not matter, a direction is read from it: then Muon may
train the layer that gives it (`trainer.optimizer`); without, Adam does. Its `blocks` say which of
the numbers are the location, see `Block`; without, they are the first `ambient_dim` of them.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from svae.autograd import Function
from svae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    PowerSpherical,
    ScaledVonMisesFisher,
    SphericalCauchy,
    StandardNormal,
    VonMisesFisher,
)
from svae.distributions.sphere import FORWARD_MODE, refuse_second
from svae.manifolds import Euclidean, Sphere

PUBLISHED = 1 + math.log(2)  # softplus(0) + 1, the initial concentration of Davidson et al. 2018
LINKS = ("softplus", "exp")
_SCALED_START, _LINEAR = 100.0, 2.5  # concentration; up to where a log scale is about what f says


class Block(NamedTuple):
    """How many numbers give the location of a posterior, or of one of its factors, and its spread.

    They follow each other in what an encoder gives, block after block.
    """

    location: int
    spread: int


def blocks_of(latent) -> tuple[Block, ...]:
    """Return the `blocks` of a family, of a person's own also where it does not name them.

    Raises:
        ValueError: when it reads fewer numbers than a location has.
    """
    m = latent.manifold.ambient_dim
    if not hasattr(latent, "blocks") and latent.parameters < m:
        raise ValueError(
            f"network=linear: {type(latent).__name__} reads {latent.parameters} numbers, expected "
            f"a location of {m} among them, or `blocks`"
        )
    return getattr(latent, "blocks", (Block(m, latent.parameters - m),))


class NormalFamily:
    """Gaussian posterior with independent dimensions and standard Gaussian prior on R^d.

    mu = linear, sigma = softplus(linear); Kingma and Welling 2014, section 3. If `isotropic`, one
    sigma serves all dimensions, as one kappa does on the sphere; else each has its own.
    """

    def __init__(self, latent_dim: int, isotropic: bool = False):
        self.manifold = Euclidean(latent_dim)
        self.blocks = (Block(latent_dim, 1 if isotropic else latent_dim),)
        self.parameters = sum(self.blocks[0])

    def posterior(self, features: Tensor) -> Distribution:
        d = self.manifold.dim
        loc, scale = features.split((d, features.shape[-1] - d), -1)
        return DiagonalNormal(loc, F.softplus(scale), validate_args=False)

    def prior(self, like: Tensor) -> Distribution:
        d = self.manifold.dim
        return StandardNormal(d, dtype=like.dtype, device=like.device, validate_args=False)

    def summary(self, posterior: Distribution) -> dict[str, Tensor]:
        return {"scale_mean": posterior.scale.mean(-1)}


class _SphericalFamily:
    """A posterior (mu, kappa) on the sphere S^d in R^(d+1) and the uniform prior.

        if isinstance(start, str) or not 1 < start < 1e8:
            raise ValueError(
                f"initial_concentration: expected a number above 1 and below 1e8 or m, got {start}"
            )
        if link not in LINKS:
            raise ValueError(f"link: expected one of {', '.join(LINKS)}, got {link}")

    Raises:
        ValueError: for another initial concentration or link.
    """

    def __init__(
        self,
        latent_dim: int,
        initial_concentration: float | str = PUBLISHED,
        link: str = "softplus",
    ):
        self.manifold = Sphere(latent_dim)
        m = self.manifold.ambient_dim
        self.blocks = (Block(m, 1),)
        self.parameters = m + 1
        start = m if initial_concentration == "m" else initial_concentration
        if isinstance(start, str) or not 1 < start < 1e8:
            raise ValueError(
                f"initial_concentration: expected a number above 1 and below 1e8 or m, got {start}"
            )
        if link not in LINKS:
            raise ValueError(f"link: expected one of {', '.join(LINKS)}, got {link}")
        # the inverse of softplus, log(exp(y) - 1), without the overflow
        inverse = (start - 1) + math.log(-math.expm1(1 - start))
        self.link, self.shift = link, math.log(start) if link == "exp" else inverse
        self.is_normalised = link == "softplus"  # an exponential multiplies steps as long as Muon's

    def location_and_concentration(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return _Parameters.apply(features, self.shift, self.link == "exp")[:2]

    def concentration_of(self, length: Tensor) -> Tensor:
        """Return the concentration of the von Mises-Fisher law whose mean is about `length` long.

        R (m - R^2) / (1 - R^2): of unit vectors whose average has the length R it is, within some
        per cent, the one of maximum likelihood (Banerjee, Dhillon, Ghosh and Sra 2005, eq. 4.4).
        """
        squared = length.square()
        return length * (self.manifold.ambient_dim - squared) / (1 - squared)

    def features_of(self, concentration: Tensor) -> Tensor:
        """Return what an encoder gives for concentrations above 1: the inverse of the link.

        One that is rounded to 1, where softplus has no inverse, gives what the next one above does.
        """
        if self.link == "exp":
            return concentration.log() - self.shift
        excess = (concentration - 1).clamp(min=torch.finfo(concentration.dtype).eps)
        return excess + (-torch.expm1(-excess)).log() - self.shift

    def prior(self, like: Tensor) -> Distribution:
        m = self.manifold.ambient_dim
        return HypersphericalUniform(m, dtype=like.dtype, device=like.device, validate_args=False)

    def summary(self, posterior: Distribution) -> dict[str, Tensor]:
        return {"concentration_mean": posterior.concentration}


def direction(vectors: Tensor) -> Tensor:
    """Return v / |v|, and e1 without a gradient for v = 0: what a node gets without features.

    dx = (dv - x (x.dv)) / |v|.
    """
    return _Direction.apply(vectors)[0]


class _Direction(Function):
    @staticmethod
    def forward(vectors):
        return _normalise(vectors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        direction, inverse = output
        ctx.mark_non_differentiable(inverse)
        ctx.save_for_backward(direction, inverse, *inputs)

    @staticmethod
    def backward(ctx, grad, _):
        *saved, vectors = ctx.saved_tensors
        with torch.no_grad():
            in_vectors = _in_vectors(grad, *saved)
        return refuse_second(in_vectors, grad, vectors)

    @staticmethod
    def forward_mode(ctx, *tangents):
        raise NotImplementedError(FORWARD_MODE)


class _Parameters(Function):
    """v / |v| and softplus(y + s) + 1 or exp(y + s) from (v, y) and s, in one node."""

    @staticmethod
    def forward(features, shift, is_exponential):
        direction, inverse = _normalise(features[..., :-1])
        raw = features[..., -1] + shift
        concentration = raw.exp() if is_exponential else F.softplus(raw) + 1.0
        return direction, concentration, inverse, raw

    @staticmethod
    def setup_context(ctx, inputs, output):
        features, _, ctx.is_exponential = inputs
        direction, _, inverse, raw = output
        ctx.mark_non_differentiable(inverse, raw)
        ctx.save_for_backward(direction, inverse, raw, features)

    @staticmethod
    def backward(ctx, in_direction, in_concentration, *_):
        direction, inverse, raw, features = ctx.saved_tensors
        with torch.no_grad():
            in_vectors = _in_vectors(in_direction, direction, inverse)
            slope = raw.exp() if ctx.is_exponential else raw.sigmoid()
            in_raw = slope.mul_(in_concentration)
            gradient = torch.cat((in_vectors, in_raw.unsqueeze(-1)), -1)
        return refuse_second(gradient, in_direction, in_concentration, features), None, None

    @staticmethod
    def forward_mode(ctx, *tangents):
        raise NotImplementedError(FORWARD_MODE)


def _normalise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return v / |v| and 1 / |v|; e1 and 0 for v = 0."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    is_zero = length == 0  # a vector of nan stays one, so that the guard sees it
    inverse = length.reciprocal_().masked_fill_(is_zero, 0.0)
    first = F.pad(is_zero.to(vectors.dtype), (0, vectors.shape[-1] - 1))
    return torch.addcmul(first, vectors, inverse), inverse


def _in_vectors(grad: Tensor, direction: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient in v from that in v / |v|."""
    along = torch.linalg.vecdot(grad, direction).unsqueeze(-1)
    return torch.addcmul(grad, along, direction, value=-1).mul_(inverse)


class VonMisesFisherFamily(_SphericalFamily):
    """von Mises-Fisher posterior with one of the samplers and gradient estimators.

    With `scales` the posterior is `ScaledVonMisesFisher` around the location that the encoder
    gives, of m numbers more, f, with log a = c arsinh((f - mean f) / c), c = 2.5: their mean says
    nothing, and a step that is too long cannot throw a scale far. With tanh in its place they stay
    at the bound where a small weight of the KL has driven them to it, for want of a slope.

    `initial_concentration` and `link` of None are those published, with scales a concentration of
    100: a small start may leave one direction as wide as the sphere.
    """

    def __init__(
        self,
        latent_dim: int,
        sampler: str = "rejection",
        gradient: str = "implicit",
        initial_concentration: float | str | None = None,
        link: str | None = None,
        scales: bool = False,
    ):
        start = _SCALED_START if scales else PUBLISHED
        if initial_concentration is not None:
            start = initial_concentration
        super().__init__(latent_dim, start, link or "softplus")
        self.options = {"sampler": sampler, "gradient": gradient}
        self.scales = scales
        if scales:
            m = self.manifold.ambient_dim
            self.blocks = (Block(m, 1 + m),)
            self.parameters += m
            self.is_normalised = False  # the scales are read as they are
        if sampler == "inversion" and latent_dim != 2:
            raise ValueError(f"sampler=inversion: exists for latent_dim=2 only, got {latent_dim}")

    def posterior(self, features: Tensor) -> Distribution:
        m = self.manifold.ambient_dim
        loc, concentration = self.location_and_concentration(features[..., : m + 1])
        if not self.scales:
            return VonMisesFisher(loc, concentration, **self.options, validate_args=False)
        raw = features[..., m + 1 :]
        log_scales = _LINEAR * torch.asinh((raw - raw.mean(-1, keepdim=True)) / _LINEAR)
        return ScaledVonMisesFisher(
            loc, concentration, log_scales, **self.options, validate_args=False
        )

    def summary(self, posterior: Distribution) -> dict[str, Tensor]:
        found = super().summary(posterior)
        return found | ({"scale_spread": posterior.log_scales.std(-1)} if self.scales else {})


class PowerSphericalFamily(_SphericalFamily):
    """Power Spherical posterior (De Cao and Aziz 2020)."""

    def concentration_of(self, length: Tensor) -> Tensor:
        """Return the concentration of which the mean is `length` long, R (m - 1) / (1 - R)."""
        return length * self.manifold.dim / (1 - length)

    def posterior(self, features: Tensor) -> Distribution:
        loc, concentration = self.location_and_concentration(features)
        return PowerSpherical(loc, concentration, validate_args=False)


class SphericalCauchyFamily(_SphericalFamily):
    """Spherical Cauchy posterior (Kato and McCullagh 2020)."""

    def concentration_of(self, length: Tensor) -> Tensor:
        """Return the concentration of which the mean is about `length` long, within 4 %.

        With n = m - 1, R / (1 - R) times what joins the limits n + 1 at R = 0 and n^2 / (n - 2) at
        1; on the circle it is 2 R / (1 - R)^2.
        """
        n = self.manifold.dim
        if n < 3:
            return (n + 1) * length / (1 - length) ** (2 if n == 1 else 1.35)
        between = n + 1 + length.square() * (n**2 / (n - 2) - n - 1)
        return length / (1 - length) * between

    def posterior(self, features: Tensor) -> Distribution:
        loc, concentration = self.location_and_concentration(features)
        return SphericalCauchy(loc, concentration, validate_args=False)
