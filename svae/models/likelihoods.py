"""Likelihoods p(x | z): distributions over observations, made from what a decoder returns."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from svae.distributions import DiagonalNormal


class BernoulliPixels(Distribution):
    """Independent Bernoulli pixels, by their logits (..., D); event shape (D,).

    log p(x) = sum_i x_i l_i - softplus(l_i)
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, validate_args: bool | None = None):
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        # this pair of operations keeps no third (..., D) tensor for the backward pass
        return torch.linalg.vecdot(value, self.logits) - F.softplus(self.logits).sum(-1)


class Bernoulli(nn.Module):
    """Binary observations: the decoder returns logits."""

    def __init__(self, features: int):
        super().__init__()

    def forward(self, decoded: Tensor) -> BernoulliPixels:
        return BernoulliPixels(decoded, validate_args=False)


class Gaussian(nn.Module):
    """Real observations: the decoder returns the mean; one learned deviation per feature."""

    def __init__(self, features: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self, decoded: Tensor) -> DiagonalNormal:
        scale = self.log_scale.exp().expand_as(decoded)
        return DiagonalNormal(decoded, scale, validate_args=False)


LIKELIHOODS = {"bernoulli": Bernoulli, "gaussian": Gaussian}
