"""How far a run has come: in memory after every epoch, on disk within seconds."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from svae.recording import checkpoint
from svae.recording.checkpoint import State
from svae.recording.folder import RUNNING, RunFolder, written_status
from svae.recording.table import Table
from svae.training.averaging import averaged_state
from svae.training.learner import Epoch

_SAVE_EVERY = 1.0  # seconds
_SHARE = 1 / 50  # of the time at most goes into saving: what takes longer is done less often


class Pace:
    """Says when to save what is in memory: short epochs, as of a graph, are saved together."""

    def __init__(self):
        self._ended, self._took = -math.inf, 0.0

    def is_due(self, runs: int = 1) -> bool:
        """Tell whether it is time; `runs` side by side together save as often as one does."""
        pause = _SAVE_EVERY * max(runs, self._took / _SHARE)
        return time.monotonic() - self._ended >= pause

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure what the block takes."""
        began = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._took = self._ended - began


class Progress:
    """The state of a run after its last good epoch.

    Each epoch is copied as it ends: what interrupts or spoils the next one cannot touch it. The
    truth on disk is last.pt with those rows of metrics.csv that it names; best.pt and status.json
    follow from it.

    Args:
        model, optimizer: what is trained.
        about: what best.pt says besides the tensors: features and likelihood.
        folder: where it is kept.
    """

    def __init__(self, model, optimizer, about: dict, folder: RunFolder):
        self.model, self.optimizer, self._about, self._folder = model, optimizer, about, folder
        # replaced as a whole and never altered: a signal may come between any two instructions
        self.state = State(checkpoint.tensors(model, optimizer))
        self._copies: list[dict] = []  # that of the last good epoch, and one to write the next into
        self._made: list[dict] = []  # the epochs of before, until the run begins
        # what is on disk
        self._table, self._saved_best = Table(folder.path / "metrics.csv"), 0

    def restore(self) -> None:
        """Take over what the folder holds, or nothing where no epoch was made; writes nothing.

        Raises:
            checkpoint.Unusable: when it is missing, damaged or of another model.
        """
        path = self._folder.path / "checkpoints" / "last.pt"
        if path.exists():
            state = checkpoint.restore(path, self.model, self.optimizer)
            self.state, self._made = replace(state, rows=[]), state.rows
        elif epoch := written_status(self._folder.path).epoch:
            raise checkpoint.Unusable(f"{path}: is missing, expected that of epoch {epoch}")

    def begin(self) -> list[dict]:
        """Say that the run is at work; return the metrics of the epochs that were made.

        What follows from last.pt is written anew, and metrics.csv without the rows behind its own.
        """
        rows, self._made = self._made, []
        if rows:
            self._table = self._table.appended(rows)
            self._write_derived()
        else:
            self._folder.status(RUNNING)
        return rows

    def keep(self, epoch: Epoch) -> None:
        """Take over an epoch that has just ended, in memory."""
        spare = next((own for own in self._copies if own is not self.state.tensors), None)
        tensors = checkpoint.tensors(self.model, self.optimizer, spare)
        self._copies = [self.state.tensors, tensors]
        row = {"epoch": epoch.number, **epoch.metrics}
        best = self.state.best
        if epoch.improved:
            averages = averaged_state(self.model, self.optimizer)
            best = {"model": averages, "epoch": epoch.number, **self._about}
        self.state = State(tensors, epoch, [*self._unsaved(), row], self.state.restarts, best)

    def save(self) -> list[dict]:
        """Write what is not on disk yet; return the rows of metrics that are now safe."""
        rows = self._unsaved()
        if rows:
            table = self._table.appended(rows)
            checkpoint.save(self._folder.checkpoints / "last.pt", self.state.content(table))
            self._write_derived()
            self._table = table
        return rows

    def _unsaved(self) -> list[dict]:
        return [row for row in self.state.rows if row["epoch"] > self._table.rows]

    def rewind(self) -> None:
        """Go back to the end of the last good epoch, to go on with fresh random streams."""
        checkpoint.put_back(self.state, self.model, self.optimizer)
        self.state = replace(self.state, restarts=self.state.restarts + 1)

    def _write_derived(self) -> None:
        """Write what follows from last.pt; a kill may have come between the one and the other."""
        state, folder = self.state, self._folder
        if state.best["epoch"] != self._saved_best:
            checkpoint.save(folder.checkpoints / "best.pt", state.best)
        folder.status(RUNNING, state.epoch.number)
        self._saved_best = state.best["epoch"]
