"""Likelihoods p(x | z): distributions over observations, made from what a decoder returns.

A family says how many numbers the decoder returns (`width`) for observations of `features` numbers.
A data set chooses one by its name in `LIKELIHOODS`, or gives a class of its own.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from svae.autograd import Function, save
from svae.distributions import DiagonalNormal, Draw, VonMisesFisher
from svae.distributions.draw import as_size
from svae.distributions.sphere import refuse_untensored
from svae.distributions.validation import checks, refuse_listed
from svae.models.discretised import DiscretisedLogistic
from svae.models.latent import direction
from svae.noise import Source

_MANY = 2**17


class BernoulliPixels(Distribution):
    """Independent Bernoulli pixels, by their logits (..., D); event shape (D,).

    log p(x) = sum_i x_i l_i - softplus(l_i)
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, validate_args: bool | None = None):
        refuse_untensored("logits", logits)
        self.logits = logits
        validate_args = checks(validate_args, logits)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(as_size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        refuse_listed(value)
        return _PixelsLogProb.apply(self.logits, value)


class _PixelsLogProb(Function):
    """sum_i x_i l_i - softplus(l_i) from l and x, of gradients x - sigmoid(l) and l."""

    @staticmethod
    def forward(logits, value):
        return torch.linalg.vecdot(value, logits) - _sum_of_softplus(logits)

    @staticmethod
    def setup_context(ctx, inputs, output):
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx, grad):
        logits, value = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        in_value = (grad * logits).sum_to_size(value.shape) if ctx.needs_input_grad[1] else None
        in_logits = grad * (value - logits.sigmoid())
        return in_logits.sum_to_size(logits.shape), in_value

    @staticmethod
    def forward_mode(ctx, logits_tangent, value_tangent):
        logits, value = ctx.saved_tensors
        in_logits = (logits_tangent * (value - logits.sigmoid())).sum(-1)
        return in_logits if value_tangent is None else in_logits + (value_tangent * logits).sum(-1)


def _sum_of_softplus(logits: Tensor) -> Tensor:
    """Return sum_i log(1 + exp(l_i)) over the last axis.

    Many are found as sum_i max(l_i, 0) - log prod_i sigmoid(|l_i|): on a CPU a sigmoid takes a
    third of the time of a softplus, and a logarithm is taken of up to 64 factors at once, each at
    least 1/2, which is less than 16 bits can hold. On a GPU, and for few, one operation costs less
    than ten.
    """
    if logits.is_cuda or logits.numel() < _MANY or logits.itemsize < 4:
        return F.softplus(logits).sum(-1)
    factors = logits.abs().sigmoid_()
    for _ in range(6):
        half, odd = divmod(factors.shape[-1], 2)
        if odd:
            break
        factors = factors[..., :half] * factors[..., half:]
    return logits.clamp_min(0).sum(-1) - factors.log_().sum(-1)


class Bernoulli(nn.Module):
    """Binary observations: the decoder returns logits."""

    def __init__(self, features: int):
        super().__init__()
        self.width = features

    def forward(self, decoded: Tensor) -> BernoulliPixels:
        return BernoulliPixels(decoded, validate_args=False)


class RealVectors(DiagonalNormal):
    """Independent normal numbers, which may be seen as directions too."""

    def log_density_on_spheres(self, value: Tensor, p: int) -> Tensor:
        """Return the log density (...) of the directions of D / p vectors, in the spheres' areas.

        Of each block y of p numbers only y / |y| is looked at, a projected normal variable (Mardia
        and Jupp 2000, section 3.5.6): with x = y / |y|, a = x'S^-1 x, D = x'S^-1 mu / sqrt(a),

            p(x) = N(mu; 0, S) a^(-p/2) exp(D^2/2) int_0^inf s^(p-1) exp(-(s - D)^2/2) ds.
        """
        blocks = (value.shape[-1] // p, p)
        x, mu, sigma = (v.double().unflatten(-1, blocks) for v in (value, self.loc, self.scale))
        a = (x / sigma).square().sum(-1)
        D = (x * mu / sigma.square()).sum(-1) / a.sqrt()
        residual = ((mu / sigma).square().sum(-1) - D * D) / 2
        log_scale = sigma.log().sum(-1) + p / 2 * (a.log() + math.log(2 * math.pi))
        return (_log_moment(p, D) - residual - log_scale).sum(-1).to(value.dtype)


def _log_moment(p: int, D: Tensor) -> Tensor:
    """Return log int_0^inf s^(p-1) exp(-(s - D)^2 / 2) ds, to 1e-10, by Gauss and Legendre."""
    mode = (D + torch.sqrt(D * D + 4 * (p - 1))) / 2
    # far below 0 what is left is s^(p-1) e^(Ds), a gamma law
    width = ((40 + 9 * math.sqrt(p - 1)) / (mode - D)).clamp(max=9)
    low = (mode - width).clamp(min=0)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    nodes, weights = (torch.from_numpy(v).to(D) for v in ((nodes + 1) / 2, weights / 2))
    s = low.unsqueeze(-1) + (mode + width - low).unsqueeze(-1) * nodes
    log_terms = (p - 1) * s.log() - (s - D.unsqueeze(-1)).square() / 2 + weights.log()
    return log_terms.logsumexp(-1) + (mode + width - low).log()


class Gaussian(nn.Module):
    """Real observations: the decoder returns the mean; one learned deviation per feature."""

    def __init__(self, features: int):
        super().__init__()
        self.width = features
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self, decoded: Tensor) -> RealVectors:
        scale = self.log_scale.exp().expand_as(decoded)
        return RealVectors(decoded, scale, validate_args=False)


class HeteroscedasticGaussian(nn.Module):
    """Real observations: the decoder returns mean and deviation of every feature."""

    def __init__(self, features: int):
        super().__init__()
        self.width = 2 * features

    def forward(self, decoded: Tensor) -> RealVectors:
        loc, scale = decoded.chunk(2, -1)
        return RealVectors(loc, F.softplus(scale), validate_args=False)


class UnitVectors(Distribution):
    """K independent von Mises-Fisher vectors on S^{p-1}, one after another; event shape (K p,).

    `natural` (..., K, p) is kappa mu of each, the natural parameter of the family.
    """

    arg_constraints = {}

    def __init__(self, natural: Tensor):
        concentration = torch.linalg.vector_norm(natural, dim=-1)
        self.laws = VonMisesFisher(direction(natural), concentration, validate_args=False)
        event = (natural.shape[-2] * natural.shape[-1],)
        super().__init__(natural.shape[:-2], event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.laws.mean.flatten(-2)

    def draw(self, shape=(), generator: Source = None) -> Draw:
        """Return samples; all random numbers come from `generator`."""
        value, log_weight, proposals = self.laws.draw(shape, generator)
        return Draw(value.flatten(-2), log_weight.sum(-1), proposals.sum(-1))

    def sample(self, shape=()) -> Tensor:
        with torch.no_grad():
            return self.draw(shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        refuse_listed(value)
        return self.laws.log_prob(value.unflatten(-1, self.laws.loc.shape[-2:])).sum(-1)

    def log_density_on_spheres(self, value: Tensor, p: int) -> Tensor:
        """Return log_prob: it is in the spheres' areas."""
        return self.log_prob(value)


class VonMisesFisherVectors(nn.Module):
    """Observations made of unit vectors of p numbers: the decoder returns kappa mu of each."""

    def __init__(self, features: int, p: int):
        super().__init__()
        self.width, self.p = features, p

    def forward(self, decoded: Tensor) -> UnitVectors:
        return UnitVectors(decoded.unflatten(-1, (-1, self.p)))


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "discretised_logistic": DiscretisedLogistic,
    "heteroscedastic": HeteroscedasticGaussian,
    "vmf": lambda features: VonMisesFisherVectors(features, features),  # a row is one unit vector
    "von_mises": lambda features: VonMisesFisherVectors(features, 2),  # a row is points of circles
}


def likelihood_family(likelihood: str | type[nn.Module], features: int) -> nn.Module:
    """Return the likelihood of a data set, one of `LIKELIHOODS` or a class, for D = `features`."""
    make = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    return make(features)
