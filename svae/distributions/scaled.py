"""The scaled von Mises-Fisher distribution: a concentration for every axis."""

from collections.abc import Iterable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from svae.autograd import Function, save
from svae.distributions.draw import Draw
from svae.distributions.sphere import (
    broadcast_parameters,
    checked,
    finite_nonnegative,
    log_sphere_area,
    refuse_untensored,
    sum_samples,
    unit_sphere,
)
from svae.distributions.validation import check_sample, checks, joint_dtype
from svae.distributions.von_mises_fisher import VonMisesFisher
from svae.noise import Source


class ScaledVonMisesFisher(Distribution):
    """The law of y = Az / |Az|, z ~ vMF(mu, kappa), A = diag(a), around loc = A mu / |A mu|.

    The map of the sphere onto itself has the Jacobian |A| / |Az|^m, so that with |Az| =
    1 / |A^-1 y|

        log q(y) = log vMF(A^-1 y / |A^-1 y|) - m log |A^-1 y|.

    where sum log a = 0: the length of A does not matter, and log a is centred here. a = 1 is the
    von Mises-Fisher law; with others, level lines are no circles.

    `loc` is where the map sends mu. It is not the mean direction, which has no closed form, but is
    near it where kappa is large. Samples have the gradient of the von Mises-Fisher law in mu and
    kappa, by `gradient`, and that of the map in a. The divergence from the uniform law has no
    closed form either, see `divergence`.

    Args:
        loc: unit vectors, (..., m), m from 2 up.
        concentration: kappa in [0, 1e8], (...), a number or broadcasts with loc; same dtype.
        log_scales: log a, (..., m), broadcasts with loc; its mean over the last axis is taken off.
        gradient, sampler, proposals: see `VonMisesFisher`.
        validate_args: whether parameters and the values given to log_prob are checked.

    Raises:
        ValueError: for what `VonMisesFisher` refuses, or if log_scales does not broadcast with loc;
            under validate_args also if it is not finite, or beyond 20 once it is centred.

    Reference: the angular central Gaussian law is made so from the uniform one (Tyler 1987,
    "Statistical analysis for the angular central Gaussian distribution on the sphere").
    """

    arg_constraints = {
        "loc": unit_sphere,
        "concentration": finite_nonnegative,
        # beyond, float32 has no vector of unit length left
        "log_scales": constraints.independent(constraints.interval(-20.0, 20.0), 1),
    }
    support = unit_sphere

    def __init__(
        self,
        loc: Tensor,
        concentration: Tensor | float,
        log_scales: Tensor,
        gradient: str = "implicit",
        sampler: str = "rejection",
        *,
        proposals: int | None = None,
        validate_args: bool | None = None,
    ):
        loc, concentration = broadcast_parameters(loc, concentration)
        refuse_untensored("log_scales", log_scales)
        try:
            shape = torch.broadcast_shapes(loc.shape, log_scales.shape)
        except RuntimeError:
            shape = None
        if shape is None or shape[-1:] != loc.shape[-1:]:
            raise ValueError(
                f"log_scales needs a shape that broadcasts with loc's {tuple(loc.shape)}, got "
                f"{tuple(log_scales.shape)}"
            )
        validate_args = checks(validate_args, loc)
        centred = log_scales - log_scales.mean(-1, keepdim=True)
        self.loc, self.log_scales = checked(loc, validate_args).expand(shape), centred.expand(shape)
        self.concentration = concentration.expand(shape[:-1])
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)
        mu, _ = _Stretched.apply(self.loc, -self.log_scales)
        self.base = VonMisesFisher(
            *(mu, self.concentration, gradient, sampler), proposals=proposals, validate_args=False
        )

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(ScaledVonMisesFisher, _instance)
        new.base = self.base.expand(batch_shape)
        new.loc, new.log_scales = (
            vectors.expand(Size(batch_shape) + self.event_shape)
            for vectors in (self.loc, self.log_scales)
        )
        new.concentration = new.base.concentration
        super(ScaledVonMisesFisher, new).__init__(
            Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @property
    def has_rsample(self) -> bool:
        """Whether a sample alone carries its gradient."""
        return self.base.has_rsample

    @property
    def expected_acceptance_rate(self) -> Tensor:
        return self.base.expected_acceptance_rate

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Return samples, and what their gradient needs, see `VonMisesFisher.draw`.

        Under `score`, too, the gradient in a goes through the samples.
        """
        z, log_weight, proposals = self.base.draw(shape, generator)
        return Draw(_Stretched.apply(z, self.log_scales)[0], log_weight, proposals)

    def rsample(self, sample_shape=()) -> Tensor:
        """Return samples whose gradient is that of an expectation.

        Raises:
            ValueError: for `corrected` and `score`, whose gradient is not in the samples alone.
        """
        return _Stretched.apply(self.base.rsample(sample_shape), self.log_scales)[0]

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        z, log_shrunk = _Stretched.apply(value.double(), -self.log_scales.double())
        m = self.event_shape[0]
        return (self.base._log_prob(z) - m * log_shrunk).to(joint_dtype(value, self.loc))

    def divergence(self, value: Tensor) -> Tensor:
        """Return an estimate of the divergence from the uniform law by each sample, unbiased.

        KL = KL(vMF || uniform) + m E[log |Az|]. With q = |Az|^2 and r = E[q] = sum a_i^2
        (A_m/kappa + (1 - m A_m/kappa) mu_i^2) known, q/r - 1 is a control variate of log q: it
        leaves a deviation of some hundredths to tenths where log q alone has one of several nats.
        Its gradient is unbiased as that of the samples is: the mean of q/r stays 1.

        Args:
            value: samples (..., m), of `draw` of this very distribution where gradients are wanted.
        """
        _, log_shrunk = _Stretched.apply(value, -self.log_scales)  # log |A^-1 y| = -log |Az|
        ratio = (-2 * log_shrunk).exp() / self._mean_square()
        sampled = (-2 * log_shrunk).sub(ratio - 1)
        return self.base._relative_entropy() + self.event_shape[0] / 2 * sampled

    def _mean_square(self) -> Tensor:
        """Return E |Az|^2."""
        across, m = self.base._variance_across(), self.event_shape[0]
        weights = (2 * self.log_scales).exp()
        along = (weights * self.base.loc.square()).sum(-1)
        return across * weights.sum(-1) + (1 - m * across) * along

    def entropy(self, value: Tensor | None = None) -> Tensor:
        """Return the mean over the samples `value` (S, ..., m), by default over 1,000 new ones."""
        value = self.draw((1000,)).value if value is None else value
        return log_sphere_area(self.event_shape[0]) - self.divergence(value).mean(0)


class _Stretched(Function):
    """Av / |Av| and log |Av| of vectors (..., m), A = diag(exp(log_scales)), in one node."""

    @staticmethod
    def forward(vectors, log_scales):
        stretched = log_scales.exp() * vectors
        length = torch.linalg.vector_norm(stretched, dim=-1)
        return stretched / length.unsqueeze(-1), length.log()

    @staticmethod
    def setup_context(ctx, inputs, output):
        save(ctx, *inputs, *output)

    @staticmethod
    def backward(ctx, in_direction, in_log_length):
        vectors, log_scales, direction, log_length = ctx.saved_tensors
        along = in_log_length - torch.linalg.vecdot(in_direction, direction)
        inner = torch.addcmul(in_direction, along.unsqueeze(-1), direction)
        in_vectors = inner * (log_scales - log_length.unsqueeze(-1)).exp()
        in_scales = sum_samples(in_vectors * vectors, log_scales.shape)
        return sum_samples(in_vectors, vectors.shape), in_scales

    @staticmethod
    def forward_mode(ctx, in_vectors, in_scales):
        vectors, log_scales, direction, log_length = ctx.saved_tensors
        change = (in_vectors + vectors * in_scales) * (log_scales - log_length.unsqueeze(-1)).exp()
        along = torch.linalg.vecdot(change, direction)
        return torch.addcmul(change, along.unsqueeze(-1), direction, value=-1), along
