"""Laws of the 256 levels that a byte of an image has."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

from svae.distributions.draw import as_size
from svae.distributions.validation import checks

HIGHEST = 255
_FAR = 1e20  # levels: beyond any tail, and small enough to be divided by a scale
_NARROWEST, _START = 0.05, 32.0  # scales in levels: .05 gives the level in the middle 1 - 1e-4


class LogisticLevels(Distribution):
    """Independent levels k / 255, k = 0 to 255: logistic variables, rounded; event shape (D,).

    P(k) = F((k + 1/2 - mu) / s) - F((k - 1/2 - mu) / s) with F(x) = 1 / (1 + exp(-x)); what lies
    beyond the lowest and the highest level is theirs (Salimans et al. 2017, "PixelCNN++", eq. 2).
    With a and b for the two arguments and d = 1/s it is found without a difference,

        log P(k) = log F(b) + log F(-a) + log(1 - exp(-d)),

    of which the lowest level has only the first term, the highest only the second: so to full
    precision in the farthest tail and for the narrowest law.

    Args:
        loc: mu, (..., D), in levels: 0 to 255, and beyond.
        scale: s > 0, (..., D), in levels.
    """

    arg_constraints = {
        "loc": constraints.independent(constraints.real, 1),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.independent(constraints.interval(0, 1), 1)

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        validate_args = checks(validate_args, loc)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean of the levels, in [0, 1]: sum_k P(level > k) / 255."""
        total = torch.zeros_like(self.loc)
        for k in range(HIGHEST):
            total += torch.sigmoid((self.loc - (k + 0.5)) / self.scale)
        return total / HIGHEST

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(as_size(sample_shape))
            noise = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).logit()
            return (self.loc + self.scale * noise).round().clamp(0, HIGHEST) / HIGHEST

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P (...) of levels k / 255 (..., D); they have no gradient."""
        return _LevelsLogProb.apply(self.loc, self.scale, value)


class _LevelsLogProb(Function):
    """The sum of log P over the last axis.

    d/dmu = (F(a) - F(-b)) / s and d/ds = (a F(a) - b F(-b) - d / (exp(d) - 1)) / s.
    """

    @staticmethod
    def forward(ctx, loc, scale, value):
        ctx.save_for_backward(loc, scale, value)
        a, b, d = _arguments(loc, scale, value)
        # F(x) = exp(min(x, 0)) F(|x|), so that one logarithm is enough, of what is not small
        factors = a.abs().sigmoid_() * b.abs().sigmoid_() * -torch.expm1(-d)
        return (b.clamp(max=0) - a.clamp(min=0) + factors.log_()).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        loc, scale, value = ctx.saved_tensors
        a, b, d = _arguments(loc, scale, value)
        above, below = torch.sigmoid(-b), torch.sigmoid(a)
        slope = grad.unsqueeze(-1) / scale
        in_loc = slope * (below - above)
        in_scale = slope * (a * below - b * above - d / torch.expm1(d))
        return in_loc.sum_to_size(loc.shape), in_scale.sum_to_size(scale.shape), None


def _arguments(loc: Tensor, scale: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a, b and d = b - a, of which those of the outermost levels are as good as infinite."""
    k = (value * HIGHEST).round()
    low = torch.where(k == 0, -_FAR, k - 0.5)
    high = torch.where(k == HIGHEST, _FAR, k + 0.5)
    return (low - loc) / scale, (high - loc) / scale, (high - low) / scale


class DiscretisedLogistic(nn.Module):
    """Bytes of images: the decoder returns mean and scale of every number.

    mu = 127.5 (1 + x) and s = .05 + 32 softplus(y) / log 2, in levels, from (x, y).
    """

    def __init__(self, features: int):
        super().__init__()
        self.width = 2 * features

    def forward(self, decoded: Tensor) -> LogisticLevels:
        loc, scale = decoded.chunk(2, -1)
        widths = _NARROWEST + _START / math.log(2) * F.softplus(scale)
        return LogisticLevels(HIGHEST / 2 * (1 + loc), widths, validate_args=False)
