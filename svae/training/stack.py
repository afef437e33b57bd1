"""Several models trained side by side, as one stack: the work of a step is paid for once.

Each draws from the random streams of its own seed what it would draw alone, so that it becomes the
same model up to rounding.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from svae.data.splits import DataSet, Splits
from svae.models.stack import stack, stack_models, unstack
from svae.objectives import Elbo, objective
from svae.training import loop
from svae.training.averaging import averaged
from svae.training.gradient_noise import kappa_gradient_snr
from svae.training.guard import Diverged, Guard
from svae.training.loop import START, Epoch, Settings
from svae.training.streams import stream

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam, for each parameter; a mean begins anew


@dataclass(eq=False)
class Learner:
    """A model in training and how far it is; `failure` ends its training until it is cleared."""

    model: nn.Module
    optimizer: torch.optim.Adam
    data: DataSet
    settings: Settings
    last: Epoch = START
    restarts: int = 0
    failure: Diverged | None = None

    @property
    def goes_on(self) -> bool:
        return self.failure is None and loop.goes_on(self.last, self.settings)


def train_together(learners: Sequence[Learner]) -> Iterator[list[Learner]]:
    """Train until every learner has come to its end; yield those that have just made an epoch.

    The learners have one architecture, one data shape and settings that differ in the seed alone.
    Those that are behind go first, so that all of a stack are in the same epoch, and who has come
    to the end leaves it. A learner's `failure` says that its epoch gave a number that is not
    finite; the others are not touched by it.
    """
    while going := [learner for learner in learners if learner.goes_on]:
        least = min(learner.last.number for learner in going)
        group = [learner for learner in going if learner.last.number == least]
        _epoch(group, least + 1)
        yield group


def _epoch(group: list[Learner], number: int) -> None:
    """Train and validate one epoch of every learner of `group`."""
    started = time.perf_counter()
    terms, guard = _descend(group, number)
    trained = loop.summarise_rows(terms, "train")
    for row, own in enumerate(group):
        with _failing(own):
            guard.check(number, row)
    fine = [row for row, own in enumerate(group) if own.failure is None]
    validated = _validate([group[row] for row in fine], number) if fine else []
    share = (time.perf_counter() - started) / len(group)
    for row, metrics in zip(fine, validated, strict=True):
        own = group[row]
        with _failing(own):
            own.last = loop.complete(own.last, own.settings, trained[row], metrics, share)


@contextmanager
def _failing(learner: Learner) -> Iterator[None]:
    """Let what diverges be the failure of `learner` alone."""
    try:
        yield
    except Diverged as failure:
        learner.failure = failure


def _streams(group: list[Learner], name: str, number: int) -> tuple[torch.Generator, ...]:
    """Return what the learners draw from in an epoch for one purpose."""
    return tuple(
        stream(own.data.device, own.settings.seed, name, number, own.restarts) for own in group
    )


def _descend(group: list[Learner], number: int) -> tuple[list[Elbo], Guard]:
    """Take the steps of an epoch with the stack of all models."""
    first = group[0].settings
    whole = stack_models([own.model for own in group])
    optimizer = torch.optim.Adam(whole.parameters(), lr=first.learning_rate, fused=True)
    generators = _streams(group, "train", number)
    splits = Splits([own.data.train for own in group])
    batches = splits.shuffled(first.batch_size, generators)
    steps = loop.step_count(group[0].data, first)
    _load(optimizer, whole, group)
    measure = objective(group[0].data.likelihood, first.bound)
    done = loop.descend(
        whole, optimizer, measure, splits.observe, batches, steps, first, number, generators
    )
    _save(optimizer, whole, group)
    return done


def _validate(group: list[Learner], number: int) -> list[dict[str, float]]:
    """Return what `train` finds out of each model after an epoch, by the stack of all."""
    with ExitStack() as averages:
        for own in group:
            averages.enter_context(averaged(own.optimizer))
        whole = stack_models([own.model for own in group])
    ratios = _signal_to_noise(whole, group, number)
    splits = Splits([own.data.validation for own in group])
    first = group[0].settings
    measure = objective(group[0].data.likelihood, first.bound)
    generators = _streams(group, "validation", number)
    terms = loop.measured(whole, measure, splits, first.measured_samples, generators)
    rows = loop.summarise_rows(terms, "val")
    return [ratio | row for ratio, row in zip(ratios, rows, strict=True)]


def _signal_to_noise(whole: nn.Module, group: list[Learner], number: int) -> list[dict]:
    if not loop.is_noisy_in_kappa(whole, group[0].data):
        return [{} for _ in group]
    generators = _streams(group, "gradient", number)
    splits = Splits([own.data.train for own in group])
    ratios = kappa_gradient_snr(whole.train(), splits, group[0].settings.baseline, generators)
    return [{"train/kappa_gradient_snr": ratio} for ratio in ratios.tolist()]


def _load(optimizer: torch.optim.Adam, whole: nn.Module, group: list[Learner]) -> None:
    """Put what the optimisers of `group` know into that of the stack."""
    for stacked, *own in _parameters(whole, group):
        states = [one.optimizer.state[p] for one, p in zip(group, own, strict=True)]
        if states[0]:  # empty before the first step
            optimizer.state[stacked] = {
                "step": states[0]["step"].clone(),
                **{name: stack([state[name] for state in states]) for name in _MOMENTS},
            }


def _save(optimizer: torch.optim.Adam, whole: nn.Module, group: list[Learner]) -> None:
    """Put the parameters of the stack and what its optimiser knows back into those of `group`."""
    for stacked, *own in _parameters(whole, group):
        unstack(stacked, own)
        state = optimizer.state[stacked]
        for one, parameter in zip(group, own, strict=True):
            mine = one.optimizer.state[parameter]
            mine["step"] = state["step"].clone()
            for name in state.keys() - {"step"}:
                mine.setdefault(name, torch.empty_like(parameter))
        for name in state.keys() - {"step"}:
            rows = [one.optimizer.state[p][name] for one, p in zip(group, own, strict=True)]
            unstack(state[name], rows)


def _parameters(whole: nn.Module, group: list[Learner]) -> Iterator[tuple[nn.Parameter, ...]]:
    return zip(whole.parameters(), *(own.model.parameters() for own in group), strict=True)
