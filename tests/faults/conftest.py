"""Runs of five epochs, to be disturbed."""

import pytest

from tests.conftest import QUICK
from tests.faults.runs import EPOCHS, outcome
from tests.support.forked import Done, Program


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
    return outcome(tmp_path / "whole")
