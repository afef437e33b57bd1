"""What drawing from a distribution gives."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Size, Tensor


class Draw(NamedTuple):
    """A differentiable sample, with what its gradient and its cost need.

    value has shape sample + batch + event, log_weight and proposals have shape sample + batch.
    log_weight is 0; its gradient is the score that an estimator other than the pathwise one adds.
    proposals counts the candidates used per sample, 1 where nothing is rejected.
    """

    value: Tensor
    log_weight: Tensor
    proposals: Tensor

    @classmethod
    def direct(cls, value: Tensor) -> "Draw":
        """Returns the draw of a sampler that rejects nothing, with a one-dimensional event."""
        shape = value.shape[:-1]
        return cls(value, value.new_zeros(shape), value.new_ones(shape))


def as_size(shape: int | Iterable[int]) -> Size:
    """Return the shape of samples: a number n is that of n samples in one axis.

    Raises:
        ValueError: for anything but whole numbers from 0 up.
    """
    try:
        size = Size((shape,)) if isinstance(shape, int) else Size(shape)
    except TypeError:
        size = None
    if size is None or any(n < 0 for n in size):
        raise ValueError(f"a shape of samples needs whole numbers from 0 up, got {shape!r}")
    return size
