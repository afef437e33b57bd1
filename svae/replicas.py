"""Runs of one configuration that differ in the seed alone, trained side by side.

The folder of all holds a complete run folder for each, RUN/0, RUN/1, ...: that of a run of its seed
alone. The functions are those of `experiment`, for several runs.
"""

import contextlib
import copy
import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from svae import build, experiment
from svae.experiment import Experiment
from svae.models import protocol
from svae.models.stack import stack_models
from svae.recording import signals
from svae.recording.console import Screen
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from svae.recording.progress import Pace
from svae.recording.saved import saved_overrides
from svae.run import state_of
from svae.training.guard import Diverged
from svae.training.stack import Learner, train_together

log = logging.getLogger("svae")


def prepare(config: DictConfig, turn: int = 0) -> list[Experiment]:
    """Build data and models for the seeds `seed`, `seed` + 1, ..., `trainer.replicas` of them.

    Raises:
        ValueError: when something is not to be had, or the network cannot be stacked.
    """
    configs = [_of(config, number) for number in range(config.trainer.replicas)]
    first = experiment.prepare(configs[0], turn)
    experiments = [first]
    for own in configs[1:]:
        data = first.data if _dataset(own) == _dataset(config) else None
        experiments.append(experiment.prepare(own, turn, data))
    stack = stack_models([one.model for one in experiments])
    protocol.dry_run_stacked(stack, first.data, len(experiments))
    return experiments


def run(
    experiments: list[Experiment], folder: RunFolder, group: str | None, resumed: bool
) -> float:
    """Train all to the end and evaluate them; return the mean of their best objectives.

    A replica that fails does not stop the others.

    Raises:
        checkpoint.Unusable: when a run to continue has no good checkpoint.
        Diverged: when all that can be done is done, and a replica has failed.
    """
    screen = Screen(quiet=group is not None)
    folder.status(RUNNING)
    screen.note(f"run folder: {folder.path}, one for each of {len(experiments)} replicas in it")
    group = group or "-".join(folder.path.parts[-2:])
    with contextlib.ExitStack() as stack:
        replicas = [
            stack.enter_context(_Replica(one, folder.path, number, group, resumed, screen))
            for number, one in enumerate(experiments)
        ]
        _train(replicas, folder, screen)
        for replica in replicas:
            replica.conclude()
    for replica in replicas:
        if replica.failure is not None:
            failure = replica.failure
            raise Diverged(f"{replica.folder.path}: {failure}", failure.restarts)
    folder.status(FINISHED)
    return sum(replica.learner.last.best_value for replica in replicas) / len(replicas)


def evaluate_again(experiments: list[Experiment], folder: RunFolder) -> None:
    """Evaluate the best checkpoint of every replica with the present settings."""
    for number, one in enumerate(experiments):
        with RunFolder.reopen(folder.path / str(number)) as own:
            experiment.evaluate_again(one, own)


def _of(config: DictConfig, number: int) -> DictConfig:
    """Return the configuration of a replica: that of a run alone."""
    own = copy.deepcopy(config)
    own.seed, own.trainer.replicas, own.resume = config.seed + number, 1, None
    return own


def _overrides(path: Path, config: DictConfig) -> list[str]:
    """Return what a person would have typed for a replica of the folder `path`."""
    own = {"seed": config.seed, "trainer.replicas": 1}
    typed = [line for line in saved_overrides(path) if line.split("=")[0].lstrip("+") not in own]
    return [*typed, *(f"{key}={value}" for key, value in own.items())]


def _dataset(config: DictConfig) -> dict:
    return OmegaConf.to_container(config.dataset, resolve=True)


def _train(replicas: list["_Replica"], folder: RunFolder, screen: Screen) -> None:
    """Run the epochs that are left; the screen shows the means over the replicas."""
    learners = [replica.learner for replica in replicas]
    done, pace = min(learner.last.number for learner in learners), Pace()
    with screen.training(done, learners[0].settings.max_epochs) as bar:
        try:
            for group in train_together(learners):
                for replica in replicas:
                    if replica.learner in group:
                        replica.keep()
                if pace.is_due(len(group)):  # all at once, so that a kill leaves them in step
                    for replica in replicas:
                        replica.save()
                # one that restarts in its first epoch has none yet
                if fine := [own.last for own in group if own.failure is None and own.last.number]:
                    bar.epoch(fine[0].number, _means([epoch.metrics for epoch in fine]))
                signals.check()
        finally:
            for replica in replicas:
                replica.save()
            folder.status(RUNNING, max(learner.last.number for learner in learners))


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every metric; of the seconds, which replicas share, the sum."""
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return means | {"seconds": sum(row["seconds"] for row in rows)}


class _Replica:
    """One of the runs: its folder, its W&B run, and how far it has come."""

    def __init__(
        self,
        own: Experiment,
        path: Path,
        number: int,
        group: str,
        resumed: bool,
        screen: Screen,
    ):
        self._experiment, self._screen = own, screen
        self.folder, self._state = self._open(path, path / str(number), resumed)
        self._progress = experiment.new_progress(own, self.folder)
        if self._state is not None:
            self._progress.restore()
        state = self._progress.state
        self.learner = Learner(
            self._progress.model,
            self._progress.optimizer,
            own.data,
            build.training(own.config),
            state.epoch,
            state.restarts,
        )
        self._wandb_run = None
        self._results, self._images = None, []
        if not self._is_due:  # to restore it has written that it runs
            self.folder.status(FINISHED)
        if self._is_due:
            self.folder.status(RUNNING)
            self._wandb_run = experiment.open_wandb(own, self.folder, group, state.history, screen)

    def _open(self, path: Path, own: Path, resumed: bool) -> tuple[RunFolder, str | None]:
        state = state_of(own) if resumed else None
        if state is not None:
            return RunFolder.reopen(own), state
        config = self._experiment.config
        return RunFolder.renew(own, config, _overrides(path, config)), None

    @property
    def failure(self) -> Diverged | None:
        return self.learner.failure

    @property
    def _is_due(self) -> bool:
        """Whether there is anything to do: not in a finished run without epochs to come."""
        return self._state != FINISHED or self.learner.goes_on

    def keep(self) -> None:
        """Take over what the learner's epoch gave."""
        learner = self.learner
        if learner.failure is None:
            self._progress.keep(learner.last)
            return
        self.save()  # before its status says that it has failed
        try:
            named = Diverged(f"seed {learner.settings.seed}: {learner.failure}")
            experiment.restart(self._progress, learner.settings, named, self._screen)
        except Diverged as failure:
            learner.failure = Diverged(str(learner.failure), failure.restarts)
            self._fail(failure)
        else:
            learner.restarts, learner.failure = self._progress.state.restarts, None

    def save(self) -> None:
        for row in self._progress.save():
            self._wandb_run.log(row)

    def conclude(self) -> None:
        """Evaluate the best checkpoint, unless the replica has failed or had finished before."""
        if self.failure is not None or self._wandb_run is None:
            return
        try:
            arguments = (self._experiment, self.folder, self._progress, self._screen)
            self._results, self._images = experiment.conclude(*arguments)
        except Diverged as failure:
            self.learner.failure = failure
            self._fail(failure)

    def _fail(self, failure: Diverged) -> None:
        log.error("%s failed", self.folder.path, exc_info=failure)
        self.folder.status(FAILED, error=str(failure))

    def __enter__(self) -> "_Replica":
        return self

    def __exit__(self, *exception) -> None:
        if self._wandb_run is not None:
            if self._results is None and self.failure is None:
                with contextlib.suppress(OSError):
                    self.folder.status(INTERRUPTED)
            self._wandb_run.finish(self._results, self._images, int(self._results is None))
        self.folder.close()
