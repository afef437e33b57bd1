"""Final numbers over a whole split, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from svae.data.splits import Split
from svae.objectives import log_weights


@dataclass(frozen=True)
class Settings:
    """The keys of `evaluation`: samples per observation, and how many are decoded at once."""

    importance_samples: int = 500
    batch_size: int = 4096


def evaluate(
    model,
    split: Split,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[[list], Iterable] = iter,
    prefix: str = "test",
) -> dict[str, float]:
    """Return ELBO, reconstruction, KL and log-likelihood (nats per observation) of a split.

    Every observation is drawn once. The log-likelihood is the importance-weighted estimate
    log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda, Grosse and Salakhutdinov 2016, eq. 8), the
    reconstruction the mean over the same samples, the KL in closed form. `progress` wraps the list
    of pieces of work, to show how far it is. Memory holds `settings.batch_size` decoded samples.
    """
    model.eval()
    size = max(1, settings.batch_size // settings.importance_samples)
    starts = list(range(0, len(split), size))
    parts = [
        _measure(model, split.observe(slice(start, start + size), generator), settings, generator)
        for start in progress(starts)
    ]
    columns = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    metrics = {name: values.mean().item() for name, values in columns.items()}
    metrics["acceptance_rate"] = 1 / metrics.pop("proposals")
    metrics["elbo"] = metrics["reconstruction"] - metrics["kl"]
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def _measure(model, observations: Tensor, settings: Settings, generator) -> dict[str, Tensor]:
    """Return one value per observation for every metric."""
    total = settings.importance_samples
    weights, likelihoods, proposals = [], [], []
    for samples in _pieces(total, settings.batch_size):
        weight, log_likelihood, draw = log_weights(model, observations, samples, generator)
        weights.append(weight.logsumexp(0))
        likelihoods.append(log_likelihood.sum(0))
        proposals.append(draw.proposals.float().sum(0))
    posterior = model.posterior(observations)
    return {
        "log_likelihood": torch.stack(weights).logsumexp(0) - torch.tensor(float(total)).log(),
        "reconstruction": torch.stack(likelihoods).sum(0) / total,
        "kl": torch.distributions.kl_divergence(posterior, model.prior()),
        "proposals": torch.stack(proposals).sum(0) / total,
        **model.latent.summary(posterior),
    }


def _pieces(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


@torch.no_grad()
def latents(model, split: Split, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the parameters of the posterior of every observation, and the labels, on the CPU.

    `loc` (N, m) is the posterior mean (on the sphere: its direction), with it `concentration` (N,)
    or `scale` (N, d); `labels` (N,) where the split has them.
    """
    model.eval()
    posteriors = [model.posterior(batch) for batch in split.batches(1000, generator)]
    names = [name for name in ("loc", "concentration", "scale") if hasattr(posteriors[0], name)]
    arrays = {name: torch.cat([getattr(q, name) for q in posteriors]).cpu() for name in names}
    if split.labels is not None:
        arrays["labels"] = split.labels.cpu()
    return arrays
