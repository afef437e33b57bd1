"""The training loop: a generator of epochs that logs nothing and touches no file."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from svae.noise import Source
from svae.objectives import Elbo
from svae.training.averaging import Average
from svae.training.gradient_noise import kappa_gradient_snr
from svae.training.guard import Diverged, Guard
from svae.training.learner import Epoch, Learner, Settings
from svae.training.stack import Stack, training, validating
from svae.training.step import stepping
from svae.training.streams import seeded


def _as_they_are(batches: Iterable, count: int) -> Iterable:
    return batches


def train(
    learners: Sequence[Learner], progress: Callable[[Iterable, int], Iterable] = _as_they_are
) -> Iterator[list[Learner]]:
    """Train until every learner has come to its end; yield those that have just made an epoch.

    The models are trained in place. The learners have one architecture, one data shape and settings
    that differ in the seed alone. Those that are behind go first, so that all of a stack are in the
    same epoch, and one that has come to its end leaves it. Training ends when the objective on the
    validation split has not risen for `patience` epochs after the warm-up.

    A learner continues after its `last` epoch; given the tensors of that moment the result is that
    of a run without the break, since every epoch draws from streams of its own. Its `failure` says
    that its epoch gave a number that is not finite (see `guard`); the others are not touched by it.
    `progress` wraps the batches of an epoch, so many, to show how far it is.
    """
    while going := [learner for learner in learners if learner.goes_on]:
        least = min(learner.last.number for learner in going)
        group = [learner for learner in going if learner.last.number == least]
        _epoch(group, least + 1, progress)
        yield group


def train_alone(learner: Learner) -> Iterator[Epoch]:
    """Train one learner and yield its epochs.

    Raises:
        Diverged: when a number is not finite.
    """
    for _ in train([learner]):
        if learner.failure is not None:
            raise learner.failure
        yield learner.last


def _epoch(group: list[Learner], number: int, progress: Callable) -> None:
    """Train and validate one epoch of every learner of `group`."""
    started = time.perf_counter()
    trained = _train(group, number, progress)
    fine = [row for row, own in enumerate(group) if own.failure is None]
    validated = _validate([group[row] for row in fine], number) if fine else []
    share = (time.perf_counter() - started) / len(group)
    for row, metrics in zip(fine, validated, strict=True):
        own = group[row]
        planned = {
            "train/kl_weight": own.settings.kl_weight_at(number),
            "train/learning_rate": own.settings.learning_rate_at(number),
        }
        with _failing(own):
            own.complete(trained[row] | planned | metrics | {"seconds": share})


@contextmanager
def _failing(learner: Learner) -> Iterator[None]:
    """Let what diverges be the failure of `learner` alone."""
    try:
        yield
    except Diverged as failure:
        learner.failure = failure


def _train(
    group: list[Learner], number: int, progress: Callable = _as_they_are
) -> list[dict[str, float]]:
    """Take the steps of an epoch; return the metrics of each learner."""
    first = group[0]
    with (
        training(group) as stack,
        seeded(first.data.device, first.settings.seed, "dropout", number, first.restarts),
    ):
        terms, guard = descend(stack, number, progress)
    for row, own in enumerate(group):
        with _failing(own):
            guard.check(number, *stack.row(row))
    return summarise(terms, "train")


def descend(
    stack: Stack, epoch: int, progress: Callable = _as_they_are
) -> tuple[list[Elbo], Guard]:
    """Take a step for each batch of an epoch; return what each gave, and the guard of all."""
    split, settings, source = stack.split("train"), stack.settings, stack.source("train", epoch)
    stack.model.train()
    count = step_count(len(split), settings)
    guard, average = Guard(stack.model), Average(stack.optimizer, count)
    terms = []
    batches = split.shuffled(settings.batch_size, source)
    with stepping(stack, epoch, source) as step:
        for number, batch in enumerate(progress(batches, count), 1):
            bound, seen = step(batch)
            terms.append(bound)
            guard.note(seen, bound.concentration)
            if settings.averaging:
                average.note(number)
    return terms, guard


def step_count(observations: int, settings: Settings) -> int:
    """Return how many steps an epoch has."""
    return math.ceil(observations / (settings.batch_size or observations))


def _validate(learners: list[Learner], epoch: int) -> list[dict[str, float]]:
    """Return what an epoch is measured by, for each learner."""
    with validating(learners) as stack:
        noise = _gradient_noise(stack, epoch) if stack.task.measures_noise else [{}] * len(learners)
        source, split = stack.source("validation", epoch), stack.split("validation")
        samples = stack.settings.measured_samples
        terms = measured(stack.model, stack.task.objective, split, samples, source)
        return [own | row for own, row in zip(noise, summarise(terms, "val"), strict=True)]


def _gradient_noise(stack: Stack, epoch: int) -> list[dict[str, float]]:
    source, split = stack.source("gradient", epoch), stack.split("train")
    ratios = kappa_gradient_snr(stack.model.train(), split, stack.settings.baseline, source)
    return [{"train/kappa_gradient_snr": ratio} for ratio in ratios.reshape(-1).tolist()]


@torch.no_grad()
def measured(
    model, objective: Callable[..., Elbo], split, samples: int, source: Source
) -> list[Elbo]:
    """Return the bound of every observation of a split, by batches of up to a thousand samples."""
    model.eval()
    batches = split.batches(max(1, 1000 // samples), source)
    return [objective(model, batch, samples, generator=source) for batch in batches]


def summarise(terms: Iterable[Elbo], split: str) -> list[dict[str, float]]:
    """Return the means over all observations by their metric names, of each model of a stack.

    Reads the device once.
    """
    columns = [term.columns for term in terms]
    names = list(columns[0])
    means = [torch.cat([c[name] for c in columns], -1).double().mean(-1) for name in names]
    rows = torch.stack(means).reshape(len(names), -1).T.tolist()
    return [_metrics(dict(zip(names, row, strict=True)), split) for row in rows]


def _metrics(means: dict[str, float], split: str) -> dict[str, float]:
    means["acceptance_rate"] = 1 / means.pop("proposals")
    return {f"{split}/{name}": value for name, value in means.items()}
