"""Runs that are killed, at any moment, go on to the same bits."""

import random
import signal
from collections import Counter
from functools import partial

import pytest
import torch

from svae.recording.folder import read_status
from svae.run import Run
from tests.faults.runs import EPOCHS, WRITTEN, check_whole, outcome, rows_of, status
from tests.support import hooks


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), WRITTEN)
@pytest.mark.parametrize("moment", [hooks.killed_in_write, hooks.killed_before_rename])
def test_a_kill_in_a_write(start, resume, whole, tmp_path, moment, name, count):
    assert start(before=partial(moment, name, count)).wait().returncode == -signal.SIGKILL
    assert list((tmp_path / "r").rglob(".*.tmp"))
    assert read_status(tmp_path / "r").state == "interrupted"
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_kill_in_an_append(start, resume, whole, tmp_path, kept, count):
    """Of the row, so much is on the disk; of last.pt, nothing."""
    done = start(before=partial(hooks.killed_in_append, kept, count)).wait()
    assert done.returncode == -signal.SIGKILL
    rows = Run(tmp_path / "r").history  # reads the rows that are whole
    assert len(rows) == count + (kept == 1.0)
    assert len(rows_of(tmp_path / "r")) == count
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [2, 300])
def test_a_run_whose_table_was_cut_is_refused(start, resume, tmp_path, lost):
    assert start().wait().returncode == 0
    file = tmp_path / "r" / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-lost])
    refused = resume("r", f"trainer.max_epochs={EPOCHS + 1}")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"svae-train: {file}: ")
    assert "expected the file as the run left it" in refused.stderr
    assert status(tmp_path / "r")["state"] == "finished"


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_goes_on(start, resume, whole, tmp_path):
    """Its last.pt holds the rows themselves, and metrics.csv may be behind."""
    killed = start(before=partial(hooks.killed_in_append, 1.0, 2)).wait()
    assert killed.returncode == -signal.SIGKILL
    last = tmp_path / "r" / "checkpoints" / "last.pt"
    content = torch.load(last, weights_only=True) | {"history": rows_of(tmp_path / "r")}
    del content["table"]
    torch.save(content, last)
    (tmp_path / "r" / "metrics.csv").unlink()
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hook",
    [
        hooks.killed_between_last_and_best,
        hooks.killed_in_evaluation,
        hooks.killed_in_plots,
    ],
    ids=lambda hook: hook.__name__,
)
def test_a_kill_at_the_worst_moment(start, resume, whole, tmp_path, hook):
    assert start(before=hook).wait().returncode == -signal.SIGKILL
    assert read_status(tmp_path / "r").state == "interrupted"
    check_whole(tmp_path / "r", resume(), whole)


def test_the_best_is_never_from_the_future(start, resume, tmp_path):
    assert start(before=hooks.killed_between_last_and_best).wait().returncode == -signal.SIGKILL
    assert resume("r", "trainer.max_epochs=1").returncode == 0
    last, best = (
        torch.load(tmp_path / "r" / "checkpoints" / name, weights_only=True)
        for name in ("last.pt", "best.pt")
    )
    assert best["epoch"] == last["epoch"]["best_epoch"] <= last["epoch"]["number"]


def test_a_kill_while_the_folder_is_claimed_leaves_it_free(start, whole, tmp_path):
    assert start(before=hooks.killed_in_claim).wait().returncode == -signal.SIGKILL
    check_whole(tmp_path / "r", start().wait(), whole)
    assert not (tmp_path / "r-1").exists()


# of ten kills each; the first is among the slow tests, too
BATCHES = [pytest.param(0, marks=pytest.mark.slow), *range(1, 20)]
KILLED = (
    (),
    ("sampler.gradient=corrected", "sampler.baseline=mean"),
    ("model=normal",),
    ("model=power_spherical",),
)


@pytest.mark.kills
@pytest.mark.parametrize("batch", BATCHES)
def test_kills_at_random_moments(start, resume, tmp_path, batch):
    moments, asked, epochs = random.Random(batch), KILLED[batch % len(KILLED)], Counter()
    undisturbed = start("whole", *asked, before=hooks.every_epoch_saved)
    longest = undisturbed.work()
    assert undisturbed.wait().returncode == 0
    whole = outcome(tmp_path / "whole")
    for number in range(10):
        folder = tmp_path / f"r{number}"
        process = start(folder.name, *asked, before=hooks.every_epoch_saved)
        process.work(moments.triangular(0.0, longest, longest))  # half of it is the start
        process.send(signal.SIGKILL)
        assert process.wait().returncode in (0, -signal.SIGKILL)
        # it may have been killed before its folder was a run, or after its end
        begun = (folder / "status.json").exists()
        epochs[status(folder)["epoch"] if begun else "none"] += 1
        done = resume(folder.name) if begun else start(folder.name, *asked).wait()
        check_whole(folder, done, whole)
    print(f"epochs on disk at the kill: {dict(epochs)}, {longest:.2f} s of processor time")
