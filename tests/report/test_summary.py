"""Many runs to one report: rows, groups, the best, the published numbers, one file."""

import csv
import json
import math
import re
import runpy
import sys

import pytest
from omegaconf import OmegaConf

from svae.metrics import catalogue
from svae.metrics.catalogue import of
from svae.plots import many
from svae.plots.style import figure
from svae.recording.folder import FAILED, FINISHED
from svae.recording.naming import chosen, run_name
from svae.report import comparison, summary
from tests.support.composed import composed
from tests.support.reported import Page, write_run


def test_a_group_is_all_but_the_seed(sweep):
    groups = comparison.read([sweep]).groups
    assert [g.settings for g in groups] == [
        {"model": model, "latent_dim": dimension}
        for dimension in ("2", "10")
        for model in ("normal", "vmf")
    ]
    assert [len(g.finished) for g in groups] == [2, 2, 2, 1]
    # the standard deviation of a sample of two: |a - b| / sqrt(2)
    metric = of("test/log_likelihood")
    assert groups[0].mean(metric) == -91.5
    assert groups[0].deviation(metric) == pytest.approx(3 / math.sqrt(2))
    assert groups[0].text(metric) == "−91.50 ± 2.12"
    assert groups[3].text(metric) == "−88.00"  # of one run there is no spread


def test_the_best_of_each_dimension_is_found(sweep):
    read = comparison.read([sweep])
    best = read.best(of("test/log_likelihood"))
    assert [g.settings["model"] for g in best] == ["vmf", "vmf"]
    assert read.best(of("test/kl")) == []


def test_a_collapse_is_told(tmp_path, capsys):
    for seed, collapse in enumerate(("posterior", "none", "posterior")):
        write_run(tmp_path / str(seed), "model=normal", f"seed={seed}", collapse=collapse)
    write_run(tmp_path / "3", "model=vmf")
    groups = comparison.read([tmp_path]).groups
    assert [group.collapse for group in groups] == ["posterior (2 of 3)", ""]
    summary.make([tmp_path])
    assert "posterior (2 of 3)" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert page.count("posterior (2 of 3)") == 1
    for number in (0, 2):
        file = tmp_path / str(number) / "results.json"
        file.write_text(file.read_text().replace("posterior", "none"))
    summary.make([tmp_path])
    assert "posterior" not in capsys.readouterr().out
    assert 'data-label="collapse"' not in (tmp_path / "report.html").read_text()


def test_published_numbers_stand_beside_those_of_their_preset(sweep, tmp_path):
    groups = comparison.read([sweep]).groups
    assert comparison.published(groups[2])["test/log_likelihood"] == "−93.84 ± 0.30"
    assert comparison.published(groups[2])["test/elbo"] == "−98.36"
    write_run(tmp_path / "0", "model=vmf", "latent_dim=10")
    write_run(tmp_path / "1", "model=vmf", "latent_dim=10", "experiment=vanishing_surface")
    assert [comparison.published(g) for g in comparison.read([tmp_path]).groups] == [{}, {}]


def test_what_differs_beyond_the_preset_has_no_published_numbers(tmp_path):
    for number, rate in enumerate(("1e-3", "1e-2")):
        words = ("experiment=table1", "model=vmf", f"trainer.learning_rate={rate}")
        write_run(tmp_path / str(number), *words)
    groups = comparison.read([tmp_path]).groups
    assert [g.settings["trainer.learning_rate"] for g in groups] == ["0.001", "0.01"]
    assert [comparison.published(g) for g in groups] == [{}, {}]


def test_no_run_beyond_the_preset_has_published_numbers(tmp_path):
    words = ("experiment=table1", "model=vmf", "latent_dim=10")
    write_run(tmp_path / "start" / "0", *words, "model.initial_concentration=m")
    (group,) = comparison.read([tmp_path / "start"]).groups
    assert comparison.published(group) == {}
    write_run(tmp_path / "a" / "0", *words, "network.unit_variance=true")
    (group,) = comparison.read([tmp_path / "a"]).groups
    assert comparison.published(group) == {}
    write_run(tmp_path / "b" / "0", *words, "trainer.compile=true", "dataset.root=/data")
    groups = comparison.read([tmp_path / "a", tmp_path / "b"]).groups
    found = {g.settings["network.unit_variance"]: comparison.published(g) for g in groups}
    assert found["True"] == {}
    assert found["False"]["test/log_likelihood"] == "−93.16 ± 0.31"


def test_runs_of_before_another_default_are_a_group_of_their_own(tmp_path):
    for number in range(3):
        write_run(tmp_path / str(number), "model=vmf", f"seed={number}")
    assert len(comparison.read([tmp_path]).groups) == 1
    file = tmp_path / "0" / "config.yaml"
    config = OmegaConf.load(file)
    for key in ("averaging", "bound"):  # of which the first is another now
        del config.trainer[key]
    file.write_text(OmegaConf.to_yaml(config))
    read = comparison.read([tmp_path])
    assert [g.settings["trainer.averaging"] for g in read.groups] == ["False", "True"]
    assert [len(g.runs) for g in read.groups] == [1, 2]
    assert "trainer.bound" not in read.runs[0].settings


def test_summary_has_a_row_per_run(made):
    rows = list(csv.DictReader((made / "summary.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == [str(n) for n in range(8)]
    assert rows[3]["state"] == "failed"
    assert rows[3]["error"] == "val/elbo is nan in epoch <3>"
    assert rows[3]["test/elbo"] == ""
    assert rows[2]["name"] == "vmf-d10-s0"
    assert rows[2]["test/elbo"] == "-93.0"
    assert rows[2]["experiment"] == "table1"


def test_the_page_is_one_file_that_fetches_nothing(made):
    text = (made / "report.html").read_text()
    page = Page(text)
    assert page.open in ([], ["html"])
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert "<script" not in text
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", text)
    assert "@import" not in text


def test_the_page_shows_what_the_issue_of_a_sweep_is(made):
    text = (made / "report.html").read_text()
    words = "".join(Page(text).text)
    assert "8 runs (1 failed, 7 finished)" in words
    assert "val/elbo is nan in epoch <3>" in words
    assert "<strong>−89.50 ± 2.12</strong>" in text
    assert "published −93.84 ± 0.30" in words
    charts = re.findall(r'aria-label="([^"]*)"', text)
    assert "log-likelihood against latent dimension" in charts
    assert "val/elbo per epoch, latent dimension 10" in charts
    assert "observed acceptance rate against expected acceptance rate" in charts
    # every colour is the page's, for the dark
    inside = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--series-1)" in inside
    assert set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]+)", inside)) <= {"#000000"}


def test_a_legend_names_what_is_drawn(tmp_path):
    for number, model in enumerate(("normal", "vmf", "power_spherical")):
        for dimension in (2, 5):
            words = (f"model={model}", f"latent_dim={dimension}")
            state = FAILED if model == "vmf" else FINISHED
            write_run(tmp_path / f"{number}{dimension}", *words, state=state)
    summary.make([tmp_path])
    text = (tmp_path / "report.html").read_text()
    against = text[text.index("<h2>Against") : text.index("<h2>Learning")]
    entries = re.findall(r"series-(\d)\)\">(\w+)</li>", against)
    assert entries == [("0", "normal"), ("1", "power_spherical")]


def test_rates_that_differ_by_noise_lie_together():
    axes = figure(3, 3).subplots()
    drawn = {0: [(0.7, 0.7003)], 1: [(0.7002, 0.7)]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "_svg", lambda draw, _: draw(axes))
        many.agreement(drawn, "expected", "observed")
    low, high = axes.get_xlim()
    assert high - low == pytest.approx(0.1)


def test_the_recovery_of_a_known_truth_is_compared(tmp_path, capsys):
    for number, error in enumerate((4.0, 6.0)):
        write_run(tmp_path / str(number), "dataset=circle", "latent_dim=1", f"seed={number}")
        file = tmp_path / str(number) / "results.json"
        known = {"recovery_correlation": 0.99, "recovery_error": error, "prior_mismatch": 0.08}
        more = {f"test/{name}": value for name, value in known.items()}
        file.write_text(json.dumps(json.loads(file.read_text()) | more))
    summary.make([tmp_path])
    assert "5.00 ± 1.41" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in ("recovery correlation", "prior mismatch"))
    assert "log density" not in page


def test_the_report_says_what_its_ranking_metrics_mean(tmp_path):
    write_run(tmp_path / "0", "dataset=sphere_graph", "seed=0")
    file = tmp_path / "0" / "results.json"
    ranked = [metric for metric in catalogue.METRICS if metric.meaning]
    more = dict.fromkeys((metric.final for metric in ranked), 0.9)
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    summary.make([tmp_path])
    page = (tmp_path / "report.html").read_text()
    shown = [metric for metric in ranked if catalogue.REPORT in metric.places]
    assert {"auc", "auc_validation_messages", "probe_accuracy"} <= {m.name for m in shown}
    for metric in shown:
        assert page.count(f"<li>{metric.label}: {metric.meaning}</li>") == 1


def test_charts_have_colours_for_any_number_of_lines():
    picture = many.agreement({300: [(0.1, 0.1)], 1: [(0.2, 0.2)]}, "#0a0bzz", "observed")
    assert 'aria-label="observed against #0a0bzz"' in picture
    assert "var(--series-4)" in picture


def test_the_expected_acceptance_rate_is_that_of_the_concentrations(sweep):
    import torch

    from svae.distributions import VonMisesFisher

    run = comparison.read([sweep]).runs[2]
    expected, observed = run.acceptance
    q = VonMisesFisher(torch.eye(4)[0], torch.tensor(10.0))
    assert expected == pytest.approx(q.expected_acceptance_rate.item(), rel=1e-6)
    assert observed == 0.75


def test_several_folders_make_one_report_in_the_first(sweep, tmp_path, capsys):
    write_run(
        tmp_path / "other" / "0", "model=vmf", "latent_dim=10", "seed=7", "logger.mode=offline"
    )
    summary.make([tmp_path / "other", sweep])
    rows = list(csv.DictReader((tmp_path / "other" / "summary.csv").read_text().splitlines()))
    assert [row["run"] for row in rows][:2] == ["other/0", f"{sweep.name}/0"]
    # where it logs to does not tell runs apart, the protocol does
    groups = comparison.read([tmp_path / "other", sweep]).groups
    assert list(groups[0].settings) == ["model", "latent_dim", "experiment"]
    assert "log-likelihood" in capsys.readouterr().out


def test_a_folder_without_runs_beside_others_is_refused(sweep, tmp_path):
    with pytest.raises(ValueError, match="typo: expected run folders below it, found none"):
        comparison.read([sweep, tmp_path / "typo"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["/nowhere"]])
def test_a_wrong_folder_is_told_in_one_sentence(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("svae.report", run_name="__main__")
    if arguments == ["/nowhere"]:
        assert stopped.value.code == 2
        assert "expected run folders below it, found none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "vmf-d10-s0"),
        (["model=normal", "latent_dim=2", "seed=4"], "normal-d2-s4"),
        (["model=power_spherical"], "power_spherical-d10-s0"),
    ],
)
def test_runs_have_readable_names(words, name):
    config = OmegaConf.to_container(composed(*words))
    assert run_name(config) == name
    assert chosen(config, "dataset") == "mnist"
    config["model"]["_target_"] = "mine.Family"
    assert run_name(config).startswith("Family-d")
