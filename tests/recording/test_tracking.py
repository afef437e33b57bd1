"""Tracking: every epoch once, everywhere; W&B never in the way."""

import csv

import pytest
import wandb

from svae.recording import tracking
from svae.recording.tracking import WandbRun, write_metrics
from tests.support.wandb_file import read_records

SETTINGS = {"mode": "offline", "project": "p", "entity": None, "name": "n", "tags": ["t"]}
HISTORY = [{"epoch": e, "val/elbo": -10.0 / e, "seconds": 1.0} for e in (1, 2, 3)]


def test_metrics_have_a_row_per_epoch_and_the_time_last(tmp_path):
    write_metrics(tmp_path / "metrics.csv", [HISTORY[0], {**HISTORY[1], "train/new": 5.0}])
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "val/elbo", "train/new", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["train/new"] == ""


def test_a_continued_offline_run_holds_each_epoch_once(tmp_path):
    first = WandbRun(tmp_path, SETTINGS, {"latent_dim": 3}, "group", [])
    first.log(HISTORY[0])
    first.log(HISTORY[1])
    first.finish(None, [], 1)
    # the third epoch was saved, but the process died before W&B heard of it
    second = WandbRun(tmp_path, SETTINGS, {"latent_dim": 3}, "group", HISTORY)
    second.log({"epoch": 4, "val/elbo": -1.0})
    second.finish({"test/elbo": -2.0}, [], 0)
    wandb.teardown()  # as at the end of a process: until then the service may still be writing
    records = read_records(tmp_path)
    assert records.epochs == [1, 2, 3, 4]
    assert records.config["latent_dim"] == 3
    assert records.group == "group"
    assert records.tags == ["t"]
    assert records.summary["test/elbo"] == -2.0
    steps = {"train/*": "epoch", "val/*": "epoch", "seconds": "epoch"}
    assert records.metrics == {"epoch": None, **steps}


def test_the_table_of_results_begins_with_the_main_numbers_and_leaves_out_the_rest(capsys):
    model = {"test/kl": 2.0, "test/elbo": -3.0, "test/log_likelihood": -1.0}
    labels = {"test/knn_accuracy_100": 0.5, "test/knn_accuracy_100_std": 0.25}
    about = {"epochs": 2, "restarts": 0, "device": "cpu", "commit": None, "versions": {"a": "1"}}
    never = {"test/acceptance_rate": 1.0, "collapse": "none"}
    tracking.Screen().results({**model, **never, **labels, **about}, "run/0")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[1] for row in rows] == [
        *("test/log_likelihood", "test/elbo", "test/kl", "test/knn_accuracy_100", "epochs")
    ]
    assert rows[3][3:6] == ["0.5000", "±", "0.2500"]
    tracking.Screen().results({"test/acceptance_rate": 0.75, "collapse": "posterior"}, "run/1")
    shown = capsys.readouterr().out
    assert "test/acceptance_rate" in shown
    assert "posterior" in shown


@pytest.mark.parametrize(("rate", "told"), [(1.0, False), (0.875, True)])
def test_a_model_without_a_sampler_has_no_acceptance_rate(capsys, rate, told):
    metrics = {"train/elbo": -2.0, "train/acceptance_rate": rate, "seconds": 1.0}
    screen = tracking.Screen()
    with screen.training(0, 2) as bar:
        bar.epoch(1, metrics)
    assert ("acceptance" in capsys.readouterr().out) == told


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
    assert tracking._mode(asked, print) == mode


def test_a_key_in_netrc_counts(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert tracking._has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert not tracking._has_key()


def test_a_broken_wandb_never_stops_the_run(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise OSError("no space")

    monkeypatch.setattr(wandb, "init", broken)
    run = WandbRun(tmp_path, SETTINGS, {}, None, HISTORY)
    run.log(HISTORY[0])
    run.finish({"a": 1}, [], 0)


def test_disabled_writes_nothing(tmp_path):
    run = WandbRun(tmp_path, {**SETTINGS, "mode": "disabled"}, {}, None, HISTORY)
    run.log(HISTORY[0])
    run.finish({}, [], 0)
    assert list(tmp_path.iterdir()) == []
