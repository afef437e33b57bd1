"""The final numbers of a run, its latent vectors and its pictures."""

import io
import logging
import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from svae import build, plots
from svae.experiment.prepare import Experiment
from svae.models.foreign import told
from svae.recording import checkpoint
from svae.recording.circumstances import circumstances
from svae.recording.console import Screen
from svae.recording.files import json_text, write_atomically
from svae.recording.folder import RunFolder
from svae.run import Run
from svae.training.averaging import averaged
from svae.training.guard import Diverged
from svae.training.learner import Learner
from svae.training.streams import stream

log = logging.getLogger("svae")


def evaluate_again(experiments: list[Experiment], folder: RunFolder) -> None:
    """Evaluate the best checkpoint, of every replica, with the present settings.

    Raises:
        checkpoint.Unusable, ValueError: when a file of the run is missing or damaged.
        Diverged: when a number is not finite.
    """
    if len(experiments) == 1:
        _evaluate_again(experiments[0], folder)
        return
    with ExitStack() as stack:
        places = [folder.path / str(number) for number in range(len(experiments))]
        replicas = [stack.enter_context(RunFolder.reopen(place)) for place in places]
        for one, own in zip(experiments, replicas, strict=True):
            _load_best(one, own)  # before the numbers of any are replaced
        for one, own in zip(experiments, replicas, strict=True):
            _evaluate_again(one, own)


def _evaluate_again(experiment: Experiment, folder: RunFolder) -> None:
    screen = Screen()
    saved = Run(folder.path)
    old = saved.results
    try:
        json_text(old)  # most of it is written again
    except ValueError:
        file = folder.path / "results.json"
        raise ValueError(f"{file}: expected finite numbers, found one that is not") from None
    if experiment.config.plots and not saved.history:  # they show the learning curves
        file = folder.path / "metrics.csv"
        raise ValueError(f"{file}: expected a row of numbers per epoch, found none")
    results = evaluate_best(experiment, folder, screen)
    folder.results({**old, **results, **about(experiment)})
    draw(experiment, folder, screen)
    screen.results(results, str(folder.path))
    pictures = ", plots/" if experiment.config.plots else ""
    screen.note(f"replaced in {folder.path}: results.json, latents.npz{pictures}")


def evaluate_best(experiment: Experiment, folder: RunFolder, screen: Screen) -> dict:
    """Return the test metrics of the best checkpoint and write its latents.

    Raises:
        Diverged: when one of them is not finite.
    """
    seed, task = experiment.config.seed, experiment.task
    model, data = experiment.model, experiment.data
    best_epoch = _load_best(experiment, folder)
    generator = stream(experiment.device, seed, "evaluation")
    settings = build.evaluation(experiment.config)
    results = task.evaluate(model, data, settings, generator, partial(screen.work, "evaluating"))
    _check_finite(results, best_epoch)
    of_latents, latents = task.inspect(model, data, results["test/kl"], generator, seed)
    results |= of_latents
    _report_collapse(results, screen)
    arrays = {name: values.cpu().numpy() for name, values in latents.items()}
    _write_arrays(folder.path / "latents.npz", arrays | data.naming)
    return results | {"best_epoch": best_epoch}


def _load_best(experiment: Experiment, folder: RunFolder) -> int:
    """Put the best checkpoint into the model; return the number of its epoch."""
    path = folder.path / "checkpoints" / "best.pt"
    state = checkpoint.load(path, experiment.device)
    checkpoint.check_best(state, path)
    checkpoint.check_data(state, experiment.data, path)
    checkpoint.restore_model(state, experiment.model, path)
    return state["epoch"]


def _check_finite(results: dict, best_epoch: int) -> None:
    for name, value in results.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} of the best checkpoint, of epoch {best_epoch}, is {value}")


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getbuffer())


def _report_collapse(results: dict, screen: Screen) -> None:
    if results["collapse"] == "posterior":
        screen.note(
            f"posterior collapse: a KL of {results['test/kl']:.3f} nats is less than one bit, the "
            "latent vectors tell hardly anything about the observations"
        )
    if results["collapse"] == "dimensions":
        active = results["test/active_dimensions"]
        screen.note(f"collapsed dimensions: fewer than half are active ({active})")


def draw(experiment: Experiment, folder: RunFolder, screen: Screen) -> list[Path]:
    """Draw what can be drawn of a run, where `plots` says so; return the pictures.

    Its numbers are written by now: they do not depend on whether matplotlib can be had.
    """
    if not experiment.config.plots:
        return []
    model, data, saved = experiment.model, experiment.data, Run(folder.path)
    generator = stream(experiment.device, experiment.config.seed, "plots")
    try:
        figures = experiment.task.figures(model, data, saved.history, saved.latents, generator)
        return plots.write(figures, folder.path / "plots", screen.note)
    except Exception as error:
        screen.note(f"the figures are left out ({told(error)})")
        log.info("what they failed with", exc_info=error)
        return []


def draw_epoch(
    experiment: Experiment, learner: Learner, folder: RunFolder, screen: Screen
) -> list[Path]:
    """Draw what can be drawn of a model in training, as it is validated; return the pictures."""
    model, data, epoch = experiment.model, experiment.data, learner.last.number
    generator = stream(experiment.device, experiment.config.seed, "glimpses", epoch)
    with averaged(learner.optimizer):
        figures = experiment.task.glimpses(model, data, generator)
        return plots.write(figures, folder.path / "plots", screen.note)


def about(experiment: Experiment) -> dict:
    """Return what the numbers may depend on besides the configuration."""
    data = experiment.data
    hashes = {"data_hash": data.data_hash, "split_hash": data.split_hash}
    return {**circumstances(experiment.device), **hashes}
