"""One job in whatever process a launcher chose: what ends it, and who hears of it."""

import math
from argparse import Namespace

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from svae.cli import job
from svae.cli.plan import Single
from svae.configuration.messages import Refused
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


@pytest.mark.parametrize(
    ("version", "has_driver", "lacks"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", True, True),
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", False, True),
        ("cuda = '13.0'\n", True, False),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", False, False),
    ],
    ids=["for the CPU", "without a driver", "with a driver", "of AMD"],
)
def test_a_gpu_that_is_surely_not_there_is_refused_without_torch(
    tmp_path, monkeypatch, version, has_driver, lacks
):
    def opened(name):
        if not has_driver:
            raise OSError(name)

    (tmp_path / "version.py").write_text(version)
    monkeypatch.setattr(job, "find_spec", lambda _: Namespace(origin=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(job.ctypes, "CDLL", opened)
    monkeypatch.setattr(job.sys, "platform", "linux")
    asked = []
    monkeypatch.setattr(job, "_kind", lambda config: asked.append(config) or 1 / 0)
    config = OmegaConf.merge(CONFIG, {"device": "cuda:1"})
    plan = Single("start", tmp_path, config, [], ())
    with pytest.raises(Refused if lacks else ZeroDivisionError):
        job._single(plan)
    assert asked == [config] * (not lacks)
