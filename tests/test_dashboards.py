"""What is shown on Weights & Biases: a workspace and a sweep, as far as goes without a network."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from svae.cli import plan
from svae.recording.wandb import WandbRun

DASHBOARDS = Path(__file__).parent.parent / "dashboards"


# of wandb-workspaces itself
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_workspace_has_the_panels_that_people_want():
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    from dashboards.workspace import workspace

    spec = json.dumps(workspace("someone", "svae")._to_model().model_dump(mode="json"))
    for name in (
        "train/elbo",
        "val/elbo",
        "val/kl",
        "train/acceptance_rate",
        "train/concentration_mean",
        "test/log_likelihood",
        "latent_dim",
        "plots/samples",
    ):
        assert name in spec, name


def test_the_sweep_starts_what_the_program_accepts(tmp_path, monkeypatch):
    """With each value of every parameter, as an agent writes them: key=value."""
    monkeypatch.chdir(tmp_path)
    sweep = yaml.safe_load((DASHBOARDS / "sweep.yaml").read_text())
    assert sweep["command"][0] == "svae-train"
    # which tests/recording/test_wandb.py finds in the summary
    assert sweep["metric"] == {"name": "best/val/elbo", "goal": "maximize"}
    fixed = sweep["command"][1:-1]
    for key, space in sweep["parameters"].items():
        for value in space.get("values", [space.get("min"), space.get("max")]):
            line = shlex.join([*fixed, f"{key}={value}"])
            args = get_args_parser().parse_intermixed_args(shlex.split(line))
            assert plan.plan(args).overrides[-1] == f"{key}={value}"


@pytest.mark.slow
def test_the_commands_for_an_offline_sweep_find_its_runs(tmp_path, environment):
    """Those of docs/sweeps.md: wandb sync DIR/*/wandb/offline-run-*, and wandb leet."""
    settings = {"mode": "offline", "project": "p", "entity": None, "tags": [], "artifacts": False}
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        logger = {**settings, "name": f"vmf-d10-s{number}"}
        config = OmegaConf.create({"seed": number, "logger": logger})
        run = WandbRun(tmp_path / str(number), config, "group", [])
        run.log({"epoch": 1, "val/elbo": -2.0})
        run.finish({"test/elbo": -3.5}, [])
    wandb.teardown()

    def answer(*words):
        command = [sys.executable, "-m", "wandb", *map(str, words)]
        options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": environment}
        done = subprocess.run(command, check=True, timeout=120, **options)
        return done.stdout + done.stderr

    files = sorted(tmp_path.glob("*/wandb/offline-run-*"))
    told = answer("sync", "--dry-run", *files)
    assert "Would sync 2 run(s)" in told
    assert all(file.name in told for file in files)
    summary = answer("leet", "inspect", "--summary", tmp_path / "1" / "wandb")
    assert "vmf-d10-s1" in summary
    assert "-3.5" in summary
