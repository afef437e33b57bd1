"""The von Mises-Fisher distribution, with its samplers and its divergences."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, register_kl
from torch.distributions.utils import lazy_property

from svae.autograd import Known, is_constant, is_mapping, is_transforming
from svae.distributions import maximum_likelihood
from svae.distributions.draw import Draw, as_size
from svae.distributions.estimators import (
    GRADIENTS,
    Reparameterised,
    acceptance_score,
    zero_with_slope,
)
from svae.distributions.implicit import implicit_slope
from svae.distributions.inversion import draw_by_inversion
from svae.distributions.series import Series
from svae.distributions.sphere import (
    Placement,
    broadcast_parameters,
    checked,
    finite_nonnegative,
    joint_batch_shape,
    log_sphere_area,
    unit_sphere,
)
from svae.distributions.ulrich_wood import (
    Envelope,
    Height,
    draw_fixed,
    draw_until_accepted,
    envelope,
    sufficient_proposals,
)
from svae.distributions.uniform import HypersphericalUniform
from svae.distributions.validation import check_sample, checks, joint_dtype
from svae.noise import Source
from svae.special import BesselMoments, bessel_moments

SAMPLERS = ("rejection", "inversion")


class VonMisesFisher(Distribution):
    """The von Mises-Fisher distribution on S^{m-1}, of density ~ exp(kappa mu.x).

    log p(x) = kappa (mu.x - 1) - [log M(kappa) - kappa] - log S, with S the area of the sphere and
    M(kappa) = Gamma(m/2) (2/kappa)^(m/2-1) I_{m/2-1}(kappa). kappa = 0 is the uniform distribution.

    What follows from kappa is computed once: with a parameter altered in place, make a new one.

    `gradient` names the estimator of gradients in mu and kappa that samples come with, see
    `estimators`: `implicit` is exact; `corrected` and `score` are unbiased, noisy, and need the
    value of the objective; `pathwise` is biased, by up to 48 %, and what public code does.

    Args:
        loc: mu, unit vectors, (..., m), m from 2 up.
        concentration: kappa in [0, 1e8], (...), a number or broadcasts with loc; same dtype.
        gradient: one of the above.
        sampler: "rejection" (Ulrich and Wood) or, for m = 3, "inversion" of the distribution
            function. Inversion rejects nothing, hence has no `corrected`, and its `pathwise` and
            `implicit` are the same exact gradient.
        proposals: how many proposals each sample gets, a fixed number that needs no look at the
            device. If left out, as many as it takes on the CPU, and elsewhere or under
            torch.compile so many that all fail with a probability below 1e-12.
        validate_args: whether parameters and the values given to log_prob are checked.

    Raises:
        ValueError: if m < 2, shapes do not broadcast, dtypes differ or an option does not exist;
            under validate_args also if loc is not of length 1, or concentration is negative,
            infinite or nan.

    Reference: Mardia and Jupp 2000, "Directional statistics", section 9.3.2; Davidson et al. 2018,
    "Hyperspherical variational auto-encoders", section 3.
    """

    arg_constraints = {"loc": unit_sphere, "concentration": finite_nonnegative}
    support = unit_sphere

    def __init__(
        self,
        loc: Tensor,
        concentration: Tensor | float,
        gradient: str = "implicit",
        sampler: str = "rejection",
        *,
        proposals: int | None = None,
        validate_args: bool | None = None,
    ):
        self.loc, self.concentration = broadcast_parameters(loc, concentration)
        validate_args = checks(validate_args, self.loc)
        self.loc = checked(self.loc, validate_args)
        self.gradient, self.sampler, self.proposals = gradient, sampler, proposals
        self._check_options()
        super().__init__(self.concentration.shape, self.loc.shape[-1:], validate_args=validate_args)

    def _check_options(self) -> None:
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}, got {self.gradient}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler}")
        if self.proposals is not None and self.proposals < 1:
            raise ValueError(f"proposals must be at least 1, got {self.proposals}")
        if self.sampler == "rejection":
            return
        m = self.loc.shape[-1]
        if m != 3:
            raise ValueError(f"sampler=inversion exists for m = 3 alone, got m = {m}")
        if self.gradient == "corrected":
            raise ValueError("gradient=corrected corrects a rejection, sampler=inversion has none")
        if self.proposals is not None:
            raise ValueError(
                f"sampler=inversion makes no proposals, got proposals={self.proposals}"
            )

    @classmethod
    def fit(cls, x: Tensor, weights: Tensor | None = None) -> "VonMisesFisher":
        """Return the law under which unit vectors (..., N, m) are most likely, one of each batch.

        mu is the direction of their mean, A(kappa) = |mean|. kappa is 0 where the mean is, and at
        most 1e8: of points that are all the same the likelihood grows without end.

        Args:
            x: unit vectors; their dtype and device come back. Without gradient.
            weights: >= 0, how often each vector counts, (..., N); None: once.

        Raises:
            ValueError: when `x` are no unit vectors, or a weight is negative, or none is positive.

        Reference: Mardia and Jupp 2000, section 10.3.1; Banerjee, Dhillon, Ghosh and Sra 2005,
        "Clustering on the unit hypersphere using von Mises-Fisher distributions", eq. 4.4, from
        where Newton's method begins.
        """
        loc, concentration = maximum_likelihood.von_mises_fisher(
            *maximum_likelihood.weighted(x, weights)
        )
        return cls(loc.to(x.dtype), concentration.to(x.dtype))

    @property
    def has_rsample(self) -> bool:
        """Whether a sample alone carries its gradient."""
        return self.gradient in ("implicit", "pathwise")

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(VonMisesFisher, _instance)
        new.loc = self.loc.expand(Size(batch_shape) + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        new.gradient, new.sampler, new.proposals = self.gradient, self.sampler, self.proposals
        super(VonMisesFisher, new).__init__(
            Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @lazy_property
    def _kappa(self) -> Tensor:
        """kappa in float64, without gradient."""
        return self.concentration.detach().double()

    @lazy_property
    def _envelope(self) -> Envelope:
        return envelope(self.event_shape[0], self._kappa)

    @lazy_property
    def _series(self) -> Series | None:
        """The functions of kappa within 1e-9, which is enough for float32."""
        if self.concentration.dtype == torch.float64 or torch.compiler.is_compiling():
            return None  # a compiler makes one kernel of the exact integral
        return Series(self.event_shape[0], self._kappa, self._envelope)

    @lazy_property
    def _values(self) -> BesselMoments:
        """What all closed forms are made of, in float64, computed once and without gradient."""
        return self._series.moments if self._series else bessel_moments(self._order, self._kappa)

    def _divergence(self) -> tuple[Tensor, Tensor]:
        """Return the divergence from the uniform law and its slope, in float64."""
        if self._series:
            return self._series.divergence()
        return self._values.relative_entropy, self._kappa * self._values.variance

    def _relative_entropy(self) -> Tensor:
        """Return the divergence from the uniform law."""
        slope = partial(_divergence_slope, self._order)
        return Known.apply(self.concentration, slope, *self._divergence())

    def _variance_across(self) -> Tensor:
        """Return A / kappa, the variance along each axis that is orthogonal to mu."""
        slope = partial(_slope_across, self._order)
        return Known.apply(
            self.concentration, slope, *_across(self._order, self._kappa, self._values)
        )

    def _slope(self, below_top: Tensor) -> Tensor:
        """Return (dw/dkappa) / (1 - w^2) at drawn heights, as `gradient` has it."""
        if self.gradient != "implicit" and self.sampler != "inversion":
            return 1.0 / self._envelope.c
        if self._series:
            return self._series.slope(below_top)
        m = self.event_shape[0]
        return implicit_slope(m, self._kappa, self._values.complement, below_top)

    @property
    def _moments(self) -> BesselMoments:
        """The same, differentiable."""
        if is_constant(self.concentration):
            return self._values
        return bessel_moments(self._order, self.concentration.double())

    @property
    def _order(self) -> float:
        return self.event_shape[0] / 2 - 1

    def _to_dtype(self, value: Tensor) -> Tensor:
        return value.to(self.concentration.dtype)

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Return samples, the log weights that their gradient needs, and the proposals they took.

        The gradient of E[f] is that of f(value) + stop_gradient(f - baseline) * log_weight. Where
        the samples carry all of it, log_weight does not require a gradient. All random numbers
        come from `generator`.
        """
        height = self._height(as_size(shape) + self.batch_shape, generator)
        loc, concentration = self.loc, self.concentration
        if self.gradient == "score":
            loc, concentration = loc.detach(), concentration.detach()
        if torch.compiler.is_compiling() and self.gradient == "implicit":
            _ = self._values  # a backward pass that is traced may not keep values for later
        value = self._place(loc, concentration, height.below_top, generator)
        log_weight = self._log_weight(height.below_top, value)
        return Draw(value, log_weight, self._to_dtype(height.proposals))

    def _place(self, loc: Tensor, concentration: Tensor, below: Tensor, generator: Source):
        """Return samples (..., m) at drawn heights."""
        if not is_transforming():
            return Reparameterised.apply(loc, concentration, below, self._slope, generator)
        slope = self._slope(below)  # the backward pass may be at another level of transforms
        return Placement.apply(loc, concentration, below, 2.0 - below, slope, generator)

    def _height(self, shape: Size, generator: Source) -> Height:
        if self.sampler == "inversion":
            return draw_by_inversion(self._kappa, shape, generator)
        m, complement = self.event_shape[0], self._envelope.complement
        if self.proposals or complement.device.type != "cpu" or torch.compiler.is_compiling():
            return draw_fixed(m, complement, shape, generator, self.proposals)
        if is_mapping():  # nothing can be looked at
            return draw_fixed(m, complement, shape, generator, sufficient_proposals(m))
        return draw_until_accepted(m, complement, shape, generator)

    def _log_weight(self, below_top: Tensor, value: Tensor) -> Tensor:
        if self.has_rsample:
            return value.new_zeros(below_top.shape)
        kappa, mean_complement = self.concentration.detach(), self._values.complement
        if self.gradient == "corrected":
            score = acceptance_score(self._kappa, self._envelope, mean_complement, below_top)
            return zero_with_slope(self.concentration, score)
        # only the part of the score that turns mu: its length is not a parameter
        w = self._to_dtype(1 - below_top).unsqueeze(-1)
        turn = kappa.unsqueeze(-1) * (value.detach() - w * self.loc.detach())
        in_kappa = zero_with_slope(self.concentration, mean_complement - below_top)
        return in_kappa + zero_with_slope(self.loc, turn).sum(-1)

    def rsample(self, sample_shape=()) -> Tensor:
        """Return samples whose gradient is that of an expectation.

        Raises:
            ValueError: for `corrected` and `score`, whose gradient is not in the samples alone.
        """
        if not self.has_rsample:
            raise ValueError(
                f"gradient={self.gradient} needs the value of the objective: use draw() and add "
                "stop_gradient(f - baseline) * log_weight to f"
            )
        return self.draw(sample_shape).value

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        return self._log_prob(value).to(joint_dtype(value, self.loc))

    def _log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in float64."""
        # 1 - mu.x by the distance: of vectors in float32, mu.x is known within 1e-7 only
        below_top = (value.double() - self.loc.double()).square().sum(-1) / 2
        log_normaliser = self._moments.log_normaliser + log_sphere_area(self.event_shape[0])
        return -self.concentration.double() * below_top - log_normaliser

    def entropy(self) -> Tensor:
        return self._to_dtype(log_sphere_area(self.event_shape[0]) - self._moments.relative_entropy)

    @property
    def mean(self) -> Tensor:
        """A(kappa) mu, A(kappa) = I_{m/2}(kappa) / I_{m/2-1}(kappa)."""
        return self._to_dtype(self._moments.ratio).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """mu, one mode of many if the concentration is 0."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """A' mu_i^2 + E[1 - w^2] (1 - mu_i^2) / (m - 1), the diagonal of the covariance."""
        moments = self._moments
        across = moments.complement * (1 + moments.ratio) - moments.variance
        across = self._to_dtype(across / (self.event_shape[0] - 1)).unsqueeze(-1)
        along = self._to_dtype(moments.variance).unsqueeze(-1)
        return along * self.loc**2 + across * (1 - self.loc**2)

    @property
    def expected_acceptance_rate(self) -> Tensor:
        """How many samples a proposal of the rejection sampler gives.

        exp(kappa (A - x0) - KL - (m-1)/2 log(1 - x0^2)) with KL that to the uniform distribution:
        1 at kappa = 0, falling to 0.658 (m = 2) up to 0.707 (m large).
        """
        if self.sampler == "inversion":
            return torch.ones_like(self.concentration)
        m, moments = self.event_shape[0], self._moments
        complement = envelope(m, self.concentration.double()).complement
        shift = self.concentration.double() * (complement - moments.complement)
        width = torch.log(complement * (2 - complement))
        log_rate = shift - moments.relative_entropy - (m - 1) / 2 * width
        return self._to_dtype(torch.exp(log_rate))


def _divergence_slope(order: float, concentration: Tensor) -> Tensor:
    """Return kappa A', differentiable."""
    variance = bessel_moments(order, concentration.double()).variance
    return (variance * concentration).to(concentration.dtype)


def _across(order: float, kappa: Tensor, moments: BesselMoments) -> tuple[Tensor, Tensor]:
    """Return A / kappa = E[1 - w^2] / (m - 1), and its slope (A' - A / kappa) / kappa."""
    m = 2 * (order + 1)
    value = (moments.complement * (1 + moments.ratio) - moments.variance) / (m - 1)
    slope = (moments.variance - value) / kappa
    near = -2 * kappa / (m * m * (m + 2))  # where the difference has no digits left
    return value, torch.where(kappa < 1e-2, near, slope)


def _slope_across(order: float, concentration: Tensor) -> Tensor:
    """Return the slope of A / kappa, differentiable."""
    kappa = concentration.double()
    return _across(order, kappa, bessel_moments(order, kappa))[1].to(concentration.dtype)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> Tensor:
    shape, value = joint_batch_shape(p, q), p._relative_entropy()
    return value if shape == p.batch_shape else value.expand(shape)


@register_kl(HypersphericalUniform, VonMisesFisher)
def _kl_uniform_vmf(p: HypersphericalUniform, q: VonMisesFisher) -> Tensor:
    """log M(kappa) = kappa A - KL_q, KL_q to the uniform law: the mean of w is 0."""
    shape, moments = joint_batch_shape(p, q), q._moments
    value = q.concentration.double() * moments.ratio - moments.relative_entropy
    return q._to_dtype(value).expand(shape)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """KL_p - KL_q - kappa_q (A_p - A_q) + kappa_q A_p (1 - mu_p.mu_q), KL_ to the uniform law."""
    shape = joint_batch_shape(p, q)
    ours, theirs = p._moments, q._moments
    kappa = q.concentration.double()
    apart = (p.loc.double() - q.loc.double()).square().sum(-1) / 2
    value = ours.relative_entropy - theirs.relative_entropy
    value = value + kappa * (ours.complement - theirs.complement + ours.ratio * apart)
    return p._to_dtype(value).expand(shape)
