"""Bounds on the log-likelihood of observations, and the loss of link prediction."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from svae.distributions.divergence import divergence, is_sampled
from svae.metrics.ranking import auc, average_precision

_CACHED = 2**20  # numbers, 4 MiB


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound of each observation of a batch, in nats, and what it is made of.

    `reconstruction` E_q[log p(x|z)] and `kl` KL(q || p) are (batch,), `proposals` (samples, batch)
    counts what the sampler tried for each sample, `surrogate` (batch,) is zero in value and
    carries the score term of estimators that need one, else None, `summary` describes the
    posteriors, `concentration` (batch,) is that of posteriors that have one, else None. Of a stack
    of R models (see `svae.models.stack`) every batch is (R, batch).
    """

    reconstruction: Tensor
    kl: Tensor
    proposals: Tensor
    surrogate: Tensor | None
    summary: dict[str, Tensor]
    concentration: Tensor | None

    @property
    def value(self) -> Tensor:
        return self.reconstruction - self.kl

    @property
    def columns(self) -> dict[str, Tensor]:
        """What an epoch averages over its observations, by name."""
        return {
            "elbo": self.value,
            "reconstruction": self.reconstruction,
            "kl": self.kl,
            "proposals": self.proposals.movedim(0, -1).flatten(-2),
            **self.summary,
        }

    def detach(self) -> "Elbo":
        """Return the same without the graph, so that an epoch's terms can be kept."""
        return self.map(Tensor.detach)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Elbo":
        """Return the same with `function` of every tensor but the surrogate, which is dropped."""
        values = vars(self) | {"surrogate": None}  # zero
        summary = {name: function(value) for name, value in values.pop("summary").items()}
        tensors = {k: None if value is None else function(value) for k, value in values.items()}
        return type(self)(**tensors, summary=summary)

    def loss(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """Return what to minimise: the batch mean of -(reconstruction - kl_weight * KL)."""
        return -_with(self.surrogate, self.reconstruction - kl_weight * self.kl).mean(-1)


def elbo(
    model,
    observations: Tensor,
    samples: int = 1,
    baseline: str = "none",
    generator: torch.Generator | None = None,
) -> Elbo:
    """Estimate the ELBO of `observations` (batch, D) with `samples` posterior samples each.

    The KL is in closed form, or that of the same samples, see `divergence`. Where the sampler's
    gradient needs the value of the objective, the surrogate is stop_gradient(f - baseline) *
    log_weight, f = log p(x|z) (Naesseth et al. 2017, eq. 8; Mnih and Gregor 2014, section 2.3); a
    KL by samples has such a term of its own, so that any weight of it is right.
    """
    posterior = model.posterior(observations)
    draw = posterior.draw((samples,), generator)
    log_likelihood = model.likelihood(draw.value).log_prob(observations)
    return Elbo(
        # a mean over one sample would cost a training step five operations
        reconstruction=log_likelihood.mean(0) if samples > 1 else log_likelihood.squeeze(0),
        kl=_kl(model, posterior, draw, baseline),
        proposals=draw.proposals,
        surrogate=_surrogate(log_likelihood, draw.log_weight, baseline),
        summary=model.latent.summary(posterior),
        concentration=getattr(posterior, "concentration", None),
    )


@dataclass(frozen=True)
class ImportanceBound(Elbo):
    """The importance-weighted bound of each observation of a batch, beside its ELBO, in nats.

    `log_likelihood` log p(x|z_k) and `log_ratio` log p(z_k) - log q(z_k|x) are (samples, batch).
    """

    log_likelihood: Tensor
    log_ratio: Tensor

    @property
    def columns(self) -> dict[str, Tensor]:
        return {**super().columns, "iwae": log_mean_exp(self.log_likelihood + self.log_ratio)}

    def loss(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """Return the batch mean of -log 1/K sum_k p(x|z_k) (p(z_k) / q(z_k|x))^kl_weight."""
        return -log_mean_exp(self.log_likelihood + kl_weight * self.log_ratio).mean(-1)


def iwae(
    model,
    observations: Tensor,
    samples: int = 1,
    baseline: str = "none",
    generator: torch.Generator | None = None,
) -> ImportanceBound:
    """Estimate the importance-weighted bound of `observations` (batch, D) with K = `samples`.

    E log 1/K sum_k p(x, z_k) / q(z_k|x) lies between the ELBO, which it is for K = 1, and the
    log-likelihood, to which it rises with K (Burda, Grosse and Salakhutdinov 2016, theorem 1). Its
    gradient is that of the samples and of the density of q.

    Raises:
        ValueError: where the samples leave a part of their gradient to a score term (`score`,
            `corrected`); those of `pathwise` are taken, with the bias that they have.
    """
    posterior = model.posterior(observations)
    draw = posterior.draw((samples,), generator)
    if draw.log_weight.requires_grad:
        raise ValueError("iwae: needs samples that carry their gradient, without a score term")
    log_likelihood = model.likelihood(draw.value).log_prob(observations)
    return ImportanceBound(
        reconstruction=log_likelihood.mean(0),
        kl=_kl(model, posterior, draw, "none"),
        proposals=draw.proposals,
        surrogate=None,
        summary=model.latent.summary(posterior),
        concentration=getattr(posterior, "concentration", None),
        log_likelihood=log_likelihood,
        log_ratio=model.prior().log_prob(draw.value) - posterior.log_prob(draw.value),
    )


@dataclass(frozen=True)
class LinkLoss(Elbo):
    """Kipf and Welling's loss of link prediction, beside the ELBO of the graph it is about.

    All in nats per node: `reconstruction` log p(A|z) / N and `balanced`, the same with edges
    weighted like non-edges, are (1,), `kl` is (N,). The loss is no bound on anything: that of the
    variational graph auto-encoder, (-balanced + KL) / N.
    """

    balanced: Tensor

    @property
    def columns(self) -> dict[str, Tensor]:
        return {**super().columns, "loss": self.loss()[None]}

    def loss(self, kl_weight: float = 1.0) -> Tensor:
        """Return -(balanced - kl_weight * KL) / N, a number per pair of nodes."""
        bound = _with(self.surrogate, self.balanced - kl_weight * self.kl.mean())
        return -bound.mean() / len(self.kl)


def link_loss(
    model,
    graph,
    samples: int = 1,
    baseline: str = "none",
    generator: torch.Generator | None = None,
) -> LinkLoss:
    """Estimate loss and ELBO of a graph with `samples` draws of all its latent vectors.

    The graph is one observation: where the sampler's gradient needs the value of the objective,
    that is the balanced log-likelihood of the whole graph. The summary holds how well the held-out
    pairs are ranked, where the graph has some.
    """
    posterior = model.posterior(graph)
    draw = posterior.draw((samples,), generator)
    sums = model.likelihood(draw.value).sums(graph)
    balanced = sums.balanced[:, None] / len(graph)
    log_weight = draw.log_weight.sum(-1, keepdim=True)
    return LinkLoss(
        reconstruction=sums.log_prob.mean(0, keepdim=True) / len(graph),
        kl=_kl(model, posterior, draw, baseline),
        proposals=draw.proposals,
        surrogate=_surrogate(balanced, log_weight, baseline),
        summary=model.latent.summary(posterior) | ranking(model, posterior, graph),
        concentration=getattr(posterior, "concentration", None),
        balanced=balanced.mean(0),
    )


def _kl(model, posterior: Distribution, draw, baseline: str) -> Tensor:
    """Return the divergence, if by samples with the score term of its own gradient."""
    values = divergence(posterior, model.prior(), draw.value)
    if not is_sampled(posterior):
        return values
    return _with(_surrogate(values, draw.log_weight, baseline), values.mean(0))


def link_scores(model, posterior: Distribution, graph) -> tuple[Tensor, Tensor]:
    """Return the logits (P,) of the held-out pairs at the posterior means, and which are edges.

    A posterior whose mean has no closed form is ranked by its `loc`.
    """
    try:
        mean = posterior.mean
    except NotImplementedError:
        mean = posterior.loc
    scores = model.likelihood(mean[None]).logits(graph.pairs)[0]
    return scores, torch.arange(len(scores), device=scores.device) < len(scores) // 2


@torch.no_grad()
def ranking(model, posterior: Distribution, graph) -> dict[str, Tensor]:
    """Return AUC and average precision (1,) of the held-out pairs of a graph, if it has some."""
    if graph.pairs is None:
        return {}
    scores, is_edge = link_scores(model, posterior, graph)
    precision = average_precision(scores, is_edge)
    return {"auc": auc(scores, is_edge)[None], "average_precision": precision[None]}


def _with(surrogate: Tensor | None, bound: Tensor) -> Tensor:
    return bound if surrogate is None else bound + surrogate


def _surrogate(values: Tensor, log_weight: Tensor, baseline: str) -> Tensor | None:
    """Return stop_gradient(f - baseline) * log_weight, averaged over samples: (batch,)."""
    if not log_weight.requires_grad:
        return None
    centred = values.detach() - _baseline(values.detach(), baseline)
    return (centred * log_weight).mean(0)


def _baseline(values: Tensor, name: str) -> Tensor:
    """Return a baseline for `values` (samples, batch) that does not depend on the own sample.

    `mean`: the mean over the other observations of the batch; `leave_one_out`: over the other
    samples of the same observation (Mnih and Rezende 2016, eq. 8). Both leave the gradient
    unbiased.
    """
    if name == "none":
        return torch.zeros_like(values)
    dim = -1 if name == "mean" else 0
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
        pieces = draw.value.split(_decoded_at_once(observations, samples))
        log_likelihood = torch.cat([model.likelihood(z).log_prob(observations) for z in pieces])
        log_ratio = model.prior().log_prob(draw.value) - posterior.log_prob(draw.value)
    return log_likelihood + log_ratio, log_likelihood, draw


def _decoded_at_once(observations: Tensor, samples: int) -> int:
    """Return how many samples of each observation to decode at once.

    On a CPU so many as stay in its cache: larger results cost up to as much as the matrix products,
    since new memory is asked of the system for every one.
    """
    if observations.device.type != "cpu":
        return samples
    return max(1, _CACHED // max(1, observations.numel()))


def log_mean_exp(values: Tensor, dim: int = 0) -> Tensor:
    """Return log(mean(exp(values))): the log-likelihood from importance weights.

    Burda, Grosse and Salakhutdinov 2016, eq. 8.
    """
    return values.logsumexp(dim) - math.log(values.shape[dim])
