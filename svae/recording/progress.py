"""How far a run has come: in memory after every epoch, on disk within seconds."""

import math
import time
from dataclasses import replace

from svae.recording import checkpoint
from svae.recording.checkpoint import State
from svae.recording.files import write_table
from svae.recording.folder import RUNNING, RunFolder, written_status
from svae.training.averaging import averaged_state
from svae.training.learner import Epoch

_SAVE_EVERY = 1.0  # seconds, of which saving takes less than a tenth


class Pace:
    """Says when to save what is in memory: short epochs, as of a graph, are saved together."""

    def __init__(self):
        self._last = -math.inf

    def is_due(self, runs: int = 1) -> bool:
        """Tell whether it is time; `runs` side by side together save as often as one does."""
        now = time.monotonic()
        if now - self._last < _SAVE_EVERY * runs:
            return False
        self._last = now
        return True


class Progress:
    """The state of a run after its last good epoch.

    Each epoch is copied as it ends: what interrupts or spoils the next one cannot touch it. The
    truth on disk is last.pt, one file; best.pt, metrics.csv and status.json follow from it.

    Args:
        model, optimizer: what is trained.
        about: what best.pt says besides the tensors: features and likelihood.
        folder: where it is kept.
    """

    def __init__(self, model, optimizer, about: dict, folder: RunFolder):
        self.model, self.optimizer, self._about, self._folder = model, optimizer, about, folder
        # replaced as a whole and never altered: a signal may come between any two instructions
        self.state = State(checkpoint.tensors(model, optimizer))
        self._saved = self._saved_best = 0  # numbers of epochs

    def restore(self) -> None:
        """Take over what last.pt holds, or nothing where no epoch was made; writes nothing.

        Raises:
            checkpoint.Unusable: when it is missing, damaged or of another model.
        """
        path = self._folder.path / "checkpoints" / "last.pt"
        if path.exists():
            self.state = checkpoint.restore(path, self.model, self.optimizer)
            self._saved = self.state.epoch.number
        elif epoch := written_status(self._folder.path).epoch:
            raise checkpoint.Unusable(f"{path}: is missing, expected that of epoch {epoch}")

    def begin(self) -> None:
        """Say that the run is at work; what follows from last.pt is written anew."""
        if self.state.history:
            self._write_derived()
        else:
            self._folder.status(RUNNING)

    def keep(self, epoch: Epoch) -> None:
        """Take over an epoch that has just ended, in memory."""
        tensors = checkpoint.tensors(self.model, self.optimizer)
        row = {"epoch": epoch.number, **epoch.metrics}
        best = self.state.best
        if epoch.improved:
            averages = averaged_state(self.model, self.optimizer)
            best = {"model": averages, "epoch": epoch.number, **self._about}
        history = [*self.state.history, row]
        self.state = State(tensors, epoch, history, self.state.restarts, best)

    def save(self) -> list[dict]:
        """Write what is not on disk yet; return the rows of metrics that are now safe."""
        rows = self.state.history[self._saved :]
        if rows:
            checkpoint.save(self._folder.checkpoints / "last.pt", self.state.content())
            self._write_derived()
        return rows

    def rewind(self) -> None:
        """Go back to the end of the last good epoch, to go on with fresh random streams."""
        checkpoint.put_back(self.state, self.model, self.optimizer)
        self.state = replace(self.state, restarts=self.state.restarts + 1)

    def _write_derived(self) -> None:
        """Write what follows from last.pt; a kill may have come between the one and the other."""
        state, folder = self.state, self._folder
        if state.best["epoch"] != self._saved_best:
            checkpoint.save(folder.checkpoints / "best.pt", state.best)
        write_table(folder.path / "metrics.csv", state.history, last="seconds")
        folder.status(RUNNING, state.epoch.number)
        self._saved, self._saved_best = state.epoch.number, state.best["epoch"]
