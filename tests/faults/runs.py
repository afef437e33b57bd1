"""What a run with a fault is compared with, and how it is watched."""

import contextlib
import json
import time
from pathlib import Path

import torch

from svae.recording import table
from svae.run import Run
from tests.support.forked import Done, Program

EPOCHS = 5
# the files of a run, and which one of the name is written after some epochs
WRITTEN = (
    *(("last.pt", 3), ("best.pt", 2), ("metrics.csv", 1), ("status.json", 4)),
    *(("latents.npz", 1), ("results.json", 1)),
)


def outcome(folder: Path) -> dict:
    """Everything a run has computed: the same seed gives the same, to the bit."""
    last, best = (
        torch.load(folder / "checkpoints" / name, weights_only=True)
        for name in ("last.pt", "best.pt")
    )
    results = json.loads((folder / "results.json").read_text())
    # a file of the checkout may be altered while the tests are at work
    differing = ("seconds", "commit")
    return {
        "tensors": [*_tensors(last), *_tensors(best)],
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder)],
        "results": {k: v for k, v in results.items() if k not in differing},
        "restarts": last["restarts"],
    }


def rows_of(folder: Path) -> list[dict]:
    """Return the rows of the table that last.pt names."""
    last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    return table.read(folder / "metrics.csv", **last["table"])


def _tensors(content) -> list[bytes]:
    if isinstance(content, torch.Tensor):
        return [content.numpy().tobytes()]
    parts = content.values() if isinstance(content, dict) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def wait_for_epoch(process: Program, folder: Path, epoch: int) -> None:
    deadline = time.monotonic() + 100
    while True:
        with contextlib.suppress(OSError, ValueError):
            if status(folder)["epoch"] >= epoch:
                return
        assert process.is_alive
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_whole(folder: Path, resumed: Done, whole: dict) -> None:
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(folder) == whole
    assert status(folder) == {"state": "finished", "epoch": EPOCHS, "error": None}
    assert not list(folder.rglob(".*.tmp"))


def check_loadable(folder: Path, epoch: int) -> None:
    """What was computed up to `epoch` is kept."""
    last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert last["epoch"]["number"] >= epoch
    assert len(rows_of(folder)) == last["epoch"]["number"]
    assert len(Run(folder).history) >= last["epoch"]["number"]  # a checkpoint may be missing
