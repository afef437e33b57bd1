"""What is optimised and what is reported: pure functions of a model and a batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

BASELINES = ("none", "mean", "leave_one_out")


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound of each observation of a batch, in nats, and what it is made of.

    `reconstruction` E_q[log p(x|z)] and `kl` KL(q || p) are (batch,), `proposals` (samples, batch)
    counts what the sampler tried for each sample, `surrogate` (batch,) is zero in value and
    carries the score term of estimators that need one, `summary` describes the posteriors.
    """

    reconstruction: Tensor
    kl: Tensor
    proposals: Tensor
    surrogate: Tensor
    summary: dict[str, Tensor]

    @property
    def value(self) -> Tensor:
        return self.reconstruction - self.kl

    def detach(self) -> "Elbo":
        """Return the same without the graph, so that an epoch's terms can be kept."""
        summary = {name: value.detach() for name, value in self.summary.items()}
        values = (self.reconstruction, self.kl, self.proposals, self.surrogate)
        return Elbo(*(value.detach() for value in values), summary)

    def loss(self, kl_weight: float = 1.0) -> Tensor:
        """Return what to minimise: the batch mean of -(reconstruction - kl_weight * KL)."""
        return -(self.reconstruction + self.surrogate - kl_weight * self.kl).mean()


def elbo(
    model,
    observations: Tensor,
    samples: int = 1,
    baseline: str = "none",
    generator: torch.Generator | None = None,
) -> Elbo:
    """Estimate the ELBO of `observations` (batch, D) with `samples` posterior samples each.

    The KL is in closed form. Where the sampler's gradient needs the value of the objective, the
    surrogate is stop_gradient(f - baseline) * log_weight, f = log p(x|z) (Naesseth et al. 2017,
    eq. 8; Mnih and Gregor 2014, section 2.3).
    """
    posterior = model.posterior(observations)
    draw = posterior.draw((samples,), generator)
    log_likelihood = model.likelihood(draw.value).log_prob(observations)
    surrogate = log_likelihood.new_zeros(log_likelihood.shape[1:])
    if draw.log_weight.requires_grad:
        centred = log_likelihood.detach() - _baseline(log_likelihood.detach(), baseline)
        surrogate = (centred * draw.log_weight).mean(0)
    return Elbo(
        reconstruction=log_likelihood.mean(0),
        kl=kl_divergence(posterior, model.prior()),
        proposals=draw.proposals,
        surrogate=surrogate,
        summary=model.latent.summary(posterior),
    )


def _baseline(values: Tensor, name: str) -> Tensor:
    """Return a baseline for `values` (samples, batch) that does not depend on the own sample.

    `mean`: the mean over the other observations of the batch; `leave_one_out`: over the other
    samples of the same observation (Mnih and Rezende 2016, eq. 8). Both leave the gradient
    unbiased.
    """
    if name == "none":
        return torch.zeros_like(values)
    dim = 1 if name == "mean" else 0
    others = values.shape[dim] - 1
    if others < 1:
        return torch.zeros_like(values)
    return (values.sum(dim, keepdim=True) - values) / others


def log_weights(
    model, observations: Tensor, samples: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, object]:
    """Return importance weights log p(x, z) - log q(z | x), log p(x | z), and the draw.

    Both are (samples, batch). Without gradient: they serve evaluation.
    """
    with torch.no_grad():
        posterior = model.posterior(observations)
        draw = posterior.draw((samples,), generator)
        log_likelihood = model.likelihood(draw.value).log_prob(observations)
        log_ratio = model.prior().log_prob(draw.value) - posterior.log_prob(draw.value)
    return log_likelihood + log_ratio, log_likelihood, draw


def log_mean_exp(values: Tensor, dim: int = 0) -> Tensor:
    """Return log(mean(exp(values))): the log-likelihood from importance weights.

    Burda, Grosse and Salakhutdinov 2016, eq. 8.
    """
    return values.logsumexp(dim) - math.log(values.shape[dim])
