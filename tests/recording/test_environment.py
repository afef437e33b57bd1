"""W&B as its users expect: what the environment says counts, and what W&B refuses is refused."""

import shlex
import sys

import pytest
import wandb
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from svae.cli import plan
from svae.configuration.messages import Refused
from svae.recording.environment import has_key, mode, refuse_wrong
from tests.support.swept import begin

CONFIG = OmegaConf.create({"logger": {"mode": "offline"}, "trainer": {"replicas": 1}})
KEY = "x" * 40


@pytest.fixture(autouse=True)
def _nobody(monkeypatch, tmp_path):
    """Let the tests run as a person without a W&B account, whose environment is empty."""
    for name in ("API_KEY", "MODE", "BASE_URL", "PROJECT", "TAGS", "RUN_ID", "SWEEP_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("environment", "asked", "expected"),
    [
        ({}, "auto", "offline"),
        ({"WANDB_API_KEY": KEY}, "auto", "online"),
        ({"WANDB_MODE": "disabled"}, "auto", "disabled"),
        ({"WANDB_MODE": "garbage", "WANDB_API_KEY": KEY}, "auto", "offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "auto", "offline"),
        ({"WANDB_API_KEY": KEY}, "offline", "offline"),
        ({"WANDB_MODE": "dryrun", "WANDB_API_KEY": KEY}, "auto", "offline"),
        ({"WANDB_MODE": "run"}, "auto", "online"),
    ],
)
def test_the_mode_asks_nobody(monkeypatch, environment, asked, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode(asked) == expected


@pytest.mark.parametrize("server", ["https://api.wandb.ai", wandb.Settings().base_url])
def test_a_key_in_netrc_counts(monkeypatch, tmp_path, server):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host = server.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {host} login user password secret\n")
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert not has_key()


WRONG = [
    ("MODE", "OFFLINE", "expected one of online, offline, disabled, run, dryrun"),
    ("MODE", "", "expected one of online"),
    ("PROJECT", "a/b", "WANDB_PROJECT=a/b: expected text of at most 128 characters without /"),
    ("PROJECT", "p" * 129, "expected text of at most 128 characters"),
    ("ENTITY", "a#b", "expected text of at most 128 characters"),
    ("NAME", "n" * 129, "expected text of 1 to 128 characters"),
    ("RUN_GROUP", "g" * 129, "expected text of 1 to 128 characters"),
    ("TAGS", "a,,b", "expected texts of 1 to 64 characters each, with commas between them"),
    ("TAGS", "t" * 65, "expected texts of 1 to 64 characters each"),
    ("RUN_ID", "a:b", "expected 1 to 64 letters, digits, - and _"),
    ("SWEEP_ID", " s", "W&B refuses it (Sweep ID cannot start or end with whitespace)"),
    ("BASE_URL", "localhost", "expected the address of a server, https://HOST"),
    ("RESUME", "yes", "W&B refuses it (Input should be 'allow', 'must'"),
    ("RESUME_FROM", "a?_step=1", "is not supported"),
    ("_SERVICE_WAIT", "-1", "W&B refuses it (Service wait time cannot be negative)"),
    ("API_KEY", f" {KEY}", "W&B refuses it (API key cannot start or end with whitespace)"),
]


@pytest.mark.parametrize(
    ("name", "value", "words"), WRONG, ids=[f"{n}={v:.9}" for n, v, _ in WRONG]
)
def test_what_wandb_would_not_take_is_refused_unless_it_is_disabled(
    monkeypatch, name, value, words
):
    monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(ValueError) as refused:
        refuse_wrong(CONFIG)
    text = str(refused.value)
    assert text.startswith(f"WANDB_{name}")
    assert words in text
    assert KEY not in text
    refuse_wrong(OmegaConf.merge(CONFIG, {"logger": {"mode": "disabled"}}))


def test_a_key_that_is_too_short_is_refused_where_it_is_needed(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    refuse_wrong(CONFIG)
    for asked in ("auto", "online"):
        with pytest.raises(ValueError, match="WANDB_API_KEY: expected 40 or more letters"):
            refuse_wrong(OmegaConf.merge(CONFIG, {"logger": {"mode": asked}}))


GOOD = [
    *(("PROJECT", ""), ("NAME", ""), ("TAGS", "a,b"), ("ENTITY", "team"), ("MODE", "disabled")),
    *(("BASE_URL", "http://127.0.0.1:8080"), ("RUN_ID", "abc-1"), ("NOTES", "any/thing")),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_wandb_takes_is_taken(monkeypatch, name, value):
    monkeypatch.setenv(f"WANDB_{name}", value)
    refuse_wrong(CONFIG)


@pytest.mark.parametrize("name", ["WANDB_SWEEP_ID", "WANDB_RUN_ID"])
@pytest.mark.parametrize(
    ("replicas", "is_sweep", "what"), [(1, True, "--multirun"), (2, False, "trainer.replicas=2")]
)
def test_several_runs_do_not_share_the_id_of_one(monkeypatch, name, replicas, is_sweep, what):
    monkeypatch.setenv(name, "given")
    refuse_wrong(CONFIG)
    several = OmegaConf.merge(CONFIG, {"trainer": {"replicas": replicas}})
    with pytest.raises(ValueError, match=f"{name}=given: is of one run and {what} makes several"):
        refuse_wrong(several, is_sweep)
    refuse_wrong(OmegaConf.merge(several, {"logger": {"mode": "disabled"}}), is_sweep)


@pytest.mark.parametrize("line", ["seed=1", "-m seed=1,2", "resume=r"])
def test_every_command_that_trains_asks_the_environment(monkeypatch, tmp_path, line):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path / "r", "interrupted")
    monkeypatch.setenv("WANDB_MODE", "OFFLINE")
    with pytest.raises(Refused, match="WANDB_MODE=OFFLINE: expected one of online"):
        plan.plan(get_args_parser().parse_intermixed_args(shlex.split(line)))
    assert [file.name for file in tmp_path.iterdir()] == ["r"]


def test_a_run_that_is_resumed_elsewhere_says_what_the_environment_lacks(monkeypatch):
    config = OmegaConf.merge(CONFIG, {"logger": {"project": "${oc.env:SVAE_PLACE}"}})
    monkeypatch.setenv("SVAE_PLACE", "secret/place")
    with pytest.raises(ValueError, match=r"logger\.project: the environment gives") as refused:
        refuse_wrong(config)
    assert "secret" not in str(refused.value)


def test_where_it_is_disabled_nothing_of_wandb_is_imported(monkeypatch):
    monkeypatch.setenv("WANDB_RESUME", "yes")
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    refuse_wrong(OmegaConf.merge(CONFIG, {"logger": {"mode": "disabled"}}))
    with pytest.raises(ImportError):
        refuse_wrong(CONFIG)
