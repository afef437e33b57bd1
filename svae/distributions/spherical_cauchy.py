"""The spherical Cauchy distribution: the uniform law, drawn towards mu by a Moebius map."""

import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributions import register_kl

from svae.distributions.directional import Directional
from svae.distributions.draw import Draw, as_size
from svae.distributions.sphere import (
    Placement,
    joint_batch_shape,
    log_sphere_area,
)
from svae.distributions.uniform import HypersphericalUniform
from svae.distributions.validation import check_sample, joint_dtype
from svae.noise import Source, gamma


class SphericalCauchy(Directional):
    """The spherical Cauchy distribution on S^{m-1}, of density ~ (1 + c (1 - mu.x))^(1-m).

    With c = kappa / (m - 1) and s = sqrt(1 + 2c),

        log p(x) = (m - 1) log(s / (1 + c (1 - mu.x))) - log S.

    kappa is the slope of the log density in mu.x at mu, as that of the von Mises-Fisher law is
    everywhere: near mu the two agree, away from it this one has heavier tails. kappa = 0 is the
    uniform law. Kato and McCullagh's rho is (s - 1) / (s + 1).

    Seen from mu, the angle theta of a uniform point becomes theta' with tan(theta'/2) =
    tan(theta/2) / s. Hence mu.x = tanh(u + log s), u of density ~ sech(u)^(m-1), from which
    sampler, gradient, divergence and moments follow, none of which cancels.

    Arguments and errors are those of `Directional`.

    Reference: Kato and McCullagh 2020, "Some properties of a Cauchy family on the sphere derived
    from the Moebius transformations", Bernoulli 26, eq. 2 and theorem 1; Sablica and Hornik 2025,
    arXiv 2506.21278.
    """

    @property
    def _slope(self) -> Tensor:
        """c in float64."""
        return self.concentration.double() / (self.event_shape[0] - 1)

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Return samples made from two gamma variables; all random numbers come from `generator`.

        With G, H ~ Gamma((m - 1)/2): 1 - w = 2H / (s^2 G + H). Since w = tanh(u + log s),
        (dw/dkappa) / (1 - w^2) is that of log s alone, 1 / (m - 1 + 2 kappa): exact.
        """
        m, kappa = self.event_shape[0], self.concentration.detach().double()
        with torch.no_grad():
            alpha = kappa.new_full(as_size(shape) + self.batch_shape, (m - 1) / 2)
            G, H = gamma(alpha, generator), gamma(alpha, generator)
            G = G * (1 + 2 * self._slope)
            share = 2.0 / (G + H)
            slope = torch.reciprocal(m - 1 + 2 * kappa).expand(alpha.shape)
        value = Placement.apply(
            self.loc, self.concentration, H * share, G * share, slope, generator
        )
        return Draw.direct(value)

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        m, c = self.event_shape[0], self._slope
        # 1 - mu.x by the distance: of vectors in float32, mu.x is known within 1e-7 only
        below_top = (value.double() - self.loc.double()).square().sum(-1) / 2
        log_ratio = torch.log1p(2 * c) / 2 - torch.log1p(c * below_top)
        log_density = (m - 1) * log_ratio - log_sphere_area(m)
        return log_density.to(joint_dtype(value, self.loc))

    def entropy(self) -> Tensor:
        return log_sphere_area(self.event_shape[0]) - self._relative_entropy()

    def _relative_entropy(self) -> Tensor:
        """Return the divergence from the uniform law, (m - 1)/2 E log(1 + x q).

        x = c^2 / (1 + 2c), q = sech(u)^2: log(cosh(u + log s) / cosh(u)), the average of u and -u.
        """
        q, weights = self._quadrature()
        x = self._slope.square() / (1 + 2 * self._slope)
        value = torch.log1p(x.unsqueeze(-1) * q) @ weights
        return ((self.event_shape[0] - 1) / 2 * value).to(self.concentration.dtype)

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        # torch.compile makes constants of them, and warns of a cache
        nodes = _nodes if torch.compiler.is_compiling() else _cached_nodes
        return nodes(self.event_shape[0] - 1, self.loc.device)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return E[1 - w] and E[1 - w^2], w = mu.x, each the average of u and -u."""
        (q, weights), c = self._quadrature(), self._slope.unsqueeze(-1)
        x = c.square() / (1 + 2 * c)
        complement = (1 - c * q / (1 + 2 * c)) / (1 + x * q)
        square = q * (1 + x * (2 - q)) / (1 + x * q).square()
        return complement @ weights, square @ weights

    @property
    def mean(self) -> Tensor:
        """E[w] mu."""
        complement, _ = self._moments()
        return (1 - complement).to(self.loc.dtype).unsqueeze(-1) * self.loc

    @property
    def variance(self) -> Tensor:
        """Var(w) mu_i^2 + E[1 - w^2] (1 - mu_i^2) / (m - 1), the diagonal of the covariance."""
        complement, square = self._moments()
        along = 2 * complement - square - complement.square()
        across = square / (self.event_shape[0] - 1)
        along, across = (part.to(self.loc.dtype).unsqueeze(-1) for part in (along, across))
        return along * self.loc**2 + across * (1 - self.loc**2)


def _nodes(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return values of q = sech(u)^2 and weights of a mean over u of density ~ sech(u)^n.

    The trapezoidal rule: what is averaged is even, and analytic as far as i pi/2 from the real
    line, whatever the concentration, so that it converges geometrically (Trefethen and Weideman
    2014, "The exponentially convergent trapezoidal rule", theorem 5.1).
    """
    step = 0.6 / math.sqrt(n + 3)
    end = 40 / n + math.sqrt(80 / n)  # sech(u)^n < 1e-17 beyond
    u = step * torch.arange(int(end / step) + 1, dtype=torch.float64, device=device)
    log_sech = math.log(2) - u - torch.log1p(torch.exp(-2 * u))
    weights = torch.exp(n * log_sech) * torch.where(u > 0, 2.0, 1.0)
    return torch.exp(2 * log_sech), weights / weights.sum()


@lru_cache(maxsize=64)
def _cached_nodes(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # what is made there can have no gradient later
        return _nodes(n, device)


@register_kl(SphericalCauchy, HypersphericalUniform)
def _kl_spherical_cauchy_uniform(p: SphericalCauchy, q: HypersphericalUniform) -> Tensor:
    return p._relative_entropy().expand(joint_batch_shape(p, q))
