"""What real runs send to W&B: offline, to a server, and under an agent."""

import json
import shutil

import numpy as np
import pytest

import svae
from svae.recording.saved import read_history
from tests.conftest import QUICK
from tests.support.forked import Program
from tests.support.wandb_file import read_records
from tests.support.wandb_server import Server

pytestmark = pytest.mark.slow


def test_pictures_and_the_model_of_a_run_that_trains_as_without_them(svae_train, tmp_path):
    line = ("latent_dim=2", "trainer.max_epochs=3")
    more = ("logger.images_every=2", "logger.artifacts=true", "hydra.run.dir=r")
    done = svae_train(*line, *more)
    assert done.returncode == 0, done.stderr
    alone = ("logger.mode=disabled", "plots=false", "hydra.run.dir=alone")
    assert svae_train(*line, *alone).returncode == 0
    rows, others = read_history(tmp_path / "r"), read_history(tmp_path / "alone")
    assert [row | {"seconds": 0} for row in rows] == [row | {"seconds": 0} for row in others]

    records, results = read_records(tmp_path / "r"), svae.Run(tmp_path / "r").results
    pictures = {"plots/latent", "plots/samples", "plots/reconstructions"}
    by_step = {row["_step"]: {key.rsplit(".")[0] for key in row} for row in records.history}
    assert not pictures & by_step[1]
    assert pictures <= by_step[2]
    assert "plots/curves" not in by_step[2]
    assert {*pictures, "plots/curves", "latents/sphere"} <= by_step[3]
    assert "latents/table" in by_step[4]
    assert (records.config["model"], records.config["dataset"]) == ("vmf", "array")
    assert all(records.summary[name] == value for name, value in results.items() if "/" in name)
    assert records.summary["seconds"] == results["seconds"]
    assert records.summary["best/val/elbo"] == max(row["val/elbo"] for row in rows)

    (files,) = (files for name, files in records.artifacts.items() if name.startswith("model-"))
    for name in files:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "r" / name, tmp_path / "copy" / name)
    model, _ = svae.load(tmp_path / "copy")
    assert model.latent.manifold.dim == 2
    assert not (tmp_path / ".local").exists()  # nothing of it lies in the home folder

    done = svae_train("resume=r", "trainer.max_epochs=4", quick=False)
    assert done.returncode == 0, done.stderr
    records = read_records(tmp_path / "r")
    assert records.epochs == [1, 2, 3, 4]
    times = np.diff([row["_timestamp"] for row in records.history[:3]])
    assert times == pytest.approx([row["seconds"] for row in rows[1:]], rel=1e-3)


def test_a_run_of_an_agent_is_the_one_that_the_agent_has_begun(tiny, tmp_path, environment):
    """Whatever is typed for the project: W&B takes that of the agent."""
    given = {"SWEEP_ID": "s1", "RUN_ID": "given1", "PROJECT": "of-the-agent", "ENTITY": "e"}
    data = ("dataset=array", f"dataset.file={tiny}", *QUICK, "plots=false", "hydra.run.dir=r")
    with Server("working") as server:
        account = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": server.url}
        agent = {f"WANDB_{name}": value for name, value in given.items()}
        done = Program([*data, "logger.project=p"], tmp_path, environment | account | agent).wait(
            200
        )
        asked = [json.loads(body) for _, body in server.requests if b"UpsertBucket" in body]
    assert done.returncode == 0, done.stderr
    assert "W&B" not in done.stdout + done.stderr
    assert (tmp_path / "r" / "wandb" / "run-id").read_text().startswith("given1\n")
    first = asked[0]["variables"]
    assert (first["name"], first["sweep"], first["project"]) == ("given1", "s1", "of-the-agent")
    assert json.loads(first["config"])["model"] == {"value": "vmf"}
