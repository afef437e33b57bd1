"""The uniform distribution on the unit sphere."""

from collections.abc import Iterable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, register_kl

from svae.distributions.draw import Draw, as_size
from svae.distributions.sphere import (
    joint_batch_shape,
    log_sphere_area,
    uniform_direction,
    unit_sphere,
)
from svae.distributions.validation import check_sample, joint_dtype
from svae.noise import Source


class HypersphericalUniform(Distribution):
    """The uniform distribution on S^{m-1} = {x in R^m: |x| = 1}.

    log p(x) = -log S, S = 2 pi^{m/2} / Gamma(m/2); mean 0, covariance I / m, no mode.

    Args:
        m: the dimension of the surrounding space, from 2 up.
        batch_shape: the shape of independent copies.
        dtype, device: those of samples and densities, torch's defaults if left out.
        validate_args: whether values given to log_prob are checked.

    Raises:
        ValueError: if m is not an integer from 2 up.
    """

    arg_constraints = {}
    support = unit_sphere
    has_rsample = True

    def __init__(
        self,
        m: int,
        batch_shape: Size | tuple[int, ...] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ):
        if not isinstance(m, int) or m < 2:
            raise ValueError(f"a sphere needs an integer m >= 2 as its ambient dimension, got {m}")
        self._zero = torch.zeros((), dtype=dtype, device=device)
        super().__init__(Size(batch_shape), Size((m,)), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(HypersphericalUniform, _instance)
        new._zero = self._zero
        super(HypersphericalUniform, new).__init__(
            Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"HypersphericalUniform({self.event_shape[0]}{batch})"

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Returns normalised normal vectors; all random numbers come from generator."""
        shape = as_size(shape) + self.batch_shape
        return Draw.direct(uniform_direction(shape, self.event_shape[0], self._zero, generator))

    def rsample(self, sample_shape=()) -> Tensor:
        return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        check_sample(self, value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        dtype = joint_dtype(value, self._zero)
        return value.new_full(shape, -log_sphere_area(self.event_shape[0]), dtype=dtype)

    def entropy(self) -> Tensor:
        return self._zero.expand(self.batch_shape) + log_sphere_area(self.event_shape[0])

    @property
    def mean(self) -> Tensor:
        return self._zero.expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        return self.mean + 1 / self.event_shape[0]


@register_kl(HypersphericalUniform, HypersphericalUniform)
def _kl_uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> Tensor:
    return p.entropy().new_zeros(joint_batch_shape(p, q))
