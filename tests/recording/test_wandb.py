"""W&B: every epoch once, and never in the way."""

import pytest
import wandb
from omegaconf import OmegaConf

from svae.recording.wandb import WandbRun, _completed
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


ARGUMENTS = {
    **dict.fromkeys(("project", "entity", "name", "tags", "id")),
    "group": "g",
    "config": {"model": {"_target_": "my.vmf"}, "latent_dim": 3, "seed": 0},
}
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
        # of an agent, whose run has an id and a project
        (TYPED, {"sweep_id": "s", "run_id": "given"}, {"project": None, "id": None}),
    ],
)
def test_what_is_typed_wins_over_the_environment_and_that_over_our_own(
    tmp_path, typed, known, expected
):
    found = _completed(ARGUMENTS | typed, wandb.Settings(**known), tmp_path)
    assert {name: found[name] for name in expected} == expected


def test_the_id_of_a_run_folder_stays(tmp_path):
    own = _completed(ARGUMENTS, wandb.Settings(), tmp_path)["id"]
    for known in ({}, {"run_id": "other"}):
        assert _completed(ARGUMENTS, wandb.Settings(**known), tmp_path)["id"] == own


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
