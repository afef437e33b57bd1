"""A W&B that answers nothing, nonsense or errors, or dies in mid-run, never takes a run down."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.conftest import QUICK
from tests.support import hooks
from tests.support.forked import Program
from tests.support.wandb_server import Server

pytestmark = pytest.mark.slow
KEY = "a" * 40


@pytest.fixture
def begin(tiny, tmp_path, environment):
    def begin(server: Server, before=None) -> Program:
        data = ("dataset=array", f"dataset.file={tiny}", *QUICK, "trainer.max_epochs=4")
        online = ("plots=false", "logger.mode=online", "hydra.run.dir=r")
        account = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}
        return Program([*data, *online], tmp_path, environment | account, before)

    return begin


def _check_finished(tmp_path, done) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    assert status == {"state": "finished", "epoch": 4, "error": None}
    assert len((tmp_path / "r" / "metrics.csv").read_text().splitlines()) == 5
    for file in (tmp_path / "r").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("behaviour", ["silent", "garbage", "failing"])
def test_a_server_that_cannot_be_used_makes_the_run_offline(begin, tmp_path, behaviour):
    with Server(behaviour) as server:
        done = begin(server).wait(200)
    _check_finished(tmp_path, done)
    assert "W&B cannot be reached" in done.stdout
    assert list((tmp_path / "r" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_server_that_dies_in_mid_run_keeps_nobody_waiting(begin, tmp_path):
    with Server("working") as server:
        process = begin(server, hooks.slow)
        _wait_for_metrics(tmp_path)
        server.behaviour = "failing"
        done = process.wait(200)
    _check_finished(tmp_path, done)
    assert "logging to W&B stopped" in done.stdout


def test_a_service_that_is_killed_in_mid_run_is_done_without(begin, tmp_path):
    with Server("working") as server:
        process = begin(server, hooks.slow)
        _wait_for_metrics(tmp_path)
        found = ["pgrep", "-P", str(process.pid), "-f", "wandb-core"]
        children = subprocess.run(found, capture_output=True, text=True, check=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        done = process.wait(200)
    assert children
    _check_finished(tmp_path, done)
    assert "logging to W&B stopped" in done.stdout


def _wait_for_metrics(tmp_path) -> None:
    deadline = time.monotonic() + 100
    while not (tmp_path / "r" / "metrics.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
