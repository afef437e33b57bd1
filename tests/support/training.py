"""A model trained in a line, with the task of its data."""

from collections.abc import Iterator

from svae.tasks import task_of
from svae.training.learner import START, Epoch, Learner
from svae.training.loop import train_alone


def learner(model, optimizer, data, settings, last=START) -> Learner:
    task = task_of(data.spec.kind, model, settings.bound)
    return Learner(model, optimizer, data, settings, task, last)


def train(model, optimizer, data, settings, last=START) -> Iterator[Epoch]:
    return train_alone(learner(model, optimizer, data, settings, last))
