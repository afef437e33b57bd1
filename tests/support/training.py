"""A model trained in a line, with the task of its data, and its state saved in another."""

from collections.abc import Iterator
from pathlib import Path

from svae.recording import checkpoint
from svae.recording.table import Table
from svae.tasks import task_of
from svae.training.learner import START, Epoch, Learner
from svae.training.loop import train_alone


def learner(model, optimizer, data, settings, last=START) -> Learner:
    task = task_of(data.spec.kind, model, settings.bound)
    return Learner(model, optimizer, data, settings, task, last)


def train(model, optimizer, data, settings, last=START) -> Iterator[Epoch]:
    return train_alone(learner(model, optimizer, data, settings, last))


def save_state(folder: Path, state: checkpoint.State) -> Path:
    """Write last.pt and metrics.csv of a state that has the rows of all its epochs."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    path = folder / "checkpoints" / "last.pt"
    table = Table(folder / "metrics.csv").appended(state.rows)
    checkpoint.save(path, state.content(table))
    return path
