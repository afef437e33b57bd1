"""Requests to stop a run: nothing is lost, and what is said is true."""

import shlex
import signal
import time

import pytest

from tests.faults.runs import EPOCHS, check_loadable, check_whole, status, wait_for_epoch
from tests.support import hooks
from tests.support.forked import Program


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "the terminal was closed"),
    ],
)
@pytest.mark.slow
def test_a_request_to_stop_keeps_all(start, resume, whole, tmp_path, number, code, words):
    process = start(before=hooks.slow)
    wait_for_epoch(process, tmp_path / "r", 2)
    process.send(number)
    done = process.wait()
    assert done.returncode == code
    assert done.stderr == f"svae-train: {words}; continue with: svae-train resume={tmp_path}/r\n"
    assert status(tmp_path / "r")["state"] == "interrupted"
    check_loadable(tmp_path / "r", 2)
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_the_command_that_continues_repeats_what_was_typed(start, tmp_path, environment):
    assert start().wait().returncode == 0
    line = ["resume=r", f"trainer.max_epochs={EPOCHS + 3}", "logger.tags=[a,b]"]
    process = Program(line, tmp_path, environment, hooks.slow)
    wait_for_epoch(process, tmp_path / "r", EPOCHS + 1)
    process.send(signal.SIGTERM)
    command = shlex.split(process.wait().stderr.partition("continue with: ")[2])
    assert command == ["svae-train", f"resume={tmp_path}/r", *line[1:]]
    done = Program(command[1:], tmp_path, environment).wait()
    assert done.returncode == 0, done.stderr
    assert status(tmp_path / "r")["epoch"] == EPOCHS + 3


def test_a_request_that_python_drops_is_heard_all_the_same(start, resume, whole, tmp_path):
    done = start(before=hooks.swallowed_signal).wait()
    assert "Exception ignored in" in done.stderr
    assert done.returncode == 143
    assert status(tmp_path / "r") == {"state": "interrupted", "epoch": 2, "error": None}
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_a_second_request_ends_at_once_without_a_traceback(start, resume, whole, tmp_path):
    process = start(before=hooks.slow_end)
    wait_for_epoch(process, tmp_path / "r", 2)
    process.send(signal.SIGINT)
    time.sleep(1)
    process.send(signal.SIGINT)
    done = process.wait(20)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "code"), [(hooks.signal_in_evaluation, 130), (hooks.signal_in_plots, 143)]
)
def test_a_request_after_the_last_epoch_is_heard(start, resume, whole, tmp_path, hook, code):
    done = start(before=hook).wait()
    assert done.returncode == code
    assert status(tmp_path / "r")["epoch"] == EPOCHS
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_a_job_in_the_background_ignores_what_it_was_told_to(start, tmp_path):
    process = start(before=hooks.slow_and_deaf)
    wait_for_epoch(process, tmp_path / "r", 2)
    process.send(signal.SIGHUP)
    process.send(signal.SIGINT)
    assert process.wait().returncode == 0
