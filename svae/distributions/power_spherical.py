"""The Power Spherical distribution, a sphere's distribution with a sampler that rejects nothing."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, library
from torch.compiler import is_compiling
from torch.distributions import register_kl

from svae.autograd import Function, save
from svae.distributions import maximum_likelihood
from svae.distributions.directional import Directional
from svae.distributions.draw import Draw, as_size
from svae.distributions.sphere import (
    Placement,
    joint_batch_shape,
    log_sphere_area,
)
from svae.distributions.uniform import HypersphericalUniform
from svae.distributions.validation import check_sample
from svae.noise import Source, gamma


class PowerSpherical(Directional):
    """The Power Spherical distribution on S^{m-1}, of density ~ (1 + mu.x)^kappa.

    With beta = (m - 1)/2 and alpha = beta + kappa, (1 + mu.x)/2 ~ Beta(alpha, beta) and

        log p(x) = kappa log((1 + mu.x)/2) - (m - 1) log 2 - beta log pi
                   - log Gamma(alpha) + log Gamma(alpha + beta).

    kappa = 0 is the uniform distribution. Not the von Mises-Fisher law of the same concentration:
    near mu it is as wide as that of kappa/2.

    Arguments and errors are those of `Directional`.

    Reference: De Cao and Aziz 2020, "The Power Spherical distribution", arXiv 2006.04437, eq. 7-12.
    """

    @classmethod
    def fit(cls, x: Tensor, weights: Tensor | None = None) -> "PowerSpherical":
        """Return the law under which unit vectors (..., N, m) are most likely, one of each batch.

        mu maximises t = mean log (1 + mu.x)/2, whatever kappa, and is not the mean direction;
        psi(2 beta + kappa) - psi(beta + kappa) = -t. kappa is 0 where no other is better, and at
        most 1e8. Points all around have many such mu: it is the best of those reached from the mean
        direction and from some hundred of the points.

        Args:
            x: unit vectors; their dtype and device come back. Without gradient.
            weights: >= 0, how often each vector counts, (..., N); None: once.

        Raises:
            ValueError: when `x` are no unit vectors, or a weight is negative, or none is positive.
        """
        points, shares = maximum_likelihood.weighted(x, weights)
        loc, concentration = maximum_likelihood.power_spherical(
            points, shares, (x.shape[-1] - 1) / 2, _digamma_difference, _trigamma_difference
        )
        return cls(loc.to(x.dtype), concentration.to(x.dtype))

    @property
    def _beta(self) -> float:
        return (self.event_shape[0] - 1) / 2

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Returns samples made from two gamma variables; all random numbers come from generator.

        With G ~ Gamma(alpha), H ~ Gamma(beta): w = (G - H)/(G + H), and 1 - w = 2H/(G + H) does not
        cancel. The gradient in kappa goes through G alone: (dw/dkappa)/(1 - w^2) = G'/(2G) with G'
        the implicit gradient of a gamma variable (Figurnov, Mohamed and Mnih 2018, arXiv
        1805.08498, eq. 5), which torch has within 3e-4; that of its Beta is off by up to 3e-3.
        """
        with torch.no_grad():
            alpha = self.concentration.double() + self._beta
            alpha = alpha.expand(as_size(shape) + self.batch_shape)
            G = gamma(alpha, generator)
            H = gamma(torch.full_like(alpha, self._beta), generator)
            gamma_slope = _traced_gamma_slope if is_compiling() else torch._standard_gamma_grad
            slope = gamma_slope(alpha, G) / (G * 2.0)
            share = 2.0 / (G + H)
        value = Placement.apply(
            self.loc, self.concentration, H * share, G * share, slope, generator
        )
        return Draw.direct(value)

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        beta = self._beta
        log_normaliser = beta * math.log(4 * math.pi) - _LogGammaRatio.apply(
            beta, self.concentration.double()
        )
        # (1 + mu.x)/2 = 1 - |x - mu|^2/4 = |x + mu|^2/4: mu.x rounds to 1 long before x - mu rounds
        # to 0, and to -1 long before x + mu does
        distance = (value - self.loc).square().sum(-1)
        near = torch.special.xlog1py(self.concentration, distance.clamp(max=2) / -4)
        opposite = (value + self.loc).square().sum(-1).clamp(max=2)
        # at -mu there is no direction in which the density would fall: no gradient, rather than nan
        is_opposite = opposite == 0
        far = torch.special.xlogy(self.concentration, opposite.masked_fill(is_opposite, 4.0) / 4)
        far = far + torch.special.xlogy(self.concentration, (~is_opposite).to(far.dtype))
        log_kernel = torch.where(distance > 2, far, near)
        return log_kernel - log_normaliser.to(log_kernel.dtype)

    def entropy(self) -> Tensor:
        return log_sphere_area(self.event_shape[0]) - self._relative_entropy()

    def _relative_entropy(self) -> Tensor:
        """Returns the divergence from the uniform law."""
        value = _RelativeEntropy.apply(self._beta, self.concentration.double())
        return value.to(self.concentration.dtype)

    @property
    def mean(self) -> Tensor:
        """(alpha - beta)/(alpha + beta) mu."""
        kappa = self.concentration.unsqueeze(-1)
        return kappa / (kappa + 2 * self._beta) * self.loc

    @property
    def variance(self) -> Tensor:
        """Var(w) mu_i^2 + E[1 - w^2] (1 - mu_i^2)/(m - 1), the diagonal of the covariance."""
        beta = self._beta
        alpha = self.concentration.unsqueeze(-1) + beta
        across = 2 * alpha / ((alpha + beta) * (alpha + beta + 1))
        along = 2 * beta * across / (alpha + beta)
        return along * self.loc**2 + across * (1 - self.loc**2)


@library.custom_op("svae::gamma_slope", mutates_args=())
def _traced_gamma_slope(alpha: Tensor, value: Tensor) -> Tensor:
    """Return the gradient of a gamma variable; torch's own cannot be traced at every size."""
    return torch._standard_gamma_grad(alpha, value)


@_traced_gamma_slope.register_fake
def _(alpha: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(alpha)


# in units of beta: below the first, the relative entropy is a quadrature; above the second, what
# is made of log Gamma is a series. In between its terms cancel to 1e-12 at most.
_LOW, _HIGH = 1 / 4, 1e4
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)


class _LogGammaRatio(Function):
    """r = log Gamma(kappa + 2 beta) - log Gamma(kappa + beta)."""

    @staticmethod
    def forward(beta, kappa):
        return _log_gamma_ratio(beta, kappa)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _keep(ctx, *inputs)

    @staticmethod
    def backward(ctx, grad):
        return None, grad * _digamma_difference(ctx.beta, *ctx.saved_tensors)

    @staticmethod
    def forward_mode(ctx, _, tangent):
        return tangent * _digamma_difference(ctx.beta, *ctx.saved_tensors)


class _ZetaDifference(Function):
    """zeta(s, kappa + beta) - zeta(s, kappa + 2 beta), of slope -s times that of s + 1.

    torch's polygamma(1, x) is known within 1e-9 only, and its zeta has no forward mode.
    """

    @staticmethod
    def forward(s, beta, kappa):
        return _zeta_difference(s, beta, kappa)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.s, *rest = inputs
        _keep(ctx, *rest)

    @staticmethod
    def backward(ctx, grad):
        return (
            None,
            None,
            grad * -ctx.s * _ZetaDifference.apply(ctx.s + 1, ctx.beta, *ctx.saved_tensors),
        )

    @staticmethod
    def forward_mode(ctx, _, __, tangent):
        return tangent * -ctx.s * _ZetaDifference.apply(ctx.s + 1, ctx.beta, *ctx.saved_tensors)


class _RelativeEntropy(Function):
    """The divergence of Beta(alpha, beta), alpha = beta + kappa, from Beta(beta, beta).

    D = r(kappa) - r(0) - kappa r'(kappa), of slope -kappa r''(kappa), with r as above.
    """

    @staticmethod
    def forward(beta, kappa):
        gain = _log_gamma_ratio(beta, kappa) - (math.lgamma(2 * beta) - math.lgamma(beta))
        value = gain - kappa * _digamma_difference(beta, kappa)
        return torch.where(kappa < _LOW * beta, _near_uniform(beta, kappa), value)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _keep(ctx, *inputs)

    @staticmethod
    def backward(ctx, grad):
        (kappa,) = ctx.saved_tensors
        return None, grad * kappa * _trigamma_difference(ctx.beta, kappa)

    @staticmethod
    def forward_mode(ctx, _, tangent):
        (kappa,) = ctx.saved_tensors
        return tangent * kappa * _trigamma_difference(ctx.beta, kappa)


def _keep(ctx, beta: float, kappa: Tensor) -> None:
    ctx.beta = beta
    save(ctx, kappa)


def _near_uniform(beta: float, kappa: Tensor) -> Tensor:
    """Return the integral of -s r''(s) from 0 to kappa: a sum of positive terms."""
    nodes, weights = (
        torch.as_tensor(values, dtype=kappa.dtype, device=kappa.device)
        for values in ((_NODES + 1) / 2, _WEIGHTS / 2)
    )
    slopes = _trigamma_difference(beta, kappa.unsqueeze(-1) * nodes)
    return kappa.square() * (slopes @ (nodes * weights))


# r and its derivatives. With w = kappa + (3 beta - 1)/2 their series are
# r = beta log w - q/w^2 + O(w^-4), q = beta (beta^2 - 1)/24: even powers only (Tricomi and Erdelyi
# 1951, "The asymptotic expansion of a ratio of gamma functions", Pacific J. Math. 1).


def _log_gamma_ratio(beta: float, kappa: Tensor) -> Tensor:
    w, q = _series_terms(beta, kappa)
    exact = torch.lgamma(kappa + 2 * beta) - torch.lgamma(kappa + beta)
    return torch.where(kappa > _HIGH * beta, beta * w.log() - q / w.square(), exact)


def _zeta_difference(s: int, beta: float, kappa: Tensor) -> Tensor:
    return torch.special.zeta(s, kappa + beta) - torch.special.zeta(s, kappa + 2 * beta)


def _digamma_difference(beta: float, kappa: Tensor) -> Tensor:
    """Return r'."""
    w, q = _series_terms(beta, kappa)
    exact = torch.digamma(kappa + 2 * beta) - torch.digamma(kappa + beta)
    return torch.where(kappa > _HIGH * beta, (beta + 2 * q / w.square()) / w, exact)


def _trigamma_difference(beta: float, kappa: Tensor) -> Tensor:
    """Return -r''."""
    w, q = _series_terms(beta, kappa)
    # a node of its own costs a step of training 4 %
    difference = _ZetaDifference.apply if torch.is_grad_enabled() else _zeta_difference
    exact = difference(2, beta, kappa)
    return torch.where(kappa > _HIGH * beta, (beta + 6 * q / w.square()) / w.square(), exact)


def _series_terms(beta: float, kappa: Tensor) -> tuple[Tensor, float]:
    return kappa + (3 * beta - 1) / 2, beta * (beta**2 - 1) / 24


@register_kl(PowerSpherical, HypersphericalUniform)
def _kl_power_spherical_uniform(p: PowerSpherical, q: HypersphericalUniform) -> Tensor:
    return p._relative_entropy().expand(joint_batch_shape(p, q))
