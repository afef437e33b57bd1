"""What laws of a direction and a concentration have in common whose samplers reject nothing."""

from torch import Size, Tensor
from torch.distributions import Distribution

from svae.distributions.sphere import (
    broadcast_parameters,
    checked,
    finite_nonnegative,
    unit_sphere,
)
from svae.distributions.validation import checks


class Directional(Distribution):
    """A law on S^{m-1} around `loc`, of a `concentration`; a subclass has `draw` and the formulas.

    Args:
        loc: mu, unit vectors, (..., m), m from 2 up.
        concentration: kappa >= 0, (...), a number or broadcasts with loc; same dtype.
        validate_args: whether parameters and the values given to log_prob are checked.

    Raises:
        ValueError: if m < 2, shapes do not broadcast or dtypes differ; under validate_args also if
            loc is not of length 1, or concentration is negative, infinite or nan.
    """

    arg_constraints = {"loc": unit_sphere, "concentration": finite_nonnegative}
    support = unit_sphere
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, *, validate_args: bool | None = None
    ):
        self.loc, self.concentration = broadcast_parameters(loc, concentration)
        validate_args = checks(validate_args, self.loc)
        self.loc = checked(self.loc, validate_args)
        super().__init__(self.concentration.shape, self.loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(type(self), _instance)
        new.loc = self.loc.expand(Size(batch_shape) + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        Distribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape=()) -> Tensor:
        return self.draw(sample_shape).value

    @property
    def mode(self) -> Tensor:
        """mu, one mode of many if the concentration is 0."""
        return self.loc
