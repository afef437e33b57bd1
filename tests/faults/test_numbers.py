"""Numbers that are not finite and memory that is not there: told, and gone round where asked."""

import json

import pytest

from tests.faults.runs import check_loadable, check_whole, outcome, status
from tests.support import hooks


@pytest.mark.slow
def test_a_bad_number_is_told_and_a_restart_goes_round_it(start, resume, tmp_path):
    done = start(before=hooks.bad_loss_once).wait()
    assert done.returncode == 1
    assert "train/loss is nan in epoch 3, step 2 of 7 (concentration" in done.stderr
    assert f"resume={tmp_path}/r trainer.on_nan=restart" in done.stderr
    assert status(tmp_path / "r")["state"] == "failed"
    check_loadable(tmp_path / "r", 2)

    done = start("s", "trainer.on_nan=restart", before=hooks.bad_loss_once).wait()
    assert done.returncode == 0, done.stderr
    assert "restart 1 of at most 3, from epoch 2" in done.stdout
    assert json.loads((tmp_path / "s" / "results.json").read_text())["restarts"] == 1
    again = start("t", "trainer.on_nan=restart", before=hooks.bad_loss_once).wait()
    assert again.returncode == 0
    assert outcome(tmp_path / "t") == outcome(tmp_path / "s")
    # the failed one is no worse off: it continues as the other has
    assert resume("r", "trainer.on_nan=restart").returncode == 0


@pytest.mark.slow
def test_a_bad_gradient_is_told(start, resume, whole, tmp_path):
    done = start(before=hooks.bad_gradient).wait()
    assert done.returncode == 1
    assert "is inf in epoch 3, step 1 of 7 (concentration" in done.stderr or (
        "is nan in epoch 3, step 1 of 7 (concentration" in done.stderr
    )
    check_loadable(tmp_path / "r", 2)
    check_whole(tmp_path / "r", resume(), whole)


@pytest.mark.slow
def test_three_restarts_are_the_most(start, tmp_path):
    done = start("r", "trainer.on_nan=restart", "trainer.learning_rate=1e30").wait()
    assert done.returncode == 1
    assert "restart 3 of at most 3" in done.stdout
    assert "restart 4" not in done.stdout
    assert "3 restarts did not help, begin again with a smaller" in done.stderr
    assert "on_nan=restart" not in done.stderr
    assert status(tmp_path / "r")["state"] == "failed"


@pytest.mark.slow
def test_a_bad_number_in_the_evaluation_fails_the_run(start, tmp_path):
    done = start(before=hooks.bad_evaluation).wait()
    assert done.returncode == 1
    assert "test/log_likelihood of the best checkpoint, of epoch 5, is -inf" in done.stderr
    assert status(tmp_path / "r")["state"] == "failed"
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
    check_loadable(tmp_path / "r", 2)
    check_whole(tmp_path / "r", resume(), whole)
