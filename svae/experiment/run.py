"""Training of one run, or of replicas side by side, with all that it leaves on disk and in W&B."""

import logging
from contextlib import ExitStack, suppress
from pathlib import Path

from svae import build
from svae.experiment import evaluation
from svae.experiment.prepare import Experiment
from svae.metrics.catalogue import of
from svae.models import protocol
from svae.recording import checkpoint, signals
from svae.recording.claim import state_of
from svae.recording.console import Bar, Screen
from svae.recording.folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    RunFolder,
    written_status,
)
from svae.recording.opening import opening
from svae.recording.progress import Pace, Progress
from svae.recording.saved import saved_overrides
from svae.recording.wandb import WandbRun
from svae.run import Run
from svae.training.guard import Diverged
from svae.training.learner import Learner
from svae.training.loop import train

log = logging.getLogger("svae")

_MOST_RESTARTS = 3
_FINISHED = (
    "the run had finished, no epoch is left to train: resume= goes on with a larger "
    "trainer.max_epochs or trainer.patience, evaluate= measures again"
)


def run(
    experiments: list[Experiment],
    folder: RunFolder,
    group: str | None,
    resumed: bool,
    quiet: bool = False,
) -> float:
    """Train to the end, evaluate the best checkpoints; return the mean of the best objectives.

    A replica that fails does not stop the others. If `quiet`, nothing is shown; nor is it of the
    `group` of a sweep, which has an overview.

    Raises:
        checkpoint.Unusable: when a run to continue has no good checkpoint; nothing was changed.
        Diverged: when a number is not finite and no restart is left; whatever else can be done is
            done by then.
    """
    screen = Screen(quiet=quiet or group is not None)
    had_finished = resumed and written_status(folder.path).state == FINISHED
    first, count = experiments[0], len(experiments)
    words = f", one for each of {count} replicas in it" if count > 1 else ""
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
        if count > 1:  # of one alone it is written below
            folder.status(RUNNING)
        screen.note(f"run folder: {folder.path}{words}")
        screen.open(opening(first.config, first.device, first.data, first.model))
        if had_finished and not any(one.learner.goes_on for one in runs):
            screen.note(_FINISHED)
        for one in runs:
            stack.enter_context(one)
        try:
            _train(runs, screen)
        finally:
            if count > 1:
                folder.status(RUNNING, max(one.learner.last.number for one in runs))
        for one in runs:
            one.conclude()
    for one in runs:
        if one.failure is not None:
            raise one.failure
    if count > 1:
        folder.status(FINISHED)
    return sum(one.learner.last.best_value for one in runs) / len(runs)


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


def _train(runs: list["_Training"], screen: Screen) -> None:
    """Run the epochs that are left; the screen shows the means over the replicas."""
    learners = [one.learner for one in runs]
    done, pace = min(learner.last.number for learner in learners), Pace()
    with screen.training(done, learners[0].settings.max_epochs) as bar:
        try:
            for group in train(learners, bar.steps):
                for one in runs:
                    if one.learner in group:
                        one.keep()
                pictured = [one for one in runs if one.learner in group and one.is_pictured]
                # all at once, so that a kill leaves them in step
                if pace.is_due(len(group)) or pictured:
                    with pace.saving():
                        for one in runs:
                            one.save()
                for one in pictured:
                    one.draw()
                _show(bar, group)
                signals.check()
        finally:
            for one in runs:
                one.save()


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
        self._images_every = experiment.config.logger.images_every
        # not in a finished replica without epochs to come
        self._is_due = state != FINISHED or self.learner.goes_on
        self._wandb_run, self._results, self._images = None, None, []

    def __enter__(self) -> "_Training":
        if self._is_due:
            history = self._progress.begin()
            arguments = (self._experiment.config, self._group, history, self._screen.note)
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

    @property
    def is_pictured(self) -> bool:
        """Whether its last epoch is one of those of which pictures are sent to W&B."""
        every = self._images_every
        return bool(every) and self.failure is None and self.learner.last.number % every == 0

    def draw(self) -> None:
        """Send pictures of the last epoch, of which W&B has the numbers."""
        images = evaluation.draw_epoch(self._experiment, self.learner, self.folder, self._screen)
        self._wandb_run.show(self.learner.last.number, images)

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
            results = evaluation.evaluate_best(own, folder, screen)
        except Diverged as failure:
            self._fail(failure)
            return
        seconds = Run(folder.path).seconds
        about = {"epochs": last.number, "seconds": seconds, "restarts": self.learner.restarts}
        results |= about | evaluation.about(own)
        folder.results(results)
        self._images = evaluation.draw(own, folder, screen)
        signals.check()
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
    best = None
    if resumed and (saved := folder.path / "checkpoints" / "last.pt").exists():
        # a damaged one is reported before the optimiser takes its second
        best = checkpoint.load(saved).get("best")
        checkpoint.check_data(best, experiment.data, saved)
    spec = experiment.data.spec
    about = {
        "features": spec.features,
        "likelihood": protocol.saved_name(spec.likelihood),
        "image_shape": spec.image_shape and [int(number) for number in spec.image_shape],
        "classes": spec.classes,
        "data_hash": experiment.data.data_hash,
        "split_hash": experiment.data.split_hash,
    }
    if spec.kind == "vectors":
        # those that the run began with: its codec takes and gives the same all along
        about["units"] = best.get("units") if best else experiment.data.units.saved()
    optimizer = build.optimizer(experiment.config, experiment.model)
    progress = Progress(experiment.model, optimizer, about, folder)
    if resumed:
        progress.restore()
    return progress
