"""One job in whatever process a launcher chose: what ends it, and who hears of it."""

import math

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from svae.cli import job
from svae.recording.folder import INTERRUPTED, RunFolder, read_status
from tests.support.swept import CONFIG


@pytest.mark.parametrize(("launcher", "raises"), [("basic", True), ("joblib", False)])
def test_a_request_to_stop_ends_the_program_but_not_the_workers_sweep(
    tmp_path, monkeypatch, launcher, raises
):
    def stopped(*arguments):
        raise job.Interrupted(143, "terminated")

    choices = {"hydra/launcher": launcher, "hydra/sweeper": "basic"}
    runtime = {"choices": choices, "cwd": str(tmp_path), "output_dir": str(tmp_path / "0")}
    runtime["config_sources"] = []
    known = {"runtime": runtime, "job": {"num": 0}, "overrides": {"task": []}}
    hydra = OmegaConf.create({"hydra": known})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra.hydra)
    monkeypatch.setattr(job.signals, "install", lambda: None)
    monkeypatch.setattr(job, "_job", stopped)
    if raises:
        with pytest.raises(job.Interrupted):
            job.of_sweep(CONFIG)
    else:
        assert math.isnan(job.of_sweep(CONFIG))


def test_an_interrupted_job_leaves_it_to_the_sweep_to_say_how_to_go_on(tmp_path):
    def work():
        raise job.Interrupted(143, "terminated")

    with RunFolder.claim(tmp_path, CONFIG, []) as folder:
        with pytest.raises(job.Interrupted) as interrupted:
            job._guarded(folder, work, "svae-train resume=it")
        assert interrupted.value.text == "terminated"
        assert read_status(folder.path).state == INTERRUPTED


def test_a_run_whose_time_on_slurm_is_up_is_interrupted_and_not_failed(tmp_path):
    class UncompletedJobError(RuntimeError):
        """As submitit raises it in the middle of whatever the job is doing."""

    def work():
        raise UncompletedJobError("timed-out too many times")

    with RunFolder.claim(tmp_path, CONFIG, []) as folder:
        with pytest.raises(UncompletedJobError):
            job._guarded(folder, work, "")
        assert read_status(folder.path).state == INTERRUPTED
