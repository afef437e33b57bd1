"""What the terminal tells of a sweep."""

import json
import time

import pytest
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException

from svae.cli import main, watch
from svae.cli.sweeps import Sweep
from svae.configuration import compose
from svae.plots import many
from svae.recording import signals
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from svae.recording.signals import Interrupted
from svae.recording.terminal import visible
from svae.report import summary
from tests.support.swept import begin, planned


def test_a_narrower_command_answers_for_its_own_runs_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(summary, "make", lambda folders: None)
    for number, state in enumerate((FINISHED, FINISHED, FAILED, INTERRUPTED)):
        begin(tmp_path / str(number), state)
    paths = frozenset(tmp_path / str(number) for number in range(2))
    narrow = Sweep([], tmp_path, paths=paths, runs=2)
    with watch.watching(narrow):
        pass
    assert watch.close(narrow, None) == 0
    told = capsys.readouterr()
    assert "2 runs finished earlier" in told.out
    assert told.err == ""
    whole = Sweep([], tmp_path, runs=4)
    assert watch.close(whole, None) == 1
    assert "of 4 runs 1 failed, 1 interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latents.npz", "damaged"),
        ("results.json", '{"test/elbo": NaN, "test/kl": [1], "seconds": "[/bold]"}'),
        ("results.json", "{"),
        ("metrics.csv", "epoch,val/elbo\n1,x\n"),
        ("config.yaml", "["),
    ],
)
def test_what_is_damaged_in_one_run_costs_a_sweep_neither_its_report_nor_its_code(
    tmp_path, monkeypatch, name, content
):
    monkeypatch.setattr(many, "_svg", lambda draw, _: "")  # which takes its time
    for number in range(2):
        begin(tmp_path / str(number), FINISHED)
        (tmp_path / str(number) / "results.json").write_text('{"test/elbo": -77.5}')
    (tmp_path / "0" / name).write_text(content)
    assert watch.close(Sweep([], tmp_path, runs=2), None) == 0
    assert "77.50" in (tmp_path / "report.html").read_text()


def test_a_run_is_shown_with_what_is_swept_and_not_in_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = planned("-m seed=0,1 trainer.learning_rate=1e-3,1e-2 plots=false hydra.sweep.dir=s")
    with watch.watching(plan):
        for number, rate in enumerate(("1e-3", "1e-2")):
            lines = ["seed=0", f"trainer.learning_rate={rate}", "plots=false"]
            config = compose.checked(get_args_parser().parse_args([]), lines)
            claimed = compose.portable(config, lines)
            with RunFolder.claim(tmp_path / "s" / str(number), *claimed) as folder:
                folder.status(INTERRUPTED)
    told = capsys.readouterr().out
    for rate in ("1e-3", "1e-2"):
        assert f"vmf-d10-s0 trainer.learning_rate={rate} interrupted" in told


@pytest.mark.parametrize("name", ["[/bold]", "[bold]x", "\x1b[2J"])
def test_a_name_does_not_style_or_steer_a_live_terminal(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    begin(tmp_path / "0", FINISHED)
    file = tmp_path / "0" / "config.yaml"
    file.write_text(file.read_text().replace("svae.models.latent.VonMisesFisherFamily", name))
    file.write_text(file.read_text().replace("_target_: " + name, "_target_: " + json.dumps(name)))
    with RunFolder.reopen(tmp_path / "0") as folder:
        sweep = Sweep([], tmp_path, runs=2)
        with watch.watching(sweep):
            folder.status(RUNNING)
            time.sleep(0.01)
    told = capsys.readouterr().out
    assert f"{visible(name)}-d3-s0 epoch 2" in told
    assert "\x1b[2J" not in told


def test_a_duration_that_is_none_does_not_end_a_sweep(tmp_path, capsys):
    with watch.watching(Sweep([], tmp_path, runs=4)):
        for name, seconds in enumerate(("1e308", "nan", "inf", "1")):
            metrics = f"epoch,val/elbo,seconds\n1,-5,{seconds}\n"
            begin(tmp_path / str(name), FINISHED, metrics)
    assert "[1/4]   3  vmf-d3-s0" in capsys.readouterr().out


@pytest.mark.parametrize("error", [None, AttributeError("no flags"), HydraException("no job")])
def test_a_request_to_stop_that_was_lost_ends_the_sweep_all_the_same(tmp_path, monkeypatch, error):
    monkeypatch.setattr(signals, "_request", None)

    def lost(*_):
        signals._request = Interrupted(143, "terminated")
        if error is not None:
            raise error

    monkeypatch.setattr(main, "_hydra", lost)
    with pytest.raises(Interrupted) as stopped:
        main._sweep(Sweep([], tmp_path, again="svae-train -m seed=0,1"))
    assert stopped.value.code == 143
    assert stopped.value.text == "terminated; continue with: svae-train -m seed=0,1"
