"""The normal distribution with a diagonal covariance, over vectors."""

import math
from collections.abc import Iterable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl

from svae.autograd import Function, save
from svae.distributions.draw import Draw, as_size
from svae.distributions.sphere import joint_batch_shape, refuse_untensored
from svae.distributions.validation import check_sample, checks
from svae.noise import Source, normal


class DiagonalNormal(Distribution):
    """The normal distribution N(mu, diag(sigma^2)) on R^d.

    log p(x) = -sum_i [((x_i - mu_i)/sigma_i)^2/2 + log sigma_i + log(2 pi)/2].

    Args:
        loc: mu, (..., d).
        scale: sigma > 0, standard deviations, broadcasts with loc; same dtype.
        validate_args: whether parameters and the values given to log_prob are checked.

    Raises:
        ValueError: if d < 1, shapes do not broadcast or dtypes differ; under validate_args also if
            loc is nan or scale is not positive.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None):
        refuse_untensored("loc", loc)
        refuse_untensored("scale", scale)
        if loc.dtype != scale.dtype:
            raise ValueError(f"loc and scale need one dtype, got {loc.dtype} and {scale.dtype}")
        try:
            self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        except RuntimeError as error:
            raise ValueError(
                f"loc of shape {tuple(loc.shape)} and scale of shape {tuple(scale.shape)} "
                "do not broadcast"
            ) from error
        if not self.loc.dim():
            raise ValueError(f"loc needs an axis for the vector's entries, got the number {loc}")
        if not self.loc.shape[-1]:
            raise ValueError(f"loc needs d >= 1 entries, got shape {tuple(self.loc.shape)}")
        validate_args = checks(validate_args, self.loc)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(DiagonalNormal, _instance)
        new.loc = self.loc.expand(Size(batch_shape) + self.event_shape)
        new.scale = self.scale.expand(Size(batch_shape) + self.event_shape)
        super(DiagonalNormal, new).__init__(
            Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Returns mu + sigma * noise; all random numbers come from generator."""
        shape = self._extended_shape(as_size(shape))
        noise = normal(shape, self.loc, generator)
        return Draw.direct(torch.addcmul(self.loc, self.scale, noise))

    def rsample(self, sample_shape=()) -> Tensor:
        return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        square = ((value - self.loc) / self.scale).square() / 2
        return -(square + self.scale.log()).sum(-1) - self._log_unit_volume()

    def entropy(self) -> Tensor:
        return self.scale.log().sum(-1) + self._log_unit_volume() + self.event_shape[0] / 2

    def _log_unit_volume(self) -> float:
        return self.event_shape[0] / 2 * math.log(2 * math.pi)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale.square()


class StandardNormal(DiagonalNormal):
    """The normal distribution N(0, I) on R^d."""

    def __init__(self, d: int, *, dtype=None, device=None, validate_args: bool | None = None):
        loc = torch.zeros(d, dtype=dtype, device=device)
        super().__init__(loc, torch.ones_like(loc), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return DiagonalNormal(self.loc, self.scale, validate_args=False).expand(batch_shape)


class _Divergence(Function):
    """sum_i (sigma_i^2 + mu_i^2 - 1)/2 - log sigma_i, in one node."""

    @staticmethod
    def forward(loc, scale):
        square = torch.addcmul((scale * scale).sub_(1.0), loc, loc)
        return square.mul_(0.5).sub_(scale.log()).sum(-1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx, grad):
        loc, scale = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        return grad * loc, grad * (scale - scale.reciprocal())

    @staticmethod
    def forward_mode(ctx, in_loc, in_scale):
        loc, scale = ctx.saved_tensors
        return (in_loc * loc + in_scale * (scale - scale.reciprocal())).sum(-1)


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_normal_normal(p: DiagonalNormal, q: DiagonalNormal) -> Tensor:
    """Returns sum_i [r^2 + ((mu - mu_q)/sigma_q)^2 - 1]/2 - log r with r = sigma/sigma_q."""
    shape = joint_batch_shape(p, q)
    if isinstance(q, StandardNormal):  # a second formula would be searched for: none is compiled
        value = _Divergence.apply(p.loc, p.scale)
        return value if shape == p.batch_shape else value.expand(shape)
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    terms = (ratio.square() + shift.square() - 1) / 2 - ratio.log()
    return terms.sum(-1).expand(shape)
