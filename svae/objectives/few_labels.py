"""The objective of the stacked model M1+M2: observations with a label, and without.

With q(z1|x), q(y|z1) and, for each class y, q(z2|z1,y), bounds on log p(x) and log p(x,y) are

    U(x)    = E[log p(x|z1) - sum_y q(y|z1) (R(z1,y) + log q(y|z1) + log K)] + H(q(z1|x)),
    L(x,y)  = E[log p(x|z1) - R(z1,y) - log K] + H(q(z1|x)),
    R(z1,y) = KL(q(z2|z1,y) || p(z2)) - E[log p(z1|z2,y)],

E over z1 and z2 by samples, all else in closed form, all K classes summed over. What is maximised
is, of N observations with N_l labels among them,

    1/N [sum_without U(x) + sum_with L(x,y)] + alpha/N_l sum_with E[log q(y|z1)],

which is eq. 9 of Kingma, Rezende, Mohamed and Welling 2014, divided by N: their alpha, .1 N, is N
times this one. Each step estimates it without bias: each of the two sums by the mean over those of
its batch.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from svae.data.labels import Batch
from svae.data.splits import MISSING
from svae.distributions.divergence import divergence, is_sampled
from svae.distributions.draw import Draw
from svae.noise import Source
from svae.objectives.bounds import Elbo, log_mean_exp

# a class less likely alters the bound by less than it is rounded to in float32
_LEAST = 1e-7
_DRAWS = 16  # of each posterior, for the divergence of its latent vectors


@dataclass(frozen=True)
class LabelBound(Elbo):
    """The bound of each observation of a batch: U(x), of the last `given` ones L(x, y).

    In nats: `style_kl` (n,), the mean over the classes of KL(q(z2|z1,y) || p(z2)), and `class_kl`
    (n,), that of log q(y|z1) + log K, are parts of `kl`, the rest is about z1; `log_label` (given,)
    is E[log q(y|z1)] of the labels that are given. `right` is 1 where the class that is likeliest
    at the location of z1 is the label, else 0: of those that are given (given,), or if there are
    none of all (n,), divided by the share that have one, so that the mean is the accuracy; None
    without labels. `share` (), that of labels in the data, and `label_weight` (), alpha, are for
    the loss.
    """

    style_kl: Tensor
    class_kl: Tensor
    log_label: Tensor
    right: Tensor | None
    share: Tensor
    label_weight: Tensor

    @property
    def columns(self) -> dict[str, Tensor]:
        """What an epoch averages: bounds without a label, and how well labels are predicted."""
        own = {**super().columns, "style_kl": self.style_kl, "class_kl": self.class_kl}
        given = self.log_label.shape[-1]
        columns = {"proposals": own.pop("proposals")}  # of all observations
        columns |= {name: _parted(values, given)[0] for name, values in own.items()}
        if self.right is not None:
            columns["accuracy"] = self.right
        return columns | ({"log_label": self.log_label} if given else {})

    def loss(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """Return what to minimise; `kl_weight` is for all but log p(x|z1) and the classifier."""
        bound = self.reconstruction - kl_weight * self.kl
        without, with_label = _parted(bound, self.log_label.shape[-1])
        mean = torch.lerp(without.mean(-1), with_label.mean(-1), self.share)
        return -(mean + self.label_weight * self.log_label.mean(-1))


def _parted(values: Tensor, given: int) -> tuple[Tensor, Tensor]:
    """Return those of the observations whose label is not given, and of those whose label is."""
    return values.split((values.shape[-1] - given, given), -1)


class _OfClasses(NamedTuple):
    """Numbers (K, S, n) of latent vectors z1 (S, n, m), with one sample z2 for each class of each.

    `log_class` is log q(y|z1), `style_kl` KL(q(z2|z1,y) || p(z2)), `log_latent` log p(z1|z2,y), the
    latter two 0 where they are left out.
    """

    log_class: Tensor
    style_kl: Tensor
    log_latent: Tensor

    def means(self, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means (S, n) of style_kl, of log q(y|z1) + log K, and of log_latent.

        The classes are weighed by q(y|z1); the last ones have `labels` (K, 1, given), of which one
        is 1 and the others are 0: there log q(y|z1) is left out.
        """
        given = 0 if labels is None else labels.shape[-1]
        log_q, _ = _parted(self.log_class, given)
        q, S = log_q.exp(), log_q.shape[1]
        weights = q if labels is None else torch.cat([q, labels.expand(-1, S, -1)], -1)
        class_kl = F.pad((q * log_q).sum(0), (0, given)) + math.log(len(q))
        return (weights * self.style_kl).sum(0), class_kl, (weights * self.log_latent).sum(0)


def _log_classes(model, latent: Tensor) -> Tensor:
    """Return log q(y|z1) (K, S, n)."""
    return model.class_logits(latent).log_softmax(-1).movedim(-1, 0)


def _of_classes(model, latent: Tensor, labels: Tensor, generator: Source) -> _OfClasses:
    """Return the numbers of the classes that count, on average one or two of ten.

    Of the last observations, whose `labels` (K, 1, given) are given, that is the label; of others
    all classes but those that are so unlikely that they alter nothing.
    """
    log_class = _log_classes(model, latent)
    (K, S, n), given = log_class.shape, labels.shape[-1]
    unlikely = log_class[..., : n - given] <= math.log(_LEAST)  # of nan this is not true
    counts = torch.cat([~unlikely, labels.bool().expand(K, S, given)], -1)
    classes, *places = counts.nonzero(as_tuple=True)
    rows = latent.flatten(0, 1).index_select(0, places[0] * n + places[1])
    posteriors = model.style_posteriors(rows, classes)
    styles = posteriors.draw((), generator).value
    style_kl = divergence(posteriors, model.style_prior(), styles)
    log_latent = model.latent_given(styles, classes).log_prob(rows)
    none = torch.zeros_like(log_class)
    style_kl, log_latent = (
        none.index_put((classes, *places), values) for values in (style_kl, log_latent)
    )
    return _OfClasses(log_class, style_kl, log_latent)


def _entropy(posterior: Distribution, latent: Tensor) -> Tensor:
    return posterior.entropy(latent) if is_sampled(posterior) else posterior.entropy()


def label_bound(
    model, batch: Batch, samples: int = 1, baseline: str = "none", generator: Source = None
) -> LabelBound:
    """Estimate the bounds of `batch` with `samples` of z1, one of z2 for each class that counts.

    The samples have to carry their gradient: no score term is made, and `baseline` has no use.
    """
    x, known = batch.observations, batch.labels[len(batch.labels) - batch.given :]
    posterior = model.posterior(x)
    draw = posterior.draw((samples,), generator)
    labels = F.one_hot(known, model.classes).T.unsqueeze(1).to(x.dtype)
    found = _of_classes(model, draw.value, labels, generator)
    style_kl, class_kl, log_latent = found.means(labels)
    _, log_label = _parted(found.log_class, batch.given)
    return LabelBound(
        reconstruction=model.likelihood(draw.value).log_prob(x).mean(0),
        kl=(style_kl + class_kl - log_latent).mean(0) - _entropy(posterior, draw.value),
        proposals=draw.proposals,
        surrogate=None,
        summary=model.latent.summary(posterior),
        concentration=getattr(posterior, "concentration", None),
        style_kl=style_kl.mean(0),
        class_kl=class_kl.mean(0),
        log_label=(labels * log_label).sum(0).mean(0),
        right=_right(model, posterior, batch),
        share=x.new_full((), batch.share),
        label_weight=x.new_full((), model.label_weight),
    )


@torch.no_grad()
def _right(model, posterior: Distribution, batch: Batch) -> Tensor | None:
    if not batch.share:
        return None
    start = len(batch.labels) - batch.given if batch.given else 0
    found = model.class_logits(posterior.loc[start:]).argmax(-1)
    right = (found == batch.labels[start:]).to(posterior.loc.dtype)
    return right if batch.given else right / batch.share


@torch.no_grad()
def measure(model, observations: Tensor, settings, generator: Source) -> dict[str, Tensor]:
    """Return one value per observation for every metric, see `svae.evaluate.evaluate`.

    The log-likelihood is log 1/S sum_s p(x|z1) p(z1) / q(z1|x), with the unbiased estimate of p(z1)
    1/K sum_y p(z1|z2,y) p(z2) / q(z2|z1,y) by one z2 for each class: a lower bound that rises with
    S (Burda, Grosse and Salakhutdinov 2016, theorem 1).
    """
    total, posterior = settings.importance_samples, model.posterior(observations)
    starts = range(0, total, settings.batch_size)
    counts = [min(settings.batch_size, total - start) for start in starts]
    draws = (posterior.draw((count,), generator) for count in counts)
    parts = [_sampled(model, posterior, observations, draw, generator) for draw in draws]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    log_likelihood = log_mean_exp(columns.pop("log_weight"))
    means = {name: values.mean(0) for name, values in columns.items()}
    return {"log_likelihood": log_likelihood, **means, **model.latent.summary(posterior)}


@torch.no_grad()
def log_weights(
    model, observations: Tensor, samples: int, generator: Source = None
) -> tuple[Tensor, Tensor, Draw]:
    """Return importance weights, log p(x|z1), both (samples, n), and the draw of z1.

    As `svae.objectives.bounds.log_weights`, with p(z1) estimated by a style of each class.
    """
    posterior = model.posterior(observations)
    draw = posterior.draw((samples,), generator)
    found = _sampled(model, posterior, observations, draw, generator)
    return found["log_weight"], found["reconstruction"], draw


def _sampled(model, posterior: Distribution, x: Tensor, draw: Draw, generator) -> dict:
    """Return by names what is averaged over samples of z1, each (samples, n)."""
    prior = model.style_prior()
    posteriors = model.style_posteriors(draw.value)
    styles = posteriors.draw((), generator).value
    style_kl = divergence(posteriors, prior, styles)
    log_latent = model.latent_given(styles).log_prob(draw.value)
    found = _OfClasses(_log_classes(model, draw.value), style_kl, log_latent)
    log_ratio = log_latent + prior.log_prob(styles) - posteriors.log_prob(styles)
    log_likelihood = model.likelihood(draw.value).log_prob(x)
    style_kl, class_kl, log_latent = found.means()
    log_prior = log_mean_exp(log_ratio)
    return {
        "log_weight": log_likelihood + log_prior - posterior.log_prob(draw.value),
        "reconstruction": log_likelihood,
        "kl": style_kl + class_kl - log_latent - _entropy(posterior, draw.value),
        "style_kl": style_kl,
        "class_kl": class_kl,
        "proposals": draw.proposals.to(x.dtype),
    }


@torch.no_grad()
def latent_kl(model, posterior: Distribution, generator: Source) -> Tensor:
    """Return the divergence (n,) of q(z1,y,z2|x) from the prior, in nats, by a few samples."""
    value = posterior.draw((_DRAWS,), generator).value
    none = value.new_zeros(model.classes, 1, 0)
    style_kl, class_kl, log_latent = _of_classes(model, value, none, generator).means()
    return (style_kl + class_kl - log_latent).mean(0) - _entropy(posterior, value)


@torch.no_grad()
def predictions(model, loc: Tensor) -> tuple[Tensor, Tensor]:
    """Return of locations (N, m) of z1 the class probabilities (N, K) and the locations of styles.

    The latter (N, m2) are those of q(z2|z1,y) for the likeliest class.
    """
    parts = [_prediction(model, block) for block in loc.split(1000)]
    probabilities, styles = (torch.cat(values) for values in zip(*parts, strict=True))
    return probabilities, styles


def _prediction(model, loc: Tensor) -> tuple[Tensor, Tensor]:
    probabilities = model.class_logits(loc).softmax(-1)
    likeliest = probabilities.argmax(-1)[None, :, None]
    styles = model.style_posteriors(loc).loc
    return probabilities, styles.gather(0, likeliest.expand(1, *styles.shape[1:])).squeeze(0)


def usage(model, latents: dict[str, Tensor]) -> dict[str, float | str]:
    """Return the accuracy of what is `predicted`, and how many axes of the style are active.

    `latents` has `predicted` and `labels` (N,), the latter as far as there are labels, and the
    locations `style_loc` (N, m2) of z2; for active axes see `svae.evaluate.usage`.
    """
    found = {}
    if "labels" in latents and (known := latents["labels"] != MISSING).any():
        right = latents["predicted"][known] == latents["labels"][known]
        found["test/accuracy"] = right.double().mean().item()
    if model.style.manifold.has_axes and len(latents["style_loc"]) > 1:
        active = (latents["style_loc"].double().var(0) > 0.01).sum()
        found["test/style_active_dimensions"] = int(active)
    return found
