"""Final numbers over a whole split, in bounded memory."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from svae.data.splits import DataSet, Split
from svae.distributions.divergence import divergence, is_sampled
from svae.metrics.recovery import recovery
from svae.objectives import link_loss, link_scores, log_mean_exp, log_weights, ranking

_DRAWS = 16  # of each posterior, for a divergence without a closed form


@dataclass(frozen=True)
class Settings:
    """The keys of `evaluation`.

    Of vectors: importance samples per observation, and how many are decoded at once; of a graph:
    posterior samples that its ELBO is averaged over.
    """

    importance_samples: int = 500
    batch_size: int = 4096
    samples: int = 10


def evaluate(
    model,
    split: Split,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[[list], Iterable] = iter,
    prefix: str = "test",
    measure: Callable[..., dict[str, Tensor]] | None = None,
    weigh: Callable[..., tuple] = log_weights,
) -> dict[str, float]:
    """Return ELBO, reconstruction, KL and log-likelihood (nats per observation) of a split.

    Every observation is drawn once. The log-likelihood is the importance-weighted estimate
    log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda, Grosse and Salakhutdinov 2016, eq. 8), the
    reconstruction the mean over the same samples, the KL in closed form. Of bytes the likelihood is
    given in bits for each of them as well. `progress` wraps the list of pieces of work, to show how
    far it is. Memory holds `settings.batch_size` decoded samples. `measure` and `weigh` are other
    functions for models of another bound, with the arguments of `measured` and `log_weights`.
    """
    model.eval()
    size = max(1, settings.batch_size // settings.importance_samples)
    starts = list(range(0, len(split), size))
    parts = [
        (measure or measured)(
            model, split.observe(slice(start, start + size), generator), settings, generator
        )
        for start in progress(starts)
    ]
    columns = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    metrics = {name: values.mean().item() for name, values in columns.items()}
    metrics["acceptance_rate"] = 1 / metrics.pop("proposals")
    metrics["elbo"] = metrics["reconstruction"] - metrics["kl"]
    if split.has_levels:
        features = split.values.shape[-1]
        metrics["bits_per_dimension"] = -metrics["log_likelihood"] / (features * math.log(2))
    if split.positions is not None:
        metrics |= recovery(model, split.values, split.positions, generator)
    if split.directions is not None:
        density = log_density_on_spheres(model, split, settings, generator, weigh)
        metrics |= {} if density is None else {"log_density": density}
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def measured(model, observations: Tensor, settings: Settings, generator) -> dict[str, Tensor]:
    """Return one value per observation (N,) for every metric, in bounded memory."""
    total = settings.importance_samples
    weights, likelihoods, proposals = [], [], []
    for start in range(0, total, settings.batch_size):
        samples = min(settings.batch_size, total - start)
        weight, log_likelihood, draw = log_weights(model, observations, samples, generator)
        weights.append(weight.logsumexp(0))
        likelihoods.append(log_likelihood.sum(0))
        proposals.append(draw.proposals.float().sum(0))
    posterior = model.posterior(observations)
    return {
        "log_likelihood": torch.stack(weights).logsumexp(0) - torch.tensor(float(total)).log(),
        "reconstruction": torch.stack(likelihoods).sum(0) / total,
        "kl": _kl(posterior, model.prior(), draw.value),
        "proposals": torch.stack(proposals).sum(0) / total,
        **model.latent.summary(posterior),
    }


@torch.no_grad()
def log_density_on_spheres(
    model, split: Split, settings: Settings, generator, weigh: Callable[..., tuple] = log_weights
) -> float | None:
    """Return the mean log density, in nats, of observations that are made of unit vectors.

    None where a likelihood of a person's own has none.

    An importance-weighted estimate like the log-likelihood, which a likelihood on R^D states per
    volume and one on the sphere per area: this is per area for both, and a fair comparison.
    """
    samples = settings.importance_samples
    size = max(1, settings.batch_size // samples)
    parts = []
    for batch in split.batches(size, generator):
        weight, log_likelihood, draw = weigh(model, batch, samples, generator)
        likelihood = model.likelihood(draw.value)
        if not hasattr(likelihood, "log_density_on_spheres"):
            return None
        on_spheres = likelihood.log_density_on_spheres(batch, split.directions)
        parts.append(log_mean_exp(weight - log_likelihood + on_spheres))
    return torch.cat(parts).double().mean().item()


@torch.no_grad()
def evaluate_links(
    model,
    data: DataSet,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[[list], Iterable] = iter,
) -> dict[str, float]:
    """Return ELBO, loss (see `LinkLoss`), AUC and average precision of validation and test.

    The pairs are scored once, by posterior means; ELBO and loss are averages over
    `settings.samples` draws. All of them are under messages along training edges only (Kipf and
    Welling 2016). AUC and average precision of the test set are also given `_validation_messages`:
    with messages along the edges of validation, too, as other authors have it.
    """
    model.eval()
    columns = {}
    for name, _ in progress([(n, k) for n in ("val", "test") for k in range(settings.samples)]):
        split = data.validation if name == "val" else data.test
        (graph,) = split.batches(generator=generator)
        for key, values in link_loss(model, graph, generator=generator).columns.items():
            columns.setdefault(f"{name}/{key}", []).append(values.double().mean())
    metrics = {name: torch.stack(values).mean().item() for name, values in columns.items()}
    for name in ("val", "test"):
        metrics[f"{name}/acceptance_rate"] = 1 / metrics.pop(f"{name}/proposals")
    informed = data.test.with_messages(data.validation.edges)
    for name, value in ranking(model, model.posterior(informed), informed).items():
        metrics[f"test/{name}_validation_messages"] = value.item()
    return metrics


@torch.no_grad()
def scores(model, graph) -> dict[str, Tensor]:
    """Return the held-out pairs' `scores` (P,) and `is_edge` (P,)."""
    model.eval()
    values, is_edge = link_scores(model, model.posterior(graph), graph)
    return {"scores": values, "is_edge": is_edge}


@torch.no_grad()
def latents(
    model, split: Split, generator: torch.Generator, kl_of: Callable[..., Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the parameters of the posterior of every observation, and the labels.

    `loc` (N, m) is the posterior mean (on the sphere: its direction), with it `concentration` (N,)
    or `scale` (N, d), and `log_scales` (N, m) of a scaled law, of a posterior of one's own as far
    as it has them; `kl` (N,) is the divergence from the prior in nats; `labels` (N,) and the true
    `positions` where the split has them. `kl_of`(model, posterior, generator) gives another
    divergence than that from the prior.
    """
    model.eval()
    posteriors = [model.posterior(batch) for batch in split.batches(1000, generator)]
    every = ("loc", "concentration", "scale", "log_scales")
    names = [name for name in every if hasattr(posteriors[0], name)]
    arrays = {name: torch.cat([getattr(q, name) for q in posteriors]) for name in names}
    arrays["kl"] = torch.cat([(kl_of or _kl_of)(model, q, generator) for q in posteriors])
    return arrays | split.known


def _kl(posterior, prior, value: Tensor | None) -> Tensor:
    """Return the divergence (batch,), by the samples `value` where it has no closed form."""
    found = divergence(posterior, prior, value)
    return found.mean(0) if is_sampled(posterior) else found


def _kl_of(model, posterior, generator: torch.Generator) -> Tensor:
    """Return the divergence (batch,), by new samples where it has no closed form."""
    value = posterior.draw((_DRAWS,), generator).value if is_sampled(posterior) else None
    return _kl(posterior, model.prior(), value)


def usage(kl: float, loc: Tensor | None, *, has_axes: bool) -> dict[str, float | str]:
    """Return `collapse`, how the latent space fails to be used, and how many axes are active.

    `kl` is the mean KL in nats and `loc` (N, m) the posterior means of a split, None where a
    posterior has none. The KL bounds what
    a latent vector tells about its observation (Hoffman and Johnson 2016): below log 2, one bit,
    `collapse` is "posterior". Where the latent space has axes, as the Gaussian's, those along which
    the means vary by more than 0.01 are active (Burda, Grosse and Salakhutdinov 2016); when fewer
    than half are, `collapse` is "dimensions". Else it is "none". One mean does not vary.
    """
    metrics = {"collapse": "posterior" if kl < math.log(2) else "none"}
    if not has_axes or loc is None or len(loc) < 2:
        return metrics
    active = int((loc.double().var(0) > 0.01).sum())
    if metrics["collapse"] == "none" and active < loc.shape[-1] / 2:
        metrics["collapse"] = "dimensions"
    return {**metrics, "test/active_dimensions": active}
