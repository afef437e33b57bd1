"""What the loop works with: one model, or several of one architecture as one.

A learner alone is its own model, and its bits stay. Several are copied into a stack, and what that
learns is copied back: the work of a step is paid for once. Each draws from the random streams of
its own seed what it would draw alone, so that it becomes the same model up to rounding. The one
exception is dropout, which torch draws for all of them at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from svae.data.splits import Split, Splits
from svae.models.stack import stack, stack_models, unstack
from svae.noise import Rows, Source
from svae.training.averaging import MEAN, averaged
from svae.training.learner import Learner, Settings
from svae.training.streams import stream


@dataclass(frozen=True)
class Stack:
    """Learners in the same epoch, whose settings differ in the seed alone, as one model."""

    learners: Sequence[Learner]
    model: nn.Module
    optimizer: torch.optim.Optimizer | None = None

    @property
    def settings(self) -> Settings:
        """The settings of all, but for the seed."""
        return self.learners[0].settings

    @property
    def task(self):
        return self.learners[0].task

    def split(self, name: str) -> Split | Splits:
        """Return the training or the validation data."""
        size = self.settings.batch_size
        splits = [self.task.view(own.data, name, size) for own in self.learners]
        return splits[0] if len(splits) == 1 else Splits(splits)

    def source(self, purpose: str, epoch: int) -> Source:
        """Return what `epoch` draws from for one purpose: the streams of the learners."""
        streams = [
            stream(own.data.device, own.settings.seed, purpose, epoch, own.restarts)
            for own in self.learners
        ]
        return streams[0] if len(streams) == 1 else Rows(streams)

    def row(self, number: int) -> tuple[int, ...]:
        """Return where the numbers of a learner stand in those of all."""
        return () if len(self.learners) == 1 else (number,)


@contextmanager
def training(learners: Sequence[Learner]) -> Iterator[Stack]:
    """Let the model and the optimiser of all be trained, for all learners to take over."""
    first = learners[0]
    if len(learners) == 1:
        yield Stack(learners, first.model, first.optimizer)
        return
    whole = stack_models([own.model for own in learners])
    optimizer = _stacked(whole, first)
    _load(optimizer, whole, learners)
    yield Stack(learners, whole, optimizer)
    _save(optimizer, whole, learners)


@contextmanager
def validating(learners: Sequence[Learner]) -> Iterator[Stack]:
    """Let the model of all have the means of an epoch's parameters, where these are kept."""
    with ExitStack() as averages:
        for own in learners:
            averages.enter_context(averaged(own.optimizer))
        if len(learners) == 1:
            yield Stack(learners, learners[0].model)
            return
        whole = stack_models([own.model for own in learners])
    yield Stack(learners, whole)


def _stacked(whole: nn.Module, learner: Learner) -> torch.optim.Optimizer:
    """Return an optimiser of the stack as that of a learner, with its parameters in like groups."""
    of = {own: stacked for stacked, own in _parameters(whole, [learner])}
    groups = [
        {**group, "params": [of[parameter] for parameter in group["params"]], "stacked": True}
        for group in learner.optimizer.param_groups
    ]
    return type(learner.optimizer)(groups)


def _load(optimizer: torch.optim.Optimizer, whole: nn.Module, learners: Sequence[Learner]) -> None:
    """Put what the optimisers of the learners know into that of the stack."""
    for stacked, *own in _parameters(whole, learners):
        if not stacked.requires_grad:
            continue
        states = [one.optimizer.state[p] for one, p in zip(learners, own, strict=True)]
        for name in states[0].keys() - {MEAN}:  # none before the first step; a mean begins anew
            rows = [state[name] for state in states]
            optimizer.state[stacked][name] = rows[0].clone() if name == "step" else stack(rows)


def _save(optimizer: torch.optim.Optimizer, whole: nn.Module, learners: Sequence[Learner]) -> None:
    """Put the parameters of the stack and what its optimiser knows into those of the learners."""
    for stacked, *own in _parameters(whole, learners):
        unstack(stacked, own)
        if not stacked.requires_grad:
            continue
        state = optimizer.state[stacked]
        for one, parameter in zip(learners, own, strict=True):
            mine = one.optimizer.state[parameter]
            if "step" in state:
                mine["step"] = state["step"].clone()
            for name in state.keys() - {"step"}:
                if name == MEAN or name not in mine:  # those of earlier epochs are kept elsewhere
                    mine[name] = torch.empty_like(parameter)
        for name in state.keys() - {"step"}:
            rows = [one.optimizer.state[p][name] for one, p in zip(learners, own, strict=True)]
            unstack(state[name], rows)


def _parameters(
    whole: nn.Module, learners: Sequence[Learner]
) -> Iterator[tuple[nn.Parameter, ...]]:
    return zip(whole.parameters(), *(own.model.parameters() for own in learners), strict=True)
