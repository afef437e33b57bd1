"""Runs from objects to results: train, save, evaluate, draw; one run, or replicas side by side.

Replicas differ in the seed alone. The folder of all holds a complete run folder for each, RUN/0,
RUN/1, ...: that of a run of its seed alone.
"""

import copy
import io
import logging
import math
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from svae import build, plots
from svae.data.splits import DataSet
from svae.metrics.catalogue import of
from svae.models import protocol
from svae.models.stack import stack_models
from svae.recording import checkpoint, signals
from svae.recording.circumstances import circumstances
from svae.recording.console import Bar, Screen
from svae.recording.files import write_atomically
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from svae.recording.opening import opening
from svae.recording.progress import Pace, Progress
from svae.recording.saved import saved_overrides
from svae.recording.wandb import WandbRun
from svae.run import Run, state_of
from svae.tasks import Graph, Vectors, task_of
from svae.training.guard import Diverged
from svae.training.learner import Learner
from svae.training.loop import train
from svae.training.streams import stream

log = logging.getLogger("svae")

_MOST_RESTARTS = 3


@dataclass
class Experiment:
    """Everything a run needs, built and checked before the run folder is made."""

    config: DictConfig
    device: torch.device
    data: DataSet
    model: torch.nn.Module
    task: Vectors | Graph


def prepare(config: DictConfig, turn: int = 0) -> list[Experiment]:
    """Build data and model, of replicas for the seeds `seed`, `seed` + 1, ..., `trainer.replicas`.

    Of several GPUs take that whose `turn` it is.

    Raises:
        ValueError: when a value, a file or the device is not to be had, or the network cannot be
            stacked.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    count = config.trainer.get("replicas", 1)
    if count == 1:
        return [_prepare(config, turn)]
    configs = [_of_replica(config, number) for number in range(count)]
    first = _prepare(configs[0], turn)
    experiments = [first]
    for own in configs[1:]:
        data = first.data if _dataset(own) == _dataset(config) else None
        experiments.append(_prepare(own, turn, data))
    stack = stack_models([one.model for one in experiments])
    protocol.dry_run(stack, first.data, count)
    return experiments


def _prepare(config: DictConfig, turn: int, data: DataSet | None = None) -> Experiment:
    device = build.device(config.device, turn)
    data = data or build.data(config)
    model = build.model(config, data.spec).to(device)
    data = data.to(device)
    protocol.dry_run(model, data)
    task = task_of(data.spec.kind, model, config.trainer.get("bound", "elbo"))
    return Experiment(config, device, data, model, task)


def _of_replica(config: DictConfig, number: int) -> DictConfig:
    """Return the configuration of a replica: that of a run alone."""
    own = copy.deepcopy(config)
    own.seed, own.trainer.replicas, own.resume = config.seed + number, 1, None
    return own


def _dataset(config: DictConfig) -> dict:
    return OmegaConf.to_container(config.dataset, resolve=True)


def run(
    experiments: list[Experiment], folder: RunFolder, group: str | None, resumed: bool
) -> float:
    """Train to the end, evaluate the best checkpoints; return the mean of the best objectives.

    A replica that fails does not stop the others.

    Raises:
        checkpoint.Unusable: when a run to continue has no good checkpoint; nothing was changed.
        Diverged: when a number is not finite and no restart is left; whatever else can be done is
            done by then.
    """
    screen = Screen(quiet=group is not None)  # of a sweep, its overview is shown
    count = len(experiments)
    words = f", one for each of {count} replicas in it" if count > 1 else ""
    screen.note(f"run folder: {folder.path}{words}")
    first = experiments[0]
    screen.open(opening(first.config, first.device, first.data, first.model))
    with ExitStack() as stack:
        if count == 1:
            state = INTERRUPTED if resumed else None
            runs = [_Training(experiments[0], folder, state, group, screen)]
        else:
            group = group or "-".join(folder.path.parts[-2:])
            places = [_replica(one, folder.path, n, resumed) for n, one in enumerate(experiments)]
            runs = [
                _Training(one, stack.enter_context(own), state, group, screen, is_replica=True)
                for one, (own, state) in zip(experiments, places, strict=True)
            ]
        folder.status(RUNNING)
        for one in runs:
            stack.enter_context(one)
        _train(runs, folder, screen)
        for one in runs:
            one.conclude()
    for one in runs:
        if one.failure is not None:
            raise one.failure
    folder.status(FINISHED)
    return sum(one.learner.last.best_value for one in runs) / len(runs)


def evaluate_again(experiments: list[Experiment], folder: RunFolder) -> None:
    """Evaluate the best checkpoint, of every replica, with the present settings.

    Raises:
        checkpoint.Unusable, ValueError: when a file of the run is missing or damaged.
        Diverged: when a number is not finite.
    """
    if len(experiments) == 1:
        _evaluate_again(experiments[0], folder)
        return
    for number, one in enumerate(experiments):
        with RunFolder.reopen(folder.path / str(number)) as own:
            _evaluate_again(one, own)


def _replica(
    own: Experiment, path: Path, number: int, resumed: bool
) -> tuple[RunFolder, str | None]:
    """Return the folder of a replica, and in which state it was, None if it begins."""
    place = path / str(number)
    if resumed and (state := state_of(place)) is not None:
        return RunFolder.reopen(place), state
    new = {"seed": own.config.seed, "trainer.replicas": 1}
    typed = [line for line in saved_overrides(path) if line.split("=")[0].lstrip("+") not in new]
    typed += [f"{key}={value}" for key, value in new.items()]
    return RunFolder.renew(place, own.config, typed), None


def _train(runs: list["_Training"], folder: RunFolder, screen: Screen) -> None:
    """Run the epochs that are left; the screen shows the means over the replicas."""
    learners = [one.learner for one in runs]
    done, pace = min(learner.last.number for learner in learners), Pace()
    with screen.training(done, learners[0].settings.max_epochs) as bar:
        try:
            for group in train(learners, bar.steps):
                for one in runs:
                    if one.learner in group:
                        one.keep()
                if pace.is_due(len(group)):  # all at once, so that a kill leaves them in step
                    for one in runs:
                        one.save()
                _show(bar, group)
                signals.check()
        finally:
            for one in runs:
                one.save()
            folder.status(RUNNING, max(learner.last.number for learner in learners))


def _show(bar: Bar, group: list[Learner]) -> None:
    """Show the means of the metrics; of the seconds, which replicas share, the sum."""
    # one that restarts in its first epoch has none yet
    rows = [own.last for own in group if own.failure is None and own.last.number]
    if not rows:
        return
    means = {n: sum(row.metrics[n] for row in rows) / len(rows) for n in rows[0].metrics}
    means["seconds"] = sum(row.metrics["seconds"] for row in rows)
    best = sum(row.best_value for row in rows) / len(rows)
    bar.epoch(rows[0].number, means, of(group[0].settings.objective).text(best))


class _Training:
    """One of the runs: its folder, its W&B run, and how far it has come.

    `state` is that in which its folder was, None for a run that begins.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        state: str | None,
        group: str | None,
        screen: Screen,
        is_replica: bool = False,
    ):
        self.folder, self._experiment, self._group = folder, experiment, group
        self._screen, self._is_replica = screen, is_replica
        self._progress = _progress(experiment, folder, resumed=state is not None)
        kept = self._progress.state
        self.learner = Learner(
            experiment.model,
            self._progress.optimizer,
            experiment.data,
            build.training(experiment.config),
            experiment.task,
            kept.epoch,
            kept.restarts,
        )
        self.failure: Diverged | None = None
        # not in a finished replica without epochs to come
        self._is_due = state != FINISHED or self.learner.goes_on
        self._wandb_run, self._results, self._images = None, None, []

    def __enter__(self) -> "_Training":
        self.folder.status(RUNNING if self._is_due else FINISHED)  # to restore it has written to it
        if self._is_due:
            history, say = self._progress.state.history, self._screen.note
            arguments = (self._experiment.config, self._group, history, say)
            self._wandb_run = WandbRun(self.folder.path, *arguments)
        return self

    def __exit__(self, *exception) -> None:
        if self._wandb_run is None:
            return
        if self._results is None and self.failure is None:
            with suppress(OSError):
                self.folder.status(INTERRUPTED)
        self._wandb_run.finish(self._results, self._images)

    def keep(self) -> None:
        """Take over what the learner's epoch gave: the epoch, or a failure to go back from."""
        learner = self.learner
        if learner.failure is None:
            self._progress.keep(learner.last)
            return
        self.save()  # before its status says that it has failed
        restarts, settings = self._progress.state.restarts + 1, learner.settings
        if settings.on_nan == "stop" or restarts > _MOST_RESTARTS:
            self._fail(Diverged(str(learner.failure), restarts - 1))
            return
        self._progress.rewind()
        words = f"seed {settings.seed}: " if self._is_replica else ""
        self._screen.note(
            f"{words}{learner.failure}: restart {restarts} of at most {_MOST_RESTARTS}, "
            f"from epoch {learner.last.number}"
        )
        learner.restarts, learner.failure = restarts, None

    def save(self) -> None:
        for row in self._progress.save():  # safe on disk before W&B hears of it
            self._wandb_run.log(row)

    def conclude(self) -> None:
        """Evaluate the best checkpoint and draw, where training has come to its end."""
        if self.failure is not None or not self._is_due:
            return
        last, settings = self.learner.last, self.learner.settings
        early = "stopped early after " if last.number < settings.max_epochs else ""
        self._screen.note(
            f"{early}{last.number} epochs, best {settings.objective} {last.best_value:.5g} "
            f"in epoch {last.best_epoch}"
        )
        own, folder, screen = self._experiment, self.folder, self._screen
        try:
            results = _evaluate_best(own, folder, screen)
        except Diverged as failure:
            self._fail(failure)
            return
        seconds = sum(row["seconds"] for row in self._progress.state.history)
        about = {"epochs": last.number, "seconds": seconds, "restarts": self.learner.restarts}
        results |= about | _split(own)
        folder.results(results)
        self._images = _draw(own, folder, screen)
        folder.status(FINISHED)
        screen.results(results, str(folder.path))
        self._results = results

    def _fail(self, failure: Diverged) -> None:
        self.failure = failure
        if self._is_replica:  # of a run alone the one who runs it writes it down
            log.error("%s failed", self.folder.path, exc_info=failure)
            self.folder.status(FAILED, error=str(failure))
            self.failure = Diverged(f"{self.folder.path}: {failure}", failure.restarts)


def _progress(experiment: Experiment, folder: RunFolder, *, resumed: bool) -> Progress:
    """Return the state of a run, with its optimiser: that of its folder if it was `resumed`."""
    if resumed and (saved := folder.path / "checkpoints" / "last.pt").exists():
        checkpoint.load(saved)  # a damaged one is reported before the optimiser takes its second
    spec = experiment.data.spec
    about = {
        "features": spec.features,
        "likelihood": protocol.saved_name(spec.likelihood),
        "image_shape": spec.image_shape and [int(number) for number in spec.image_shape],
    }
    optimizer = build.optimizer(experiment.config, experiment.model)
    progress = Progress(experiment.model, optimizer, about, folder)
    if resumed:
        progress.restore()
    return progress


def _evaluate_again(experiment: Experiment, folder: RunFolder) -> None:
    screen = Screen()
    saved = Run(folder.path)
    old = saved.results
    if experiment.config.plots and not saved.history:  # they show the learning curves
        file = folder.path / "metrics.csv"
        raise ValueError(f"{file}: expected a row of numbers per epoch, found none")
    results = _evaluate_best(experiment, folder, screen)
    folder.results({**old, **results, **_split(experiment)})
    _draw(experiment, folder, screen)
    screen.results(results, str(folder.path))


def _evaluate_best(experiment: Experiment, folder: RunFolder, screen: Screen) -> dict:
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
    _write_arrays(folder.path / "latents.npz", latents)
    return results | {"best_epoch": best_epoch}


def _load_best(experiment: Experiment, folder: RunFolder) -> int:
    """Put the best checkpoint into the model; return the number of its epoch."""
    path = folder.path / "checkpoints" / "best.pt"
    state = checkpoint.load(path, experiment.device)
    checkpoint.check_best(state, path)
    checkpoint.restore_model(state, experiment.model, path)
    return state["epoch"]


def _check_finite(results: dict, best_epoch: int) -> None:
    for name, value in results.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} of the best checkpoint, of epoch {best_epoch}, is {value}")


def _write_arrays(path: Path, arrays: dict[str, torch.Tensor]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: values.cpu().numpy() for name, values in arrays.items()})
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


def _draw(experiment: Experiment, folder: RunFolder, screen: Screen) -> list[Path]:
    if not experiment.config.plots:
        return []
    model, data, saved = experiment.model, experiment.data, Run(folder.path)
    generator = stream(experiment.device, experiment.config.seed, "plots")
    figures = experiment.task.figures(model, data, saved.history, saved.latents, generator)
    return plots.write(figures, folder.path / "plots", screen.note)


def _split(experiment: Experiment) -> dict:
    return {**circumstances(experiment.device), "split": experiment.data.split_hash}
