"""Divergences in closed form, and by samples where there is none."""

from torch import Tensor
from torch.distributions import Distribution, kl_divergence


def divergence(p: Distribution, q: Distribution, value: Tensor) -> Tensor:
    """Return KL(p || q) in nats: in closed form (batch,), or by each sample (samples, batch).

    By each of the samples `value` (samples, batch, m) of p where p has a method `divergence` that
    estimates that from its prior q so, unbiased, as `ScaledVonMisesFisher` has.
    """
    estimate = getattr(p, "divergence", None)
    return kl_divergence(p, q) if estimate is None else estimate(value)


def is_sampled(p: Distribution) -> bool:
    """Return whether `divergence` needs samples."""
    return hasattr(p, "divergence")
