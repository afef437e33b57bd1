"""W&B: every epoch once, and never in the way."""

import shutil
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from svae.recording.wandb import WandbRun, _has_key, _mode, _run_id
from tests.support.wandb_file import read_records

SETTINGS = {"mode": "offline", "project": "p", "entity": None, "name": "n", "tags": ["t"]}
CONFIG = OmegaConf.create({"latent_dim": 3, "logger": SETTINGS})
HISTORY = [{"epoch": e, "val/elbo": -10.0 / e, "seconds": 1.0} for e in (1, 2, 3)]


def test_a_continued_offline_run_holds_each_epoch_once(tmp_path):
    first = WandbRun(tmp_path, CONFIG, "group", [])
    first.log(HISTORY[0])
    first.log(HISTORY[1])
    first.finish(None, [])
    # the third epoch was saved, but the process died before W&B heard of it
    second = WandbRun(tmp_path, CONFIG, "group", HISTORY)
    second.log({"epoch": 4, "val/elbo": -1.0})
    second.finish({"test/elbo": -2.0}, [])
    wandb.teardown()  # as at the end of a process: until then the service may still be writing
    records = read_records(tmp_path)
    assert records.epochs == [1, 2, 3, 4]
    assert records.config["latent_dim"] == 3
    assert records.group == "group"
    assert records.tags == ["t"]
    assert records.summary["test/elbo"] == -2.0
    steps = {"train/*": "epoch", "val/*": "epoch", "seconds": "epoch"}
    assert records.metrics == {"epoch": None, **steps}


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
    own = _run_id(folder)
    assert _run_id(folder) == own
    changed = change(folder)
    new = _run_id(changed)
    assert (new == own) == is_same
    assert _run_id(changed) == new
    if changed != folder and folder.exists():
        assert _run_id(folder) == own


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


@pytest.mark.parametrize(
    ("environment", "asked", "mode"),
    [
        ({}, "auto", "offline"),
        ({"WANDB_API_KEY": "x" * 40}, "auto", "online"),
        ({"WANDB_MODE": "disabled"}, "auto", "disabled"),
        ({"WANDB_MODE": "garbage", "WANDB_API_KEY": "x" * 40}, "auto", "offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "x" * 40}, "auto", "offline"),
        ({"WANDB_API_KEY": "x" * 40}, "offline", "offline"),
    ],
)
def test_the_mode_asks_nobody(monkeypatch, tmp_path, environment, asked, mode):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _mode(asked, print) == mode


@pytest.mark.parametrize("server", ["https://api.wandb.ai", wandb.Settings().base_url])
def test_a_key_in_netrc_counts(monkeypatch, tmp_path, server):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host = server.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {host} login user password secret\n")
    assert _has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert not _has_key()


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
