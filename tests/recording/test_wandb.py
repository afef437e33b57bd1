"""W&B: every epoch once, and never in the way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf

from svae.plots.style import figure
from svae.recording import wandb as module
from svae.recording.wandb import WandbRun, _completed, _run_id
from tests.support.wandb_file import read_records

SETTINGS = {
    **{"mode": "offline", "project": "p", "entity": None, "name": "n", "tags": ["t"]},
    **{"artifacts": False, "images_every": None},
}
CONFIG = OmegaConf.create({"latent_dim": 3, "objective": "val/elbo", "logger": SETTINGS})
HISTORY = [
    {"epoch": epoch, "val/elbo": value, "val/kl": 3.0 - epoch, "seconds": 1.0}
    for epoch, value in enumerate([-5.0, -1.0, -3.0], 1)
]


def test_a_continued_offline_run_holds_each_epoch_once(tmp_path):
    first = WandbRun(tmp_path, CONFIG, "group", [])
    first.log(HISTORY[0])
    first.log(HISTORY[1])
    first.finish(None, [])
    # the third epoch was saved, but the process died before W&B heard of it
    second = WandbRun(tmp_path, CONFIG, "group", HISTORY)
    second.log({"epoch": 4, "val/elbo": -2.0, "val/kl": 0.5})
    second.finish({"test/elbo": -2.0, "seconds": 4.5}, [])
    wandb.teardown()  # as at the end of a process: until then the service may still be writing
    records = read_records(tmp_path)
    assert records.epochs == [1, 2, 3, 4]
    assert records.config["latent_dim"] == 3
    assert records.group == "group"
    assert records.tags == ["t"]
    assert records.summary["test/elbo"] == -2.0
    steps = {"train/*", "val/*", "seconds", "val/elbo", "val/kl"}
    assert records.metrics == {"epoch": None, **dict.fromkeys(steps, "epoch")}
    best = {"val/elbo": {"max": -1.0}, "val/kl": {"min": 0.0}, "best/val/elbo": -1.0}
    assert {name: records.summary[name] for name in best} == best
    assert (records.summary["epoch"], records.summary["seconds"]) == (4, 4.5)
    times = [row["_timestamp"] for row in records.history if row.get("epoch", 9) <= 3]
    assert np.diff(times) == pytest.approx([1.0, 1.0])  # as long as they took


@pytest.mark.parametrize(
    ("seconds", "resumed", "ages"),
    [
        ((1.0, 2.0, 4.0), None, [6.0, 4.0, 0.0]),
        ((1.0, None, 4.0), None, [4.0, 4.0, 0.0]),  # of a run that did not measure it
        ((0.0, 1e5, 30.0), None, [100_030.0, 30.0, 0.0]),
        ((1.0, 2.0, 4.0), 2, [0.0]),  # of which the server has two
    ],
)
def test_the_epochs_of_before_take_as_long_as_they_took(
    tmp_path, recorder, monkeypatch, seconds, resumed, ages
):
    history = [
        {"epoch": n, "val/elbo": -n} | ({} if s is None else {"seconds": s})
        for n, s in enumerate(seconds, 1)
    ]
    sent, now = [], 2e9
    monkeypatch.setattr(recorder, "log", lambda row, step: sent.append((step, row)))
    monkeypatch.setattr(module.time, "time", lambda: now)
    recorder.resumed, recorder.summary["epoch"] = resumed is not None, resumed
    WandbRun(tmp_path, CONFIG, None, history)
    assert [now - row["_timestamp"] for _, row in sent] == ages
    assert [step for step, _ in sent] == [1, 2, 3][-len(ages) :]
    assert recorder.summary["best/val/elbo"] == -1  # of the known ones, too


@pytest.mark.parametrize("objective", ["val/elbo", "val/iwae", "val/auc"])
def test_what_a_sweep_of_wandb_optimises_is_the_best_of_the_objective(
    tmp_path, recorder, objective
):
    run = WandbRun(tmp_path, OmegaConf.merge(CONFIG, {"objective": objective}), None, [])
    for epoch, value in enumerate((-3.0, -1.0, -2.0), 1):
        run.log({"epoch": epoch, "val/elbo": -9.0, objective: value})
    best = {name: value for name, value in recorder.summary.items() if name.startswith("best/")}
    assert best == {f"best/{objective}": -1.0}


UNTYPED = {**dict.fromkeys(("project", "entity", "name", "tags")), "group": "g"}
SMALL = {"model": {"_target_": "my.vmf"}, "latent_dim": 3, "seed": 0}
TYPED = {"project": "typed", "entity": "typed", "name": "typed", "tags": ["typed"]}


@pytest.mark.parametrize(
    ("typed", "known", "expected"),
    [
        ({}, {}, {"project": "svae", "name": "vmf-d3-s0", "group": "g", "job_type": "train"}),
        ({}, {"project": "env", "run_name": "env"}, {"project": "env", "name": "env"}),
        ({}, {"run_tags": ["env"]}, {"tags": None}),  # of which W&B makes its own
        ({}, {"run_group": "env", "run_job_type": "env"}, {"group": "env", "job_type": "env"}),
        (TYPED, {"project": "env", "run_name": "env", "entity": "env"}, TYPED),
        ({}, {"run_id": "given"}, {"id": "given"}),
        ({"group": "g" * 200}, {}, {"group": "g" * 128}),
    ],
)
def test_what_is_typed_wins_over_the_environment_and_that_over_our_own(
    tmp_path, typed, known, expected
):
    found = _completed(UNTYPED | typed, wandb.Settings(**known), SMALL, tmp_path)
    assert {name: found[name] for name in expected} == expected


def test_the_id_of_a_run_folder_stays(tmp_path):
    own = _completed(UNTYPED, wandb.Settings(), SMALL, tmp_path)["id"]
    for known in ({}, {"run_id": "other"}):
        found = _completed(UNTYPED, wandb.Settings(**known), SMALL, tmp_path)
        assert found["id"] == own


def _copied(folder):
    return Path(shutil.copytree(folder, folder.with_name("copy")))


def _moved(folder):
    return folder.rename(folder.with_name("moved"))


def _restored(folder):
    copy = _copied(folder)
    shutil.rmtree(folder)
    return copy.rename(folder)


def _of_an_earlier_version(folder):
    file = folder / "wandb" / "run-id"
    file.write_text(file.read_text().splitlines()[0])
    return folder


@pytest.mark.parametrize(
    ("change", "is_same"),
    [(_copied, False), (_moved, True), (_restored, True), (_of_an_earlier_version, True)],
)
def test_a_copy_of_a_run_is_another_run(tmp_path, change, is_same):
    folder = tmp_path / "run"
    folder.mkdir()
    own = _run_id(folder, None)
    assert _run_id(folder, None) == own
    changed = change(folder)
    new = _run_id(changed, None)
    assert (new == own) == is_same
    assert _run_id(changed, None) == new
    if changed != folder and folder.exists():
        assert _run_id(folder, None) == own


def test_a_copied_offline_run_holds_each_epoch_once_and_no_file_of_the_first(tmp_path):
    (tmp_path / "run").mkdir()
    first = WandbRun(tmp_path / "run", CONFIG, None, [])
    first.log(HISTORY[0])
    first.finish(None, [])
    copy = _copied(tmp_path / "run")
    second = WandbRun(copy, CONFIG, None, HISTORY[:1])
    second.log(HISTORY[1])
    second.finish({}, [])
    wandb.teardown()
    assert read_records(copy).epochs == [1, 2]
    assert read_records(tmp_path / "run").epochs == [1]


@pytest.mark.parametrize(("results", "code"), [(None, 1), ({}, 0)])
def test_a_run_without_results_has_failed(tmp_path, results, code):
    run = WandbRun(tmp_path, CONFIG, None, [])
    run.finish(results, [])
    wandb.teardown()
    assert read_records(tmp_path).exit_code == code


def test_a_broken_wandb_never_stops_the_run(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise OSError("no space")

    monkeypatch.setattr(wandb, "init", broken)
    run = WandbRun(tmp_path, CONFIG, None, HISTORY)
    run.log(HISTORY[0])
    run.finish({"a": 1}, [])


def test_disabled_writes_nothing(tmp_path):
    config = OmegaConf.create({"logger": SETTINGS | {"mode": "disabled"}})
    run = WandbRun(tmp_path, config, None, HISTORY)
    run.log(HISTORY[0])
    run.finish({}, [])
    assert list(tmp_path.iterdir()) == []


class Recorder:
    """A W&B run that keeps what it is told, and has no process."""

    resumed, offline, id = False, True, "r"

    def __init__(self, folder):
        self.dir, self.summary, self.rows, self.artifacts, self.code = str(folder), {}, [], [], None

    def define_metric(self, *args, **kwargs):
        pass

    def log(self, row, step=None):
        self.rows.append((step, {*row}))

    def log_artifact(self, artifact):
        self.artifacts.append({*artifact.manifest.entries})

    def finish(self, exit_code):
        self.code = exit_code


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    found = Recorder(tmp_path)
    monkeypatch.setattr(wandb, "init", lambda **_: found)
    return found


def _finished(folder, **logger):
    """Log three epochs, a picture of the second, and the end of a run with a checkpoint."""
    (folder / "checkpoints").mkdir()
    for name in ("config.yaml", "status.json", "checkpoints/best.pt"):
        (folder / name).write_bytes(b"x")
    loc = np.eye(3, dtype=np.float32)
    np.savez(folder / "latents.npz", loc=loc, kl=np.arange(3.0), labels=np.arange(3))
    said = []
    run = WandbRun(folder, OmegaConf.merge(CONFIG, {"logger": logger}), None, [], said.append)
    for row in HISTORY:
        run.log(row)
        run.show(row["epoch"], [folder / "p.png"] if row["epoch"] == 2 else [])
    run.finish({"test/elbo": -2.0}, [folder / "p.png"])
    return said


@pytest.mark.parametrize("artifacts", [False, True])
def test_pictures_latent_vectors_and_where_asked_the_model_are_sent(tmp_path, recorder, artifacts):
    _image(tmp_path / "p.png")
    assert _finished(tmp_path, artifacts=artifacts) == []
    shown = [(step, row) for step, row in recorder.rows if row and "epoch" not in row]
    last = [(None, {"latents/table"})] * artifacts
    assert shown == [(2, {"plots/p"}), (None, {"plots/p", "latents/sphere"}), *last]
    files = {"config.yaml", "status.json", "checkpoints/best.pt", "latents.npz"}
    assert recorder.artifacts == [files] * artifacts
    assert (recorder.summary["test/elbo"], recorder.code) == (-2.0, 0)


@pytest.mark.parametrize(
    ("name", "what"), [("Image", "pictures"), ("Table", "artifacts"), ("Artifact", "artifacts")]
)
def test_what_cannot_be_shown_does_not_keep_the_run_from_ending(
    tmp_path, recorder, monkeypatch, name, what
):
    def broken(*args, **kwargs):
        raise OSError("no space")

    _image(tmp_path / "p.png")
    monkeypatch.setattr(wandb, name, broken)
    said = _finished(tmp_path, artifacts=True)
    assert {*said} == {f"not sent to W&B: {what} (OSError: no space)"}
    assert (recorder.summary["test/elbo"], recorder.code) == (-2.0, 0)
    assert len(recorder.artifacts) == (what == "pictures")


def _image(file):
    figure(1, 1).savefig(file)
