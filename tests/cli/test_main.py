"""The program as a person meets it: run, interrupted, continued, swept, evaluated, refused."""

import csv
import json
import os
import platform
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import svae
from tests.conftest import QUICK, ROOT, run_folders
from tests.faults.runs import wait_for_epoch
from tests.support import hooks
from tests.support.forked import Program
from tests.support.wandb_file import read_records

FILES = (
    ".hydra/overrides.yaml",
    "config.yaml",
    "status.json",
    "metrics.csv",
    "results.json",
    "checkpoints/last.pt",
    "checkpoints/best.pt",
    "latents.npz",
    "plots/curves.png",
    "plots/latent.png",
    "plots/reconstructions.png",
    "plots/samples.png",
    "plots/spreads.png",
    "plots/interpolations.png",
    "svae-train.log",
)


QUIET = ("logger.mode=disabled", "plots=false")


def _only_run(path):
    (folder,) = run_folders(path)
    return folder


def _metrics(folder):
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def _parameters(path):
    return torch.load(path, weights_only=True)["model"]


def _status(folder):
    return json.loads((folder / "status.json").read_text())


def _head() -> str:
    """Return the commit of the checkout, nothing where the tests are in none."""
    command = ["git", "rev-parse", "HEAD"] if (ROOT / ".git").exists() else ["true"]
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


@pytest.mark.parametrize(
    "model",
    [
        "vmf",
        *(
            pytest.param(model, marks=pytest.mark.slow)
            for model in ("normal", "power_spherical", "scaled_vmf", "spherical_cauchy")
        ),
    ],
)
def test_a_run_leaves_what_the_contract_says(svae_train, tmp_path, model):
    done = svae_train(f"model={model}", "logger.tags=[first,second]")
    assert done.returncode == 0, done.stderr
    folder = _only_run(tmp_path)
    assert folder.parent.parent.name == "outputs"
    for name in FILES:
        assert (folder / name).is_file(), name
    assert _status(folder) == {"state": "finished", "epoch": 2, "error": None}

    rows = _metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["val/elbo"] > rows[0]["val/elbo"]
    for row in rows:
        assert row["train/elbo"] == pytest.approx(row["train/reconstruction"] - row["train/kl"])
        assert 0.65 < row["train/acceptance_rate"] <= 1

    results = _results(folder)
    assert results["test/log_likelihood"] > results["test/elbo"]
    assert (results["epochs"], results["best_epoch"], results["restarts"]) == (2, 2, 0)
    assert "test/concentration_mean" in results or model == "normal"
    assert results["test/knn_accuracy_100"] > 0.5
    assert 0 <= results["test/nmi"] <= 1
    assert results["versions"]["torch"] == torch.__version__
    assert results["versions"]["python"] == platform.python_version()
    assert re.fullmatch(r"cpu \(.+, 1 thread\)", results["device"])
    assert re.fullmatch("[0-9a-f]{64}", results["data_hash"])
    assert re.fullmatch("[0-9a-f]{64}", results["split_hash"])
    assert (results["commit"] or "").removesuffix("-dirty") == _head()

    with np.load(folder / "latents.npz") as latents:
        assert latents["loc"].shape == (50, 3 if model == "normal" else 4)
        assert latents["labels"].shape == (50,)
        assert ("concentration" in latents) == (model != "normal")
    for name in ("last.pt", "best.pt"):
        torch.load(folder / "checkpoints" / name, weights_only=True)

    records = read_records(folder)
    assert [{k: v for k, v in row.items() if k in rows[0]} for row in records.history[:2]] == rows
    assert records.epochs == [1, 2]
    assert records.exit_code == 0
    assert records.tags == ["first", "second"]
    assert records.metrics["val/*"] == "epoch"
    assert records.config["latent_dim"] == 3
    assert records.summary["test/elbo"] == results["test/elbo"]
    names = {name.split(".")[0] for row in records.history for name in row}
    assert {"plots/reconstructions", "plots/samples"} <= names

    assert str(folder) in done.stdout
    assert "epoch 2/2" in done.stdout
    assert "test/log_likelihood" in done.stdout
    told = f"test/log_likelihood {results['test/log_likelihood']:.4f}\n"
    assert told in (folder / "svae-train.log").read_text()
    assert "\x1b" not in done.stdout


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_and_another_does_not(svae_train, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        done = svae_train(f"seed={seed}", f"hydra.run.dir={name}", *QUIET)
        assert done.returncode == 0, done.stderr
    assert _metrics(tmp_path / "a") == _metrics(tmp_path / "b") != _metrics(tmp_path / "c")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sampler.gradient=corrected", "sampler.baseline=mean"],
        ["sampler.gradient=score", "sampler.baseline=leave_one_out", "trainer.samples=3"],
        ["sampler.gradient=pathwise"],
        ["sampler=inversion", "latent_dim=2"],
        ["precision=bf16", "latent_dim=1"],
    ],
    ids=lambda a: ",".join(a),
)
@pytest.mark.slow
def test_every_option_trains(svae_train, tmp_path, arguments):
    done = svae_train(*arguments, "logger.mode=disabled", "plots=false")
    assert done.returncode == 0, done.stderr
    folder = _only_run(tmp_path)
    rows = _metrics(folder)
    assert rows[1]["val/elbo"] > rows[0]["val/elbo"]
    assert not (folder / "plots").exists()
    assert not (folder / "wandb").exists()


def test_a_collapse_is_named(svae_train, tmp_path):
    weigh = ("trainer.kl_weight=1000", "trainer.warmup_epochs=0", "trainer.learning_rate=0.01")
    done = svae_train(*weigh, "model=normal", "logger.mode=disabled", "plots=false")
    assert done.returncode == 0, done.stderr
    results = _results(_only_run(tmp_path))
    assert results["collapse"] == "posterior"
    assert results["test/active_dimensions"] == 0
    assert "posterior collapse: a KL of" in done.stdout
    assert "posterior collapse: a KL of" in (_only_run(tmp_path) / "svae-train.log").read_text()


@pytest.mark.slow
def test_real_vectors_have_a_gaussian_likelihood(svae_train, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    np.savez(tmp_path / "v.npz", train=vectors)
    done = svae_train("dataset.file=v.npz", "logger.mode=disabled")
    assert done.returncode == 0, done.stderr
    model, _ = svae.load(_only_run(tmp_path))
    assert model.likelihood(model.prior().draw((2,)).value).mean.shape == (2, 5)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_an_interrupted_run_continues_bit_for_bit(
    svae_train, tiny, tmp_path, environment, number, code
):
    four = ("trainer.max_epochs=4", "plots=false")
    arguments = [f"dataset.file={tiny}", "dataset=array", *QUICK, *four, "hydra.run.dir=broken"]
    process, broken = Program(arguments, tmp_path, environment, hooks.slow), tmp_path / "broken"
    wait_for_epoch(process, broken, 2)
    process.send(number)
    done = process.wait()
    assert done.returncode == code
    assert 2 <= _status(broken)["epoch"] < 4
    if number != signal.SIGKILL:
        assert _status(broken)["state"] == "interrupted"
        assert f"svae-train resume={broken}" in done.stderr
        assert "Traceback" not in done.stderr

    before = (broken / "config.yaml").read_text(), (broken / ".hydra/overrides.yaml").read_text()
    done = svae_train("resume=broken", quick=False)
    assert done.returncode == 0, done.stderr
    assert svae_train(*four, "logger.mode=disabled", "hydra.run.dir=whole").returncode == 0
    whole = tmp_path / "whole"

    assert _metrics(broken) == _metrics(whole)
    for name in ("last.pt", "best.pt"):
        ours, theirs = (_parameters(folder / "checkpoints" / name) for folder in (broken, whole))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    ours, theirs = _results(broken), _results(whole)
    for key in theirs:
        assert key == "seconds" or ours[key] == theirs[key], key
    records = read_records(broken)
    assert records.epochs == [1, 2, 3, 4]
    assert len(records.ids) == 1
    after = (broken / "config.yaml").read_text(), (broken / ".hydra/overrides.yaml").read_text()
    assert after == before


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs(svae_train, tmp_path):
    assert svae_train("hydra.run.dir=short", *QUIET).returncode == 0
    assert svae_train("hydra.run.dir=long", *QUIET, "trainer.max_epochs=4").returncode == 0
    done = svae_train("resume=short", "trainer.max_epochs=4", quick=False)
    assert done.returncode == 0, done.stderr
    assert _metrics(tmp_path / "short") == _metrics(tmp_path / "long")
    done = svae_train("resume=short", "latent_dim=5", quick=False)
    assert done.returncode == 2
    assert "latent_dim=5: cannot be changed with resume=" in done.stderr


def test_a_run_in_use_is_refused(svae_train, tmp_path):
    from svae.recording.folder import RunFolder

    assert svae_train("hydra.run.dir=r", *QUIET).returncode == 0
    with RunFolder.reopen(tmp_path / "r"):
        done = svae_train("resume=r", quick=False)
    assert done.returncode == 2
    assert "another process" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"), [("trainer.max_epochs=2", True), ("trainer.max_epochs=3", False)], ids=str
)
def test_a_finished_run_that_is_resumed_says_so(svae_train, tmp_path, word, said):
    assert svae_train("hydra.run.dir=r", *QUIET).returncode == 0
    done = svae_train("resume=r", word, quick=False)
    assert done.returncode == 0, done.stderr
    assert ("the run had finished, no epoch is left to train" in done.stdout) == said


@pytest.mark.slow
def test_a_run_is_evaluated_again_and_loaded(svae_train, tmp_path):
    assert svae_train("hydra.run.dir=r", "logger.mode=disabled").returncode == 0
    folder = tmp_path / "r"
    first, rows = _results(folder), _metrics(folder)
    done = svae_train("evaluate=r", "evaluation.importance_samples=200", quick=False)
    assert done.returncode == 0, done.stderr
    assert f"replaced in {folder}: results.json, latents.npz" in done.stdout
    second = _results(folder)
    assert first["test/log_likelihood"] != second["test/log_likelihood"]
    assert first["test/elbo"] == pytest.approx(second["test/elbo"], abs=1)
    assert second["epochs"] == 2
    assert (first["importance_samples"], second["importance_samples"]) == (20, 200)
    assert _metrics(folder) == rows
    assert _status(folder)["state"] == "finished"

    model, config = svae.load(folder)
    assert config.latent_dim == 3
    posterior = model.posterior(torch.zeros(5, 64))
    assert model.likelihood(posterior.mode).mean.shape == (5, 64)
    same = svae.Run(folder).model().posterior(torch.zeros(5, 64))
    assert torch.equal(same.loc, posterior.loc)

    (folder / "checkpoints" / "best.pt").write_bytes(b"garbage")
    done = svae_train("evaluate=r", quick=False)
    assert done.returncode == 2
    assert "not a readable checkpoint" in done.stderr
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        svae.load(folder)


def test_a_sweep_makes_a_folder_per_job_and_one_wandb_run_each(svae_train, tmp_path):
    line = ("-m", "model=normal,vmf", "latent_dim=2,5", "trainer.max_epochs=1", "plots=false")
    done = svae_train(*line)
    assert done.returncode == 0, done.stderr
    folders = run_folders(tmp_path / "outputs" / "multirun")
    assert [folder.name for folder in folders] == ["0", "1", "2", "3"]
    records = [read_records(folder) for folder in folders]
    assert [record.epochs for record in records] == [[1]] * 4
    assert len({record.group for record in records}) == 1
    assert len(set().union(*(record.ids for record in records))) == 4
    assert sorted(record.config["latent_dim"] for record in records) == [2, 2, 5, 5]


@pytest.mark.slow
def test_a_failed_job_neither_hides_nor_stops_the_others(svae_train, tmp_path):
    np.savez(tmp_path / "bad.npz", train=np.zeros((2, 4)))
    done = svae_train("-m", f"dataset.file={tmp_path}/bad.npz,{os.environ['TINY']}", *QUIET)
    assert done.returncode == 1
    first, second = run_folders(tmp_path / "outputs" / "multirun")
    assert _status(first)["state"] == "failed"
    assert "validation_fraction" in _status(first)["error"]
    assert "Traceback" in (first / "svae-train.log").read_text()
    assert _status(second)["state"] == "finished"
    assert f"{first} failed: ValueError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(autouse=True)
def _tiny_in_environment(tiny, monkeypatch):
    monkeypatch.setenv("TINY", str(tiny))


def test_a_failure_while_training_keeps_its_traceback(svae_train, tmp_path):
    done = svae_train("trainer.learning_rate=1e30", *QUIET)
    assert done.returncode == 1
    folder = _only_run(tmp_path)
    assert _status(folder)["state"] == "failed"
    assert "is nan in epoch 1, step" in _status(folder)["error"]
    assert "Traceback" in (folder / "svae-train.log").read_text()
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=vfm"], "did you mean vmf?"),
        (["latent_dim=0"], "latent_dim=0: expected a whole number from 1 up"),
        (["device=cuda:99"], "device=cuda:99: this machine has"),
        (["dataset.root=/nowhere"], "dataset.root=/nowhere: expected a folder"),
        (["sampler=inversion"], "sampler=inversion: exists for latent_dim=2 only, got 10"),
        (["hydra.run.dir=/proc/none"], "/proc/none: cannot be written"),
        (["dataset=array", "dataset.file=none.npz"], "dataset.file=none.npz: expected a readable"),
        (["model._target_=svae.nothing"], "model._target_=svae.nothing: cannot be found"),
        (["+model.foo=1"], "model.foo: no such key"),
        (["resume=."], "resume=.: expected a run folder"),
        (["--experimental-rerun", "x.pickle"], "not supported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused_in_one_sentence(svae_train, tmp_path, arguments, words):
    done = svae_train(*arguments, quick=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_goes_away_stops_nothing(svae_train, tmp_path, environment):
    assert svae_train("hydra.run.dir=r", "logger.mode=disabled", "--cfg", "job").returncode == 0
    arguments = " ".join([f"dataset.file={os.environ['TINY']}", "dataset=array", *QUICK])
    command = f"{sys.executable} -m svae {arguments} {' '.join(QUIET)} hydra.run.dir=r"
    line = f"{command} | head -n 1"
    options = {"cwd": tmp_path, "env": environment, "text": True, "shell": True}
    done = subprocess.run(line, capture_output=True, check=False, **options)
    assert done.stdout == f"run folder: {tmp_path / 'r'}\n"
    assert done.stderr == ""
    assert _status(tmp_path / "r")["state"] == "finished"


def test_what_was_typed_is_saved_without_its_secret(svae_train, tiny, tmp_path, environment):
    environment |= {"SECRET": "hunter2", "FILE": str(tiny)}
    line = ("hydra.run.dir=r", "logger.mode=disabled", "plots=false")
    done = svae_train(*line, "dataset.file=${oc.env:FILE}", "logger.entity=${oc.env:SECRET}")
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / "r").rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file
    done = svae_train("resume=r", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 0, done.stderr


def test_a_foreign_record_runs_nothing_and_a_lost_checkpoint_is_told(svae_train, tmp_path):
    assert svae_train("hydra.run.dir=r", "logger.mode=disabled", "plots=false").returncode == 0
    folder = tmp_path / "r"
    config = (folder / "config.yaml").read_text()
    evil = "sampler: {_target_: os.mkdir, path: evil}"
    (folder / "config.yaml").write_text(config.replace("sampler: ${sampler.name}", evil))
    with pytest.raises(ValueError, match=r"_target_ os\.mkdir is no class"):
        svae.load(folder)
    done = svae_train("resume=r", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 2
    assert "_target_ os.mkdir is no class that this package configures" in done.stderr
    assert not (tmp_path / "evil").exists()

    (folder / "config.yaml").write_text(config)
    last = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    last["epoch"]["metrics"]["val/elbo"] = 10**400  # no float is as large
    torch.save(last, folder / "checkpoints" / "last.pt")
    done = svae_train("resume=r", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 2
    assert "last.pt: epoch: expected a valid number" in done.stderr
    assert _status(folder)["state"] == "finished"

    (folder / "checkpoints" / "last.pt").unlink()
    done = svae_train("resume=r", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 2
    assert "checkpoints/last.pt: is missing, expected that of epoch 2" in done.stderr
