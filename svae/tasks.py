"""What is done with vectors and what with graphs: objective, evaluation, pictures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from svae import evaluate
from svae.data import labels
from svae.data.labels import Partly, labelled
from svae.data.splits import MISSING, DataSet, Split
from svae.metrics import classifiers
from svae.metrics.separation import separation
from svae.models.foreign import is_own
from svae.models.m1m2 import M1M2
from svae.objectives import Elbo, elbo, few_labels, iwae, link_loss
from svae.objectives.bounds import log_weights
from svae.plots import Drawings
from svae.training.streams import stream

Results = dict[str, float | str]


@dataclass(frozen=True)
class Vectors:
    """Observations that are independent of each other.

    Args:
        bound: what is optimised, "elbo" or "iwae".
        measures_noise: whether the noise of the gradient in the concentration is measured after
            each epoch.
    """

    bound: str
    measures_noise: bool

    measure = staticmethod(evaluate.measured)
    weigh = staticmethod(log_weights)

    @property
    def objective(self) -> Callable[..., Elbo]:
        return iwae if self.bound == "iwae" else elbo

    def check(self, data: DataSet) -> None:
        """Refuse data that lack something for this."""

    def view(self, data: DataSet, name: str, batch_size: int | None) -> Split:
        """Return the split of that name as it gives its batches to the objective."""
        return getattr(data, name)

    def latents(self, model: nn.Module, split: Split, generator) -> dict[str, Tensor]:
        """Return the posteriors of a split by names, see `svae.evaluate.latents`."""
        return evaluate.latents(model, split, generator)

    def evaluate(
        self,
        model: nn.Module,
        data: DataSet,
        settings: evaluate.Settings,
        generator: torch.Generator,
        progress: Callable[[list], Iterable],
    ) -> Results:
        """Return the final numbers of a model; `progress` wraps the list of pieces of work."""
        results = evaluate.evaluate(
            *(model, data.test, settings, generator, progress),
            measure=self.measure,
            weigh=self.weigh,
        )
        return results | {"importance_samples": settings.importance_samples}

    def inspect(
        self, model: nn.Module, data: DataSet, kl: float, generator: torch.Generator, seed: int
    ) -> tuple[Results, dict[str, Tensor]]:
        """Return how the latent space is used, and the posteriors of the test set by names.

        `kl` is the mean of their KL. Where there are labels: also how well they are told apart.
        """
        latents = self.latents(model, data.test, generator)
        manifold, loc = model.latent.manifold, latents.get("loc")
        results = evaluate.usage(kl, loc, has_axes=manifold.has_axes)
        if data.is_labelled and loc is not None:
            given = labelled(data.train)
            known, wanted = self.latents(model, given, generator), _labelled(latents)
            source = stream(data.device, seed, "labelled")
            results |= separation(known, wanted, source, manifold)
            if len(given) < len(data.train):
                results |= classifiers.linear_accuracies(known, wanted)
        return results, latents

    def figures(
        self,
        model: nn.Module,
        data: DataSet,
        history: list[dict[str, float]],
        latents: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> Drawings:
        """Return what can be drawn of a run, by name; `history`, `latents` are `svae.Run`'s."""
        from svae.plots import decoded, directions, recovery

        drawings = common(model, history, latents, "the test set")
        manifold, shape = model.latent.manifold, data.image_shape
        truth = data.test.positions
        if truth is not None and truth.shape[-1] == manifold.ambient_dim:
            drawings["recovery"] = partial(recovery.recovered, latents, manifold)
        if data.test.directions is not None:
            drawings["directions"] = partial(directions.directions, model, data, generator)
        if shape:
            drawings |= {
                "reconstructions": partial(decoded.reconstructions, model, data, generator),
                "samples": partial(decoded.samples, model, data, generator),
                "interpolations": partial(decoded.interpolations, model, data, generator),
            }
        if shape and (grid := manifold.grid()):
            drawings["walk"] = partial(decoded.walk, model, data, grid)
        return drawings

    def glimpses(self, model: nn.Module, data: DataSet, generator: torch.Generator) -> Drawings:
        """Return what is drawn of a model in training: the test set is read once, at the end."""
        from svae.plots import decoded

        drawings = _latent_space(self, model, data, "the validation set", generator)
        if data.image_shape:
            seen = partial(decoded.reconstructions, split="validation")
            drawings["reconstructions"] = partial(seen, model, data, generator)
            drawings["samples"] = partial(decoded.samples, model, data, generator)
        return drawings


@dataclass(frozen=True)
class Graph:
    """A graph, the only observation, whose held-out edges are to be predicted.

    The noise of the gradient is not measured: that would double the time of an epoch.
    """

    objective = staticmethod(link_loss)
    measures_noise = False

    def check(self, data: DataSet) -> None:
        """Refuse data that lack something for this."""

    def view(self, data: DataSet, name: str, batch_size: int | None):
        """Return a split, see `Vectors`."""
        return getattr(data, name)

    def latents(self, model, split, generator) -> dict[str, Tensor]:
        """Return the posteriors of the nodes by names, see `Vectors`."""
        return evaluate.latents(model, split, generator)

    def evaluate(self, model, data: DataSet, settings, generator, progress) -> Results:
        """Return the final numbers of a model, see `Vectors`."""
        results = evaluate.evaluate_links(model, data, settings, generator, progress)
        return results | {"samples": settings.samples}

    def inspect(
        self, model, data: DataSet, kl: float, generator, seed: int
    ) -> tuple[Results, dict[str, Tensor]]:
        """Return how the latent space is used, the nodes' posteriors, and the pairs' scores.

        Where there are labels: also how well they are told apart, those of all nodes by clusters.
        """
        latents, manifold = evaluate.latents(model, data.test, generator), model.latent.manifold
        results = evaluate.usage(kl, latents.get("loc"), has_axes=manifold.has_axes)
        if data.is_labelled and "loc" in latents:
            labelled = stream(data.device, seed, "labelled")
            known, wanted = data.test.by_label(latents["loc"])
            results |= separation(known, wanted, labelled, manifold, clustered=latents)
        return results, latents | evaluate.scores(model, data.test)

    def figures(self, model, data: DataSet, history, latents, generator) -> Drawings:
        """Return what can be drawn of a run, see `Vectors`."""
        from svae.plots.training import link_curves

        drawings = common(model, history, latents, "the nodes")
        return drawings | {"links": partial(link_curves, latents)}

    def glimpses(self, model, data: DataSet, generator) -> Drawings:
        """Return what is drawn of a model in training, see `Vectors`."""
        return _latent_space(self, model, data, "the nodes", generator)


@dataclass(frozen=True)
class FewLabels(Vectors):
    """Observations of which a few have a label, and the stacked model that learns from them.

    Nothing by which training is stopped or an epoch is chosen knows of other labels than those that
    are given: the monitor is the bound of validation data without their labels.
    """

    bound: str = "elbo"
    measures_noise: bool = False

    objective = staticmethod(few_labels.label_bound)
    check = staticmethod(labels.check)
    measure = staticmethod(few_labels.measure)
    weigh = staticmethod(few_labels.log_weights)

    def view(self, data: DataSet, name: str, batch_size: int | None) -> Partly:
        """Return the split of that name with its labels, of which those that train are given."""
        split = getattr(data, name)
        given = 0 if name != "train" else len(labelled(split))
        return Partly(split, data.classes, min(given, batch_size or given))

    def latents(self, model: M1M2, split: Split, generator) -> dict[str, Tensor]:
        """Return the posteriors of z1 by names, and what is predicted of the class.

        Beside those of `svae.evaluate.latents`: the `probabilities` (N, K) of the classes at the
        location of z1, and `style_loc` (N, m2), the location of z2 given the likeliest.
        """
        found = evaluate.latents(model, split, generator, few_labels.latent_kl)
        probabilities, styles = few_labels.predictions(model, found["loc"])
        return found | {"probabilities": probabilities, "style_loc": styles}

    def inspect(
        self, model: M1M2, data: DataSet, kl: float, generator, seed: int
    ) -> tuple[Results, dict[str, Tensor]]:
        """Return how the latent space is used and the posteriors, see `Vectors`, and the accuracy.

        In `latents` the likeliest label of each observation is `predicted` (N,).
        """
        results, latents = super().inspect(model, data, kl, generator, seed)
        classes = torch.tensor(data.classes, device=data.device)
        latents["predicted"] = classes[latents["probabilities"].argmax(-1)]
        results |= few_labels.usage(model, latents)
        return results, latents

    def figures(self, model: M1M2, data: DataSet, history, latents, generator) -> Drawings:
        """Return what can be drawn of a run, see `Vectors`."""
        from svae.plots import classes

        drawings = super().figures(model, data, history, latents, generator)
        if "labels" in latents:
            drawings["confusion"] = partial(classes.confusion, latents)
        if data.image_shape:
            drawings["classes"] = partial(classes.drawn_styles, model, data, generator)
            drawings["styles"] = partial(classes.styles_of_images, model, data, generator)
        return drawings


def task_of(kind: str, model: nn.Module, bound: str = "elbo") -> Vectors | Graph:
    """Return what is done with data of a kind, see `svae.data.splits.DataSpec`, and a model."""
    if kind == "graph":
        return Graph()
    if isinstance(model, M1M2):
        return FewLabels()
    return Vectors(bound, measures_noise=_has_concentration(model))


def _has_concentration(model: nn.Module) -> bool:
    """Return whether posteriors have one; a person's own may have another of that name."""
    if not is_own(model.latent):
        return False
    features = next(model.parameters()).new_zeros(1, model.latent.parameters)
    return hasattr(model.latent.posterior(features), "concentration")


def _labelled(latents: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return locations and labels of the observations that have a label."""
    known = latents["labels"] != MISSING
    return {name: latents[name][known] for name in ("loc", "labels")}


def _latent_space(task, model: nn.Module, data: DataSet, title: str, generator) -> Drawings:
    from svae.plots import latent

    def draw():
        arrays = task.latents(model, data.validation, generator)
        latents = {name: values.cpu().numpy() for name, values in arrays.items()} | data.naming
        return latent.latent_space(latents, title, model.latent.manifold)

    return {"latent": draw}


def _draws_plainly(latent) -> bool:
    """Return whether latent vectors are what the sampler of the von Mises-Fisher law gives."""
    return hasattr(latent, "options") and not latent.scales


def common(
    model: nn.Module,
    history: list[dict[str, float]],
    latents: dict[str, np.ndarray],
    title: str,
) -> Drawings:
    """Return what can be drawn of any run without its data, by name; `title` says of whom."""
    from svae.plots import latent, sampler, training

    drawings = {
        "curves": partial(training.curves, history),
        "latent": partial(latent.latent_space, latents, title, model.latent.manifold),
        "spreads": partial(latent.spreads, latents, title, is_own(model.latent)),
    }
    if is_own(model.latent) and _draws_plainly(model.latent):
        drawings["sampler"] = partial(sampler.sampler, latents, model.latent.options["sampler"])
    return drawings
