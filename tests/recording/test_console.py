"""The terminal: the final numbers, the line of an epoch, and metrics.csv beside it."""

import csv

import pytest

from svae.recording import console
from svae.recording.console import Screen
from svae.recording.files import write_table

HISTORY = [{"epoch": e, "val/elbo": -10.0 / e, "seconds": 1.0} for e in (1, 2)]


def test_metrics_have_a_row_per_epoch_and_the_time_last(tmp_path):
    write_table(tmp_path / "metrics.csv", [HISTORY[0], {**HISTORY[1], "train/new": 5.0}], "seconds")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "val/elbo", "train/new", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["train/new"] == ""


def test_the_table_of_results_begins_with_the_main_numbers_and_leaves_out_the_rest(capsys):
    model = {"test/kl": 2.0, "test/elbo": -3.0, "test/log_likelihood": -1.0}
    labels = {"test/knn_accuracy_100": 0.5, "test/knn_accuracy_100_std": 0.25}
    about = {"epochs": 2, "restarts": 0, "device": "cpu", "commit": None, "versions": {"a": "1"}}
    never = {"test/acceptance_rate": 1.0, "collapse": "none"}
    Screen().results({**model, **never, **labels, **about}, "run/0")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[1] for row in rows] == [
        *("test/log_likelihood", "test/elbo", "test/kl", "test/knn_accuracy_100", "epochs")
    ]
    assert rows[3][3:6] == ["0.5000", "±", "0.2500"]
    Screen().results({"test/acceptance_rate": 0.75, "collapse": "posterior"}, "run/1")
    shown = capsys.readouterr().out
    assert "test/acceptance_rate" in shown
    assert "posterior" in shown


def test_names_and_values_do_not_style_the_table(capsys):
    Screen().results({"test/[/bold]": 1.0, "collapse": "[bold]x[/bold]"}, "run/[/red] :warning:")
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("[/bold]", "[bold]x[/bold]", "run/[/red] :warning:"))


def test_the_table_says_units_and_which_way_is_better(capsys):
    Screen().results({"test/kl": 2.0, "test/mine": 0.5, "seconds": 3.0}, "run/0")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert rows[0][2:8] == ["│", "2.0000", "│", "nats", "│", "lower"][:6]
    assert [row[1] for row in rows] == ["test/kl", "test/mine", "seconds"]


@pytest.mark.parametrize(("rate", "told"), [(1.0, False), (0.875, True)])
def test_a_model_without_a_sampler_has_no_acceptance_rate(capsys, rate, told):
    metrics = {"train/elbo": -2.0, "train/acceptance_rate": rate, "seconds": 1.0}
    screen = Screen()
    with screen.training(0, 2) as bar:
        bar.epoch(1, metrics, "-1.00")
    assert ("acceptance" in capsys.readouterr().out) == told


def test_the_bar_moves_with_every_step_and_a_plain_line_says_how_long_it_takes(capsys, monkeypatch):
    now = iter([0.0, 6.0, 12.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    with Screen().training(2, 5) as bar:
        places = [bar._progress.tasks[0].completed for _ in bar.steps(range(4), 4)]
        assert places == [2, 2.25, 2.5, 2.75]
        assert bar._progress.tasks[0].completed == 3
        for number in (3, 4):
            bar.epoch(number, {"seconds": 6.0}, "-1.00")
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "epoch 3/5  best -1.00  6.0 s  at most 0:00:12 left",
        "epoch 4/5  best -1.00  6.0 s  at most 0:00:06 left",
    ]


def test_a_notebook_has_one_line_that_each_epoch_writes_anew(capsys, monkeypatch):
    monkeypatch.setattr(console.time, "monotonic", lambda: 0.0)
    screen = Screen()
    screen._is_notebook = True
    with screen.training(0, 2) as bar:
        bar.epoch(1, {"seconds": 10.0}, "-1.00")
        bar.epoch(2, {"seconds": 6.0}, "-1.00")
    screen.note("done")
    first, second = "epoch 1/2  best -1.00  10.0 s", "epoch 2/2  best -1.00  6.0 s "
    assert capsys.readouterr().out == f"\r{first}\r{second}\ndone\n"
