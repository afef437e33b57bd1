"""Whatever goes wrong while a run is at work: nothing is lost, and what is said is true."""

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from svae.run import read_status
from tests import hooks
from tests.conftest import QUICK
from tests.forked import Done, Program

EPOCHS = 5


@pytest.fixture
def start(tiny, tmp_path, environment):
    """Start a run of five epochs in `tmp_path/name`, or what `arguments` say instead."""

    def begin(name: str = "r", *arguments: str, before=None, **variables: str) -> Program:
        data = ("dataset=array", f"dataset.file={tiny}", *QUICK, f"trainer.max_epochs={EPOCHS}")
        quiet = ("plots=false", "logger.mode=disabled", f"hydra.run.dir={name}")
        return Program([*data, *quiet, *arguments], tmp_path, environment | variables, before)

    return begin


@pytest.fixture
def resume(tmp_path, environment):
    def again(name: str = "r", *arguments: str) -> Done:
        return Program([f"resume={name}", *arguments], tmp_path, environment).wait()

    return again


@pytest.fixture
def whole(start, tmp_path) -> dict:
    """What a run without a fault gives."""
    done = start("whole").wait()
    assert done.returncode == 0, done.stderr
    return _outcome(tmp_path / "whole")


def _outcome(folder: Path) -> dict:
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
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in last["history"]],
        "results": {k: v for k, v in results.items() if k not in differing},
        "restarts": last["restarts"],
    }


def _tensors(content) -> list[bytes]:
    if isinstance(content, torch.Tensor):
        return [content.numpy().tobytes()]
    parts = content.values() if isinstance(content, dict) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def _wait_for_epoch(process: Program, folder: Path, epoch: int) -> None:
    deadline = time.monotonic() + 100
    while True:
        with contextlib.suppress(OSError, ValueError):
            if _status(folder)["epoch"] >= epoch:
                return
        assert process.is_alive
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _check_whole(folder: Path, resumed: Done, whole: dict) -> None:
    assert resumed.returncode == 0, resumed.stderr
    assert _outcome(folder) == whole
    assert _status(folder) == {"state": "finished", "epoch": EPOCHS, "error": None}
    assert not list(folder.rglob(".*.tmp"))


def _check_loadable(folder: Path, epoch: int) -> None:
    """What was computed up to `epoch` is kept."""
    last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert last["epoch"]["number"] >= epoch
    assert len(last["history"]) == last["epoch"]["number"]
    assert len((folder / "metrics.csv").read_text().splitlines()) == len(last["history"]) + 1


# ---- requests to stop


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "the terminal was closed"),
    ],
)
def test_a_request_to_stop_keeps_all(start, resume, whole, tmp_path, number, code, words):
    process = start(before=hooks.slow)
    _wait_for_epoch(process, tmp_path / "r", 2)
    process.send(number)
    done = process.wait()
    assert done.returncode == code
    assert done.stderr == f"svae-train: {words}; continue with: svae-train resume={tmp_path}/r\n"
    assert _status(tmp_path / "r")["state"] == "interrupted"
    _check_loadable(tmp_path / "r", 2)
    _check_whole(tmp_path / "r", resume(), whole)


def test_the_command_that_continues_repeats_what_was_typed(start, tmp_path, environment):
    assert start().wait().returncode == 0
    line = ["resume=r", f"trainer.max_epochs={EPOCHS + 3}", "logger.tags=[a,b]"]
    process = Program(line, tmp_path, environment, hooks.slow)
    _wait_for_epoch(process, tmp_path / "r", EPOCHS + 1)
    process.send(signal.SIGTERM)
    command = shlex.split(process.wait().stderr.partition("continue with: ")[2])
    assert command == ["svae-train", f"resume={tmp_path}/r", *line[1:]]
    done = Program(command[1:], tmp_path, environment).wait()
    assert done.returncode == 0, done.stderr
    assert _status(tmp_path / "r")["epoch"] == EPOCHS + 3


def test_a_request_that_python_drops_is_heard_all_the_same(start, resume, whole, tmp_path):
    done = start(before=hooks.swallowed_signal).wait()
    assert "Exception ignored in" in done.stderr
    assert done.returncode == 143
    assert _status(tmp_path / "r") == {"state": "interrupted", "epoch": 2, "error": None}
    _check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_a_second_request_ends_at_once_without_a_traceback(start, resume, whole, tmp_path):
    process = start(before=hooks.slow_end)
    _wait_for_epoch(process, tmp_path / "r", 2)
    process.send(signal.SIGINT)
    time.sleep(1)
    process.send(signal.SIGINT)
    done = process.wait(20)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    _check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "code"), [(hooks.signal_in_evaluation, 130), (hooks.signal_in_plots, 143)]
)
def test_a_request_after_the_last_epoch_is_heard(start, resume, whole, tmp_path, hook, code):
    done = start(before=hook).wait()
    assert done.returncode == code
    assert _status(tmp_path / "r")["epoch"] == EPOCHS
    _check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_a_job_in_the_background_ignores_what_it_was_told_to(start, tmp_path):
    process = start(before=hooks.slow_and_deaf)
    _wait_for_epoch(process, tmp_path / "r", 2)
    process.send(signal.SIGHUP)
    process.send(signal.SIGINT)
    assert process.wait().returncode == 0


# ---- SIGKILL


# the files of a run, and which one of the name is written after some epochs
WRITTEN = (
    *(("last.pt", 3), ("best.pt", 2), ("metrics.csv", 3), ("status.json", 4)),
    *(("latents.npz", 1), ("results.json", 1)),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), WRITTEN)
@pytest.mark.parametrize("moment", [hooks.killed_in_write, hooks.killed_before_rename])
def test_a_kill_in_a_write(start, resume, whole, tmp_path, moment, name, count):
    assert start(before=partial(moment, name, count)).wait().returncode == -signal.SIGKILL
    assert list((tmp_path / "r").rglob(".*.tmp"))
    assert read_status(tmp_path / "r")["state"] == "interrupted"
    _check_whole(tmp_path / "r", resume(), whole)


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
    assert read_status(tmp_path / "r")["state"] == "interrupted"
    _check_whole(tmp_path / "r", resume(), whole)


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
    _check_whole(tmp_path / "r", start().wait(), whole)
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
    whole = _outcome(tmp_path / "whole")
    for number in range(10):
        folder = tmp_path / f"r{number}"
        process = start(folder.name, *asked, before=hooks.every_epoch_saved)
        process.work(moments.triangular(0.0, longest, longest))  # half of it is the start
        process.send(signal.SIGKILL)
        assert process.wait().returncode in (0, -signal.SIGKILL)
        # it may have been killed before its folder was a run, or after its end
        begun = (folder / "status.json").exists()
        epochs[_status(folder)["epoch"] if begun else "none"] += 1
        done = resume(folder.name) if begun else start(folder.name, *asked).wait()
        _check_whole(folder, done, whole)
    print(f"epochs on disk at the kill: {dict(epochs)}, {longest:.2f} s of processor time")


# ---- the disk


@contextlib.contextmanager
def _small_disk(path: Path, size: str):
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs to be allowed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_from_there(start, resume, whole, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        process = start("disk/r", before=hooks.slow)
        _wait_for_epoch(process, tmp_path / "disk/r", 2)
        filler = tmp_path / "disk" / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as stream:
            while True:
                stream.write(bytes(4096))
                stream.flush()
        done = process.wait()
        assert done.returncode == 1
        assert done.stderr.startswith("svae-train: the disk is full (")
        assert f"continue with: svae-train resume={tmp_path}/disk/r" in done.stderr
        assert "Traceback" not in done.stderr
        status = _status(tmp_path / "disk/r")
        assert (status["state"], status["error"]) == ("failed", "the disk is full")
        _check_loadable(tmp_path / "disk/r", 2)
        filler.unlink()
        _check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), WRITTEN)
def test_a_disk_that_fills_before_a_file_is_written(start, resume, whole, tmp_path, name, count):
    with _small_disk(tmp_path / "disk", "16m"):
        done = start("disk/r", before=partial(hooks.full_disk, name, count)).wait()
        assert done.returncode == 1
        assert done.stderr.startswith("svae-train: the disk is full (")
        assert "Traceback" not in done.stderr
        assert _status(tmp_path / "disk/r")["state"] == "failed"
        # what follows from last.pt may be behind it
        last = torch.load(tmp_path / "disk/r/checkpoints/last.pt", weights_only=True)
        assert last["epoch"]["number"] >= min(count, 2)
        (tmp_path / "disk" / "filler").unlink()
        _check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


def test_a_disk_that_is_full_from_the_start_is_told(start, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        done = start("disk/r", before=partial(hooks.full_disk, "overrides.yaml", 1)).wait()
        assert done.returncode == 2
        assert done.stderr.endswith("cannot be written (No space left on device)\n")
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_is_told(start, resume, whole, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        # no disk can be made read-only under a process that has a lock on it: that part is played
        done = start("disk/r", before=hooks.read_only).wait()
        assert done.returncode == 1
        assert "has become read-only" in done.stderr
        _remount(tmp_path / "disk", "ro")
        refused = resume("disk/r")
        assert refused.returncode == 2
        assert "cannot be written" in refused.stderr
        _remount(tmp_path / "disk", "rw")
        _check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


def _remount(path: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(path)], check=True)


def test_a_vanished_folder_is_told(start, tmp_path):
    process = start(before=hooks.slow)
    _wait_for_epoch(process, tmp_path / "r", 2)
    (tmp_path / "r").rename(tmp_path / "elsewhere")
    done = process.wait()
    assert done.returncode == 1
    assert "a file or the run folder has vanished" in done.stderr
    assert "Traceback" not in done.stderr
    _check_loadable(tmp_path / "elsewhere", 2)


# ---- numbers and memory


def test_a_bad_number_is_told_and_a_restart_goes_round_it(start, resume, tmp_path):
    done = start(before=hooks.bad_loss_once).wait()
    assert done.returncode == 1
    assert "train/loss is nan in epoch 3, step 2 of 7 (concentration" in done.stderr
    assert f"resume={tmp_path}/r trainer.on_nan=restart" in done.stderr
    assert _status(tmp_path / "r")["state"] == "failed"
    _check_loadable(tmp_path / "r", 2)

    done = start("s", "trainer.on_nan=restart", before=hooks.bad_loss_once).wait()
    assert done.returncode == 0, done.stderr
    assert "restart 1 of at most 3, from epoch 2" in done.stdout
    assert json.loads((tmp_path / "s" / "results.json").read_text())["restarts"] == 1
    again = start("t", "trainer.on_nan=restart", before=hooks.bad_loss_once).wait()
    assert again.returncode == 0
    assert _outcome(tmp_path / "t") == _outcome(tmp_path / "s")
    # the failed one is no worse off: it continues as the other has
    assert resume("r", "trainer.on_nan=restart").returncode == 0


@pytest.mark.slow
def test_a_bad_gradient_is_told(start, resume, whole, tmp_path):
    done = start(before=hooks.bad_gradient).wait()
    assert done.returncode == 1
    assert "is inf in epoch 3, step 1 of 7 (concentration" in done.stderr or (
        "is nan in epoch 3, step 1 of 7 (concentration" in done.stderr
    )
    _check_loadable(tmp_path / "r", 2)
    _check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_three_restarts_are_the_most(start, tmp_path):
    done = start("r", "trainer.on_nan=restart", "trainer.learning_rate=1e30").wait()
    assert done.returncode == 1
    assert "restart 3 of at most 3" in done.stdout
    assert "restart 4" not in done.stdout
    assert _status(tmp_path / "r")["state"] == "failed"


@pytest.mark.slow
def test_a_bad_number_in_the_evaluation_fails_the_run(start, tmp_path):
    done = start(before=hooks.bad_evaluation).wait()
    assert done.returncode == 1
    assert "test/log_likelihood of the best checkpoint, of epoch 5, is -inf" in done.stderr
    assert _status(tmp_path / "r")["state"] == "failed"
    assert not (tmp_path / "r" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "hook", [hooks.out_of_gpu_memory, hooks.out_of_memory, hooks.little_memory]
)
def test_a_device_without_memory_is_told(start, resume, whole, tmp_path, hook):
    done = start(before=hook).wait()
    assert done.returncode == 1
    assert done.stderr.startswith("svae-train: out of memory: ")
    assert f"svae-train resume={tmp_path}/r" in done.stderr
    _check_loadable(tmp_path / "r", 2)
    _check_whole(tmp_path / "r", resume(), whole)
