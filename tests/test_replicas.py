"""Replicas: each is the run of its seed alone, in numbers and files, and disturbs no other."""

import csv
import json
import os
import resource
import signal
import sys
from functools import partial

import pytest
import torch

import svae
from svae import experiment
from svae.data.splits import DataSet, Split
from svae.experiment import evaluation
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.models.product import ProductFamily
from svae.models.stack import stack_models
from svae.recording import console, progress
from svae.recording.checkpoint import Unusable
from svae.recording.folder import RunFolder
from svae.training import loop
from svae.training.learner import Learner, Settings
from svae.training.loop import train_alone
from svae.training.muon import Muon, groups_of
from svae.training.streams import seeded
from tests.conftest import QUICK
from tests.support.forked import Program
from tests.support.swept import composed
from tests.support.training import learner
from tests.support.wandb_file import read_records

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _data(count=200, binary=True):
    values = torch.rand(count, 20, generator=torch.Generator().manual_seed(1))
    parts = [Split(part, binary=binary) for part in values.split([count - 40, 20, 20])]
    return DataSet(*parts, "bernoulli" if binary else "gaussian")


def _learner(seed, data, latent, half=False, optimizer="adam", **changes):
    settings = {
        "max_epochs": 13,
        "batch_size": 20,
        "learning_rate": 1e-3,
        "warmup_epochs": 2,
        "patience": 13,
        "kl_weight": 1.0,
        "samples": 1,
    }
    with seeded("cpu", seed, "parameters"):
        model = AutoEncoder(20, latent, data.likelihood, hidden=(16, 8), half=half)
    chosen = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    if optimizer == "muon":
        chosen = Muon(groups_of(model, model.hidden_weights()))
    return learner(model, chosen, data, Settings(**(settings | changes), seed=seed))


def _alone(learner):
    return list(train_alone(learner))


def _assert_equal(together, alone, tolerance=1e-4):
    for own, other in zip(together.model.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("binary", [True, False])
def test_a_stack_computes_what_its_models_compute(family, binary):
    data = _data(binary=binary)
    models = [_learner(seed, data, family(3)).model for seed in range(3)]
    for number, parameter in enumerate(models[1].parameters()):
        parameter.data += 0.01 * number  # the Gaussian's deviations begin alike
    stack = stack_models(models)
    observations = torch.rand(3, 5, 20).round()
    latent = torch.randn(4, 3, 5, models[0].latent.manifold.ambient_dim)
    together = stack.likelihood(latent).log_prob(observations)
    (together.sum() + stack.posterior(observations).loc.square().sum()).backward()
    for row, model in enumerate(models):
        alone = model.likelihood(latent[:, row]).log_prob(observations[row])
        torch.testing.assert_close(together[:, row], alone, rtol=1e-5, atol=1e-5)
        (alone.sum() + model.posterior(observations[row]).loc.square().sum()).backward()
        for ours, theirs in zip(stack.parameters(), model.parameters(), strict=True):
            if theirs.grad is not None:
                gradient = ours.grad[row].view_as(theirs)
                torch.testing.assert_close(gradient, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("latent", "changes"),
    [
        (NormalFamily(3), {}),
        (NormalFamily(3), {"half": True}),
        (PowerSphericalFamily(3), {"samples": 2}),
        (VonMisesFisherFamily(3), {}),
        (VonMisesFisherFamily(3, gradient="corrected"), {"baseline": "mean"}),
        (
            VonMisesFisherFamily(3, gradient="score"),
            {"baseline": "leave_one_out", "samples": 3},
        ),
        (VonMisesFisherFamily(2, sampler="inversion"), {}),
        (VonMisesFisherFamily(3, scales=True), {"optimizer": "muon"}),
        (ProductFamily(4, ["S1", "R1", "S2"]), {}),
        (NormalFamily(3), {"bound": "iwae", "samples": 2}),
        (NormalFamily(3), {"schedule": "cosine"}),
        (NormalFamily(3), {"optimizer": "muon"}),
        (VonMisesFisherFamily(3), {"optimizer": "muon", "averaging": True}),
        (VonMisesFisherFamily(3), {"bound": "iwae", "samples": 3, "objective": "val/iwae"}),
    ],
)
def test_the_first_hundred_steps_are_those_of_the_runs_alone(latent, changes):
    data = _data()
    learners, singles = (
        [_learner(seed, data, latent, **changes) for seed in (3, 4, 5)] for _ in "ab"
    )
    rounds = list(loop.train(learners))
    assert len(rounds) == 13  # of eight steps
    for together, alone in zip(learners, singles, strict=True):
        metrics = _alone(alone)[-1].metrics
        assert together.last.metrics.keys() == metrics.keys()
        for name in metrics.keys() - {"seconds"}:
            assert together.last.metrics[name] == pytest.approx(metrics[name], rel=1e-4), name
        _assert_equal(together, alone, 1e-2 if changes.get("half") else 1e-4)


def test_who_stops_early_leaves_and_who_is_behind_catches_up(monkeypatch):
    # the validation of seed 1 is best at once, that of the others rises
    complete = Learner.complete

    def validated(self, metrics):
        value = -self.last.number if self.settings.seed == 1 else self.last.number
        complete(self, metrics | {"val/elbo": value})

    monkeypatch.setattr(Learner, "complete", validated)
    changes = {"patience": 2, "max_epochs": 6}
    learners = [_learner(seed, _data(), VonMisesFisherFamily(3), **changes) for seed in range(3)]
    next(train_alone(learners[2]))
    rounds = [sorted(learner.settings.seed for learner in group) for group in loop.train(learners)]
    assert rounds == [[0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 2], [0, 2]]
    assert [learner.last.number for learner in learners] == [6, 4, 6]
    assert [learner.last.best_epoch for learner in learners] == [6, 1, 6]
    for one in learners:
        alone = _learner(one.settings.seed, _data(), VonMisesFisherFamily(3), **changes)
        _alone(alone)
        _assert_equal(one, alone)


def test_a_divergence_is_that_of_one_alone():
    learners = [_learner(seed, _data(), NormalFamily(3), max_epochs=2) for seed in range(3)]
    learners[1].model.decoder[0].weight.data[0, 0] = float("nan")
    list(loop.train(learners))
    assert "train/loss is nan in epoch 1, step 1 of 8" in str(learners[1].failure)
    assert learners[1].last.number == 0
    for one in (learners[0], learners[2]):
        assert one.failure is None
        alone = _learner(one.settings.seed, _data(), NormalFamily(3), max_epochs=2)
        _alone(alone)
        _assert_equal(one, alone)


def test_other_layers_than_linear_ones_are_refused():
    models = [torch.nn.Sequential(torch.nn.Conv1d(1, 1, 1)) for _ in range(2)]
    with pytest.raises(ValueError, match=r"0\.weight of shape \(1, 1, 1\)"):
        stack_models(models)


@pytest.mark.parametrize(
    ("memory", "files", "words"),
    [
        ("MemAvailable:    10240 kB\n", 1000, r"about \d+ MiB, 17 times .* 10 MiB are .* most 1$"),
        ("MemAvailable:  2097152 kB\n", 70, r"2 files open .* at most 3 or .* \(ulimit -n 72\)$"),
        ("MemAvailable:  2097152 kB\n", resource.RLIM_INFINITY, None),
        ("another system", 1000, None),
    ],
)
def test_more_replicas_than_there_is_room_for_are_refused(
    monkeypatch, tmp_path, tiny, memory, files, words
):
    (tmp_path / "meminfo").write_text(memory)
    module = sys.modules["svae.experiment.prepare"]
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    config = composed("dataset=array", f"dataset.file={tiny}", "trainer.replicas=4")
    if words is None:
        assert len(experiment.prepare(config)) == 4
        return
    with pytest.raises(ValueError, match=rf"^trainer\.replicas=4: .*{words}"):
        experiment.prepare(config)


def _metrics(folder):
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]


def _status(folder):
    return json.loads((folder / "status.json").read_text())


def _assert_rows(ours, theirs):
    assert len(ours) == len(theirs)
    for row, other in zip(ours, theirs, strict=True):
        assert row == pytest.approx(other, rel=1e-4)


QUIET = ("plots=false", "logger.mode=disabled")


@pytest.mark.slow
def test_every_replica_is_a_complete_run(svae_train, tmp_path):
    done = svae_train("trainer.replicas=2", "seed=4", "hydra.run.dir=r")
    assert done.returncode == 0, done.stderr
    assert svae_train("seed=5", "hydra.run.dir=alone", *QUIET).returncode == 0
    assert _status(tmp_path / "r") == {"state": "finished", "epoch": 2, "error": None}
    own, alone = tmp_path / "r" / "1", tmp_path / "alone"
    _assert_rows(_metrics(own), _metrics(alone))
    files = {file.relative_to(own) for file in own.rglob("*") if "wandb" not in file.parts}
    drawn = {file for file in files if file.parts[0] == "plots"}
    assert files - drawn == {file.relative_to(alone) for file in alone.rglob("*")}
    pictures = {"curves", "latent", "reconstructions", "samples", "spreads", "interpolations"}
    assert {file.stem for file in drawn} == {"plots", "sampler", *pictures}
    ours, theirs = (json.loads((f / "results.json").read_text()) for f in (own, alone))
    assert ours["test/elbo"] == pytest.approx(theirs["test/elbo"], rel=1e-4)
    records = [read_records(tmp_path / "r" / name) for name in "01"]
    assert [record.epochs for record in records] == [[1, 2]] * 2
    assert [record.config["seed"] for record in records] == [4, 5]
    assert [record.exit_code for record in records] == [0, 0]
    assert records[0].ids != records[1].ids
    assert records[0].group == records[1].group != ""

    model, config = svae.load(own)
    assert (config.seed, config.trainer.replicas) == (5, 1)
    assert model.posterior(torch.zeros(5, 64)).loc.shape == (5, 4)
    with pytest.raises(ValueError, match="holds replicas, expected one of them"):
        svae.load(tmp_path / "r")


@pytest.mark.slow
def test_replicas_are_evaluated_again_and_go_on_all_at_once_or_alone(svae_train, tmp_path):
    own = tmp_path / "r" / "1"
    line = ("trainer.replicas=2", "seed=4", "hydra.run.dir=r", *QUIET)
    assert svae_train(*line).returncode == 0
    for word, samples in (("evaluate=r", 30), ("evaluate=r/1", 40)):
        done = svae_train(word, f"evaluation.importance_samples={samples}", quick=False)
        assert done.returncode == 0, done.stderr
        assert json.loads((own / "results.json").read_text())["importance_samples"] == samples
    done = svae_train("resume=r/1", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 0, done.stderr
    done = svae_train("resume=r", "trainer.max_epochs=4", quick=False)
    assert done.returncode == 0, done.stderr
    long = ("seed=5", "hydra.run.dir=long", "trainer.max_epochs=4", *QUIET)
    assert svae_train(*long).returncode == 0
    _assert_rows(_metrics(own), _metrics(tmp_path / "long"))
    assert [_status(tmp_path / "r" / name)["epoch"] for name in "01"] == [4, 4]


def _signal_itself(number, epoch, save_every=0.0):
    show = console.Bar.epoch

    def shown(self, done, *more):
        show(self, done, *more)
        if done == epoch:
            os.kill(os.getpid(), number)

    console.Bar.epoch = shown
    progress._SAVE_EVERY = save_every
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_interrupted_replicas_continue_bit_for_bit(svae_train, tiny, tmp_path, environment):
    common = ("trainer.replicas=3", "trainer.max_epochs=4", "plots=false", "logger.mode=disabled")
    arguments = ["dataset=array", f"dataset.file={tiny}", *QUICK, *common, "hydra.run.dir=broken"]
    interrupt = partial(_signal_itself, signal.SIGINT, 2)
    done = Program(arguments, tmp_path, environment, interrupt).wait()
    assert done.returncode == 130
    assert f"svae-train resume={tmp_path / 'broken'}" in done.stderr
    folders = [tmp_path / "broken" / name for name in ("", "0", "1", "2")]
    assert [_status(folder)["state"] for folder in folders] == ["interrupted"] * 4
    done = svae_train("resume=broken", quick=False)
    assert done.returncode == 0, done.stderr
    assert svae_train(*common, "hydra.run.dir=whole").returncode == 0
    for name in "012":
        ours, theirs = (tmp_path / folder / name for folder in ("broken", "whole"))
        assert _metrics(ours) == _metrics(theirs)
        ours, theirs = (torch.load(f / "checkpoints/last.pt")["model"] for f in (ours, theirs))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_finished_replica_stays_finished_when_others_go_on(tmp_path, monkeypatch):
    quiet = ("logger.mode=disabled", "plots=false", "trainer.max_epochs=1", "device=cpu")
    line = [*quiet, "trainer.replicas=2", "latent_dim=1", "dataset=circle"]
    config = composed(*line, "dataset.observations=140", "evaluation.importance_samples=2")
    with RunFolder.claim(tmp_path, config, line) as folder:
        experiment.run(experiment.prepare(config), folder, None, resumed=False)
    for path in (tmp_path, tmp_path / "1"):
        done = '{"state": "running", "epoch": 1, "error": null}'
        (path / "status.json").write_text(done)
    evaluated = []

    def full(*_):
        evaluated.append([_status(tmp_path / name)["state"] for name in "01"])
        raise OSError("No space left on device")

    monkeypatch.setattr(evaluation, "evaluate_best", full)
    with RunFolder.reopen(tmp_path) as folder, pytest.raises(OSError, match="No space left"):
        experiment.run(experiment.prepare(config), folder, None, resumed=True)
    assert evaluated == [["finished", "running"]]
    assert [_status(tmp_path / name)["state"] for name in "01"] == ["finished", "interrupted"]
    monkeypatch.undo()
    with RunFolder.reopen(tmp_path) as folder:
        experiment.run(experiment.prepare(config), folder, None, resumed=True)
    assert [_status(tmp_path / name)["state"] for name in ("", *"01")] == ["finished"] * 3


def test_a_replica_that_cannot_be_used_leaves_the_others_as_they_were(tmp_path):
    quiet = ("logger.mode=disabled", "plots=false", "trainer.max_epochs=1", "device=cpu")
    line = [*quiet, "trainer.replicas=2", "latent_dim=1", "dataset=circle"]
    line += ["dataset.observations=140", "evaluation.importance_samples=2"]
    config = composed(*line)
    with RunFolder.claim(tmp_path, config, line) as folder:
        experiment.run(experiment.prepare(config), folder, None, resumed=False)
    before = (tmp_path / "0" / "results.json").read_text()
    (tmp_path / "1" / "checkpoints" / "last.pt").write_text("x")
    (tmp_path / "1" / "checkpoints" / "best.pt").write_text("x")
    longer = composed(*line, "trainer.max_epochs=3")
    with RunFolder.reopen(tmp_path) as folder:
        with pytest.raises(Unusable, match=r"1/checkpoints/last\.pt"):
            experiment.run(experiment.prepare(longer), folder, None, resumed=True)
        with pytest.raises(Unusable, match=r"1/checkpoints/best\.pt"):
            experiment.evaluate_again(experiment.prepare(config), folder)
    assert [_status(tmp_path / name)["state"] for name in ("", *"01")] == ["finished"] * 3
    assert (tmp_path / "0" / "results.json").read_text() == before


def _spoil_one(epoch):
    step, calls = loop.descend, []

    def descend(stack, number, *more):
        calls.append(number)
        if len(calls) == epoch:
            stack.model.decoder[0].weight.data[1] = float("nan")
        return step(stack, number, *more)

    loop.descend = descend
    progress._SAVE_EVERY = 60.0  # the first epoch is saved at once


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.slow
def test_a_failed_replica_is_told_and_the_others_finish(tiny, tmp_path, environment, epoch):
    common = ("trainer.replicas=3", "plots=false", "logger.mode=disabled", "hydra.run.dir=r")
    arguments = ["dataset=array", f"dataset.file={tiny}", *QUICK, *common, "trainer.max_epochs=3"]
    done = Program(arguments, tmp_path, environment, partial(_spoil_one, epoch)).wait()
    assert done.returncode == 1
    assert f"{tmp_path / 'r' / '1'}: train/loss is nan in epoch {epoch}" in done.stderr
    states = [_status(tmp_path / "r" / name) for name in ("", "0", "1", "2")]
    assert [status["state"] for status in states] == ["failed", "finished", "failed", "finished"]
    assert states[2]["epoch"] == epoch - 1
    assert f"train/loss is nan in epoch {epoch}" in states[2]["error"]
    assert (tmp_path / "r" / "2" / "results.json").is_file()


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, 3), (60.0, 1)])
def test_a_kill_leaves_the_replicas_in_step(tiny, tmp_path, environment, seconds, kept):
    common = ("trainer.replicas=2", "plots=false", "logger.mode=disabled", "hydra.run.dir=r")
    arguments = ["dataset=array", f"dataset.file={tiny}", *QUICK, *common, "trainer.max_epochs=4"]
    hook = partial(_signal_itself, signal.SIGKILL, 3, seconds)
    assert Program(arguments, tmp_path, environment, hook).wait().returncode == -signal.SIGKILL
    assert [len(_metrics(tmp_path / "r" / name)) for name in "01"] == [kept] * 2


def test_runs_together_are_saved_as_often_as_one(monkeypatch):
    alone, together, due = _Paced(monkeypatch), _Paced(monkeypatch, runs=4), []
    for now in (100.0, 100.5, 101.0, 101.9, 104.0):
        due.append((alone.saves(now), together.saves(now)))
    assert due == [(True, True), (False, False), (True, False), (False, False), (True, True)]


@pytest.mark.parametrize(("took", "pause"), [(0.01, 1.0), (0.2, 10.0), (30.0, 1500.0)])
def test_saving_takes_a_small_share_of_the_time(monkeypatch, took, pause):
    pace = _Paced(monkeypatch, took)
    assert pace.saves(100.0)
    ended = 100.0 + took
    assert not pace.saves(ended + 0.99 * pause)
    assert pace.saves(ended + 1.01 * pause)


class _Paced:
    """A pace at which saving takes so many seconds."""

    def __init__(self, monkeypatch, took=0.0, runs=1):
        self._pace, self._patch, self._took, self._runs = progress.Pace(), monkeypatch, took, runs

    def saves(self, now: float) -> bool:
        self._patch.setattr(progress.time, "monotonic", lambda: now)
        if is_due := self._pace.is_due(self._runs):
            with self._pace.saving():
                self._patch.setattr(progress.time, "monotonic", lambda: now + self._took)
        return is_due


def test_replicas_that_restart_in_their_first_epoch_are_told(svae_train, tmp_path):
    options = ("trainer.learning_rate=1e30", "trainer.on_nan=restart", "hydra.run.dir=r")
    done = svae_train("trainer.replicas=2", "plots=false", *options)
    assert done.returncode == 1
    assert done.stdout.count("restart 3 of at most 3, from epoch 0") == 2
    assert "in epoch 1, step" in done.stderr
    assert "3 restarts did not help, begin again with a smaller" in done.stderr
    assert [_status(tmp_path / "r" / name)["state"] for name in "01"] == ["failed"] * 2
