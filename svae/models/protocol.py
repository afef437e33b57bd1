"""What classes of one's own have to give, checked before a run begins.

Each check raises ValueError with one sentence: what is missing or wrong in which class, and what
was expected. The package's own classes are not checked, the tests do that. Data sets are checked
in `svae.models.data_protocol`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from svae.data.splits import DataSet
from svae.distributions import Draw
from svae.distributions.divergence import divergence, is_sampled
from svae.metrics.catalogue import reserved
from svae.models.foreign import Part, is_count, is_own, name_of
from svae.noise import Rows, Source, undisturbed

_SAMPLES = 3


def _is_manifold(value: Any) -> bool:
    """Tell whether something has all that `svae.manifolds.Euclidean` has."""
    methods = ("contains", "distances", "geodesic", "centres", "centred", "standardised", "grid")
    words = ("path", "has_axes", "is_compact")
    try:
        is_space = is_count(value.ambient_dim) and all(hasattr(value, name) for name in words)
        return is_space and all(callable(getattr(value, name)) for name in methods)
    except Exception:  # a property of a person's own may raise anything
        return False


def check_family(latent: Any) -> None:
    """Refuse a latent family that lacks something."""
    if is_own(latent):
        return
    Part("model", "family", latent).have(
        parameters=("how many numbers of an observation the posterior is made of", is_count),
        manifold=("one of svae.manifolds: Sphere(d), Euclidean(d), Product(...)", _is_manifold),
        posterior=("a method that makes the posterior of the encoder's output", callable),
        prior=("a method that makes the prior", callable),
        summary=("a method that names what is logged of a posterior", callable),
    )


def check_network(model: Any) -> None:
    """Refuse a network that lacks something."""
    if is_own(model):
        return
    part = Part("network", "network", model)
    if not isinstance(model, nn.Module):
        part.refuse("is no torch.nn.Module", "one")
    part.have(
        latent=("the family that it was given", lambda value: hasattr(value, "manifold")),
        posterior=("a method that makes q(z | x)", callable),
        prior=("a method that makes p(z)", callable),
        likelihood=("a method that makes p(x | z)", callable),
    )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        part.refuse("has no parameters to train", "some")


def check_hidden_weights(model: nn.Module) -> None:
    """Refuse to train a network by Muon that does not say which weights it is to train."""
    if not hasattr(model, "hidden_weights"):
        raise ValueError(
            f"trainer.optimizer=muon: {name_of(model)} does not say by `hidden_weights` which "
            "matrices it is to train, expected adam (as in trainer=minibatch)"
        )
    if not model.hidden_weights():
        raise ValueError(
            f"trainer.optimizer=muon: {name_of(model)} has no matrix for it here, expected adam"
        )


def find_likelihood(name: str, target: Any) -> str | type[nn.Module] | None:
    """Return the likelihood that a run was saved with: ours by its name, else a class.

    That is looked for in the module of the data set's function `target`, and nowhere else: the name
    may come from anybody. None where there is none.
    """
    if "." not in name:
        return name
    values = vars(sys.modules[target.__module__]).values()
    classes = (v for v in values if isinstance(v, type) and issubclass(v, nn.Module))
    return next((found for found in classes if name_of(found) == name), None)


def saved_name(likelihood: str | type) -> str:
    """Return the name by which `find_likelihood` finds it."""
    return likelihood if isinstance(likelihood, str) else name_of(likelihood)


def dry_run(model: nn.Module, data: DataSet, models: int | None = None) -> None:
    """Let classes of one's own work once, on two observations, where model and data lie.

    Looks at the shapes and numbers of posterior, prior, KL, summary and likelihood. The model's
    state and torch's random numbers are afterwards as before. Of a graph only the family is tried.
    Of a stack of `models`, see `svae.models.stack`, the posterior draws from `svae.noise.Rows`.
    """
    foreign = _foreign(model, data)
    if not foreign:
        return
    with _undisturbed(model, data.device):
        if data.spec.kind == "vectors":
            _try_all(foreign, model, data, models)
        elif "family" in foreign:
            _try_family(foreign["family"], model)


def _foreign(model: nn.Module, data: DataSet) -> dict[str, Part]:
    """Return the components that are not this package's, by their kinds."""
    parts = (
        Part("model", "family", model.latent),
        Part("network", "network", model),
        Part("likelihood", "likelihood", data.likelihood),
    )
    return {part.kind: part for part in parts if not part.is_own}


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with undisturbed(device):
            yield
    finally:
        model.load_state_dict(state)


def _try_family(part: Part, model: nn.Module) -> None:
    like = next(model.parameters())
    features = like.new_zeros(2, model.latent.parameters).requires_grad_()
    posterior = part.call(model.latent.posterior, features)
    prior = part.call(model.latent.prior, like)
    _try_laws(part, model, posterior, prior, (2,))
    try:
        mean = posterior.mean
    except (AttributeError, NotImplementedError):
        part.refuse("gives a posterior without `mean`", "the means, by which links are ranked")
    part.shaped("the posterior's `mean`", mean, (2, model.latent.manifold.ambient_dim))


def _try_all(foreign: dict[str, Part], model: nn.Module, data: DataSet, models: int | None) -> None:
    observed = data.train.observe(slice(0, 2), _generator(data.device))
    if models is not None:
        observed = observed.expand(models, *observed.shape)
    batch = tuple(observed.shape[:-1])
    posterior = _named(foreign, "network", "family").call(model.posterior, observed)
    if foreign.keys() & {"family", "network"}:
        part = _named(foreign, "family", "network")
        prior = part.call(getattr(model, "family_prior", model.prior))
        _try_laws(part, model, posterior, prior, batch)
        if hasattr(model, "family_prior"):  # the divergence of such a model is made of it
            part.shaped("the entropy", part.call(posterior.entropy), batch)
    draw = posterior.draw((_SAMPLES,), _generator(data.device, *batch[:-1]))
    part = _named(foreign, "likelihood", "network")
    log_prob = part.call(lambda: model.likelihood(draw.value).log_prob(observed))
    part.shaped("log_prob of the likelihood", log_prob, (_SAMPLES, *batch))


def _named(foreign: dict[str, Part], *kinds: str) -> Part:
    """Return the first of these kinds that is there, else any: the one that a sentence names."""
    return next((foreign[kind] for kind in kinds if kind in foreign), next(iter(foreign.values())))


def _generator(device: torch.device, *models: int) -> Source:
    """Return what a model draws from, or each row of a stack of so many `models`."""
    if models:
        return Rows(_generator(device) for _ in range(models[0]))
    return torch.Generator(device).manual_seed(0)


def _try_laws(
    part: Part, model: nn.Module, posterior: Any, prior: Any, batch: tuple[int, ...]
) -> None:
    """Refuse a posterior of the batch shape `batch`, or a prior, that falls short."""
    m, device = model.latent.manifold.ambient_dim, next(model.parameters()).device
    for law, name, shape in ((posterior, "posterior", batch), (prior, "prior", ())):
        if not isinstance(law, Distribution):
            part.refuse(f"gives a {type(law).__name__} as {name}", "a torch Distribution")
        if (law.batch_shape, law.event_shape) != (shape, (m,)):
            found = f"{tuple(law.batch_shape)} and event shape {tuple(law.event_shape)}"
            part.refuse(f"gives a {name} of batch shape {found}", f"{shape} and ({m},)")
        if not hasattr(law, "draw"):
            part.refuse(f"gives a {name} without `draw`", "draw(shape, generator)")
    draw, _ = (_try_draw(part, law, (_SAMPLES,), device) for law in (posterior, prior))
    if not (draw.value.requires_grad or draw.log_weight.requires_grad):
        part.refuse("draws without a gradient", "samples that depend on the encoder's output")
    if not model.latent.manifold.contains(draw.value):
        part.refuse("draws vectors that do not lie on its `manifold`", f"{model.latent.manifold}")
    shape = (_SAMPLES, *batch)
    for law, name in ((posterior, "posterior"), (prior, "prior")):
        part.shaped(f"log_prob of the {name}", part.call(law.log_prob, draw.value), shape)
    # as when each sample meets each posterior
    each = part.call(posterior.log_prob, draw.value[:, :1])
    part.shaped("log_prob of one value under each posterior", each, shape)
    each = shape if is_sampled(posterior) else batch
    part.shaped("the KL", _kl(part, posterior, prior, draw.value), each)
    if (loc := part.call(getattr, posterior, "loc", None)) is not None:
        part.shaped("the posterior's `loc`", loc, (*batch, m))
    summary = part.call(model.latent.summary, posterior)
    if not isinstance(summary, dict) or reserved() & summary.keys():
        part.refuse(f"gives the summary {summary!r:.60}", "tensors by names that are not taken")
    for name, values in summary.items():
        part.shaped(f"{name} of the summary", values, batch)


def _try_draw(part: Part, law: Distribution, shape: tuple[int, ...], device) -> Draw:
    """Return a draw; it has to follow from the generator, or no resumed run would repeat."""
    batch, models = shape + law.batch_shape, law.batch_shape[:-1]
    draw, again = (part.call(law.draw, shape, _generator(device, *models)) for _ in range(2))
    if not isinstance(draw, Draw):
        part.refuse(f"draws a {type(draw).__name__}", "an svae.distributions.Draw")
    part.shaped("draws", draw.value, batch + law.event_shape)
    part.shaped("log_weight of draws", draw.log_weight, batch)
    part.shaped("proposals of draws", draw.proposals, batch)
    if (draw.proposals < 1).any():
        part.refuse("counts less than one proposal for a draw", "1 where nothing is rejected")
    if not torch.equal(draw.value, again.value):
        part.refuse("draws anew from an equal generator", "all random numbers from the generator")
    return draw


def _kl(part: Part, posterior: Distribution, prior: Distribution, value: Tensor) -> Tensor:
    try:
        return part.call(divergence, posterior, prior, value)
    except ValueError as error:
        if not isinstance(error.__cause__, NotImplementedError):
            raise
    pair = f"{name_of(posterior)} and {name_of(prior)}"
    part.refuse(f"has no KL of {pair}", "one that torch.distributions.register_kl was given")
