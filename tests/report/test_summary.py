"""Many runs to one report: rows, groups, the best, the published numbers, one file."""

import csv
import io
import json
import math
import re
import runpy
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from omegaconf import OmegaConf

from svae.cli import watch
from svae.cli.sweeps import Sweep
from svae.metrics import catalogue
from svae.metrics.catalogue import of
from svae.plots import many
from svae.plots.style import figure
from svae.recording.folder import FAILED, FINISHED
from svae.recording.naming import chosen, run_name
from svae.recording.terminal import visible
from svae.report import comparison, summary
from svae.run import Run
from tests.support.composed import composed


def _run(folder, *overrides, value=-90.0, state=FINISHED, error=None, collapse="none"):
    """Write what a run leaves that the report reads."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(OmegaConf.to_yaml(list(overrides)))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(composed(*overrides)))
    status = {"state": state, "epoch": 2, "error": error}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.csv").write_text("epoch,val/elbo,seconds\n1,-200,1.5\n2,-100,1.25\n")
    if state == FINISHED:
        names = ("log_likelihood", "elbo", "kl", "acceptance_rate")
        results = {
            f"test/{n}": v for n, v in zip(names, (value, value - 5, 20.0, 0.75), strict=True)
        }
        results |= {"seconds": 2.75, "device": "cpu", "versions": {"torch": "2"}}
        results["collapse"] = collapse
        (folder / "results.json").write_text(json.dumps(results))
        if "model=vmf" in overrides:
            loc = np.tile(np.eye(4, dtype=np.float32)[0], (5, 1))
            concentration = np.full(5, 10.0, np.float32)
            np.savez(folder / "latents.npz", loc=loc, concentration=concentration)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two models at two dimensions with two seeds, one of them failed."""
    folder = tmp_path_factory.mktemp("sweep")
    number = 0
    for dimension in (10, 2):
        for model, value in (("normal", -90.0), ("vmf", -88.0)):
            for seed in (0, 1):
                words = (f"model={model}", f"latent_dim={dimension}", f"seed={seed}")
                fails = number == 3
                _run(
                    folder / str(number),
                    *words,
                    "experiment=table1",
                    value=value - 3 * seed,
                    state=FAILED if fails else FINISHED,
                    error="val/elbo is nan in epoch <3>" if fails else None,
                )
                number += 1
    return folder


@pytest.fixture(scope="module")
def made(sweep):
    summary.make([sweep])
    return sweep


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
        _run(tmp_path / str(seed), "model=normal", f"seed={seed}", collapse=collapse)
    _run(tmp_path / "3", "model=vmf")
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", ""),
        ("config.yaml", "a: ["),
        ("config.yaml", "seed: 3\n"),
        ("results.json", ""),
        ("results.json", "[1]"),
        ("metrics.csv", "epoch,val/elbo\n1,x\n"),
        (".hydra/overrides.yaml", ""),
    ],
)
def test_a_damaged_run_is_left_out_and_named(tmp_path, capsys, name, content):
    for number in range(2):
        _run(tmp_path / str(number), "model=vmf", f"seed={number}")
    (tmp_path / "1" / name).write_text(content)
    summary.make([tmp_path])
    shown = capsys.readouterr().out
    assert f"left out: {tmp_path}/1" in shown
    assert name.rsplit("/", 1)[-1] in shown
    assert "1 run (1 finished)" in (tmp_path / "report.html").read_text()
    with watch.watching(Sweep([], tmp_path, runs=2)):  # is none the worse for it
        (tmp_path / "1" / "status.json").touch()
    assert "[2/2]" not in capsys.readouterr().out


@pytest.mark.parametrize("key", ["latent_dim", "seed", "objective"])
def test_a_list_where_a_value_stands_is_left_out_and_named(tmp_path, key):
    for number in range(2):
        _run(tmp_path / str(number), "model=vmf", f"seed={number}")
    _rewrite(tmp_path / "1" / "config.yaml", **{key: [1]})
    found = comparison.read([tmp_path])
    (reason,) = found.left_out
    assert reason.startswith(f"{tmp_path}/1/config.yaml: {key}=[1]: expected ")
    assert len(found.runs) == 1


def test_published_numbers_stand_beside_those_of_their_preset(sweep, tmp_path):
    groups = comparison.read([sweep]).groups
    assert comparison.published(groups[2])["test/log_likelihood"] == "−93.84 ± 0.30"
    assert comparison.published(groups[2])["test/elbo"] == "−98.36"
    _run(tmp_path / "0", "model=vmf", "latent_dim=10")
    _run(tmp_path / "1", "model=vmf", "latent_dim=10", "experiment=vanishing_surface")
    assert [comparison.published(g) for g in comparison.read([tmp_path]).groups] == [{}, {}]


def test_what_differs_beyond_the_preset_has_no_published_numbers(tmp_path):
    for number, rate in enumerate(("1e-3", "1e-2")):
        words = ("experiment=table1", "model=vmf", f"trainer.learning_rate={rate}")
        _run(tmp_path / str(number), *words)
    groups = comparison.read([tmp_path]).groups
    assert [g.settings["trainer.learning_rate"] for g in groups] == ["0.001", "0.01"]
    assert [comparison.published(g) for g in groups] == [{}, {}]


def test_no_run_beyond_the_preset_has_published_numbers(tmp_path):
    words = ("experiment=table1", "model=vmf", "latent_dim=10")
    _run(tmp_path / "start" / "0", *words, "model.initial_concentration=m")
    (group,) = comparison.read([tmp_path / "start"]).groups
    assert comparison.published(group) == {}
    _run(tmp_path / "a" / "0", *words, "network.unit_variance=true")
    (group,) = comparison.read([tmp_path / "a"]).groups
    assert comparison.published(group) == {}
    _run(tmp_path / "b" / "0", *words, "trainer.compile=true", "dataset.root=/data")
    groups = comparison.read([tmp_path / "a", tmp_path / "b"]).groups
    found = {g.settings["network.unit_variance"]: comparison.published(g) for g in groups}
    assert found["True"] == {}
    assert found["False"]["test/log_likelihood"] == "−93.16 ± 0.31"


def test_runs_of_before_another_default_are_a_group_of_their_own(tmp_path):
    for number in range(3):
        _run(tmp_path / str(number), "model=vmf", f"seed={number}")
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


class _Page(HTMLParser):
    """The page's parts: text, and what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.text, self.sources, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br", "use", "path", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_one_file_that_fetches_nothing(made):
    text = (made / "report.html").read_text()
    page = _Page(text)
    assert page.open in ([], ["html"])
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert "<script" not in text
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", text)
    assert "@import" not in text


def test_the_page_shows_what_the_issue_of_a_sweep_is(made):
    text = (made / "report.html").read_text()
    words = "".join(_Page(text).text)
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
            _run(tmp_path / f"{number}{dimension}", *words, state=state)
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
        _run(tmp_path / str(number), "dataset=circle", "latent_dim=1", f"seed={number}")
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
    _run(tmp_path / "0", "dataset=sphere_graph", "seed=0")
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


BAD = ("text", "[/bold]", [1.0], {"a": 1}, math.nan, -math.inf, 10**400, True, None)


def test_what_is_no_number_is_not_shown_and_ends_no_report(tmp_path, capsys):
    names = ("test/log_likelihood", "test/elbo", "test/kl", "test/acceptance_rate", "seconds")
    for number, bad in enumerate(BAD):
        own = tmp_path / str(number)
        _run(own, "model=vmf", f"latent_dim={2 + number % 2}", f"seed={number}")
        (own / "results.json").write_text(json.dumps(dict.fromkeys(names, bad)))
        (own / "metrics.csv").write_text(
            "epoch,val/elbo,seconds\n1,-inf,1\n2,nan,nan\n3,1e308,1\n4,-9,1\n"
        )
    _run(tmp_path / "good", "model=vmf", "latent_dim=2", "seed=100", value=-77.0)
    _run(tmp_path / "other", "model=vmf", "latent_dim=3", "seed=100", collapse=["x"])
    np.savez(tmp_path / "good" / "latents.npz", loc=np.array(["a"]), concentration=np.ones(3))
    summary.make([tmp_path])
    assert "−77.00" in capsys.readouterr().out
    cells = re.findall(r'data-label="log-likelihood">(.*?)</td>', _text(tmp_path))
    assert cells == ["<span>−77.00</span>", "<span>−90.00</span>"]
    damaged = f"{tmp_path / 'good' / 'latents.npz'}: expected loc and concentration"
    assert re.findall(r"<p>(.*expected.*)</p>", _text(tmp_path)) == [
        f"{damaged} of von Mises-Fisher posteriors"
    ]
    for number in range(len(BAD)):
        assert Run(tmp_path / str(number)).headline is None


def _text(folder):
    return (folder / "report.html").read_text()


def test_values_do_not_style_the_terminal(tmp_path, capsys):
    words = ("[/bold]", "[bold]wide[/bold]", "[link=http://x]y", ":warning:")
    for number, word in enumerate(words):
        _run(tmp_path / str(number), "model=vmf", "logger.mode=offline")
        lines = OmegaConf.to_yaml(["model=vmf", f"+[/key]={word}"])
        (tmp_path / str(number) / ".hydra" / "overrides.yaml").write_text(lines)
    summary.make([tmp_path])
    shown = capsys.readouterr().out
    assert all(word in shown for word in (*words, "[/key]"))


def _rewrite(file, **values):
    """Let a file of a run say something else of its uppermost keys."""
    file.write_text(OmegaConf.to_yaml({**OmegaConf.load(file), **values}))


def test_what_a_run_folder_says_is_text_on_the_page_and_in_the_terminal(tmp_path, capsys):
    words = ("<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "\x1b[2J\x9b31m")
    for number, word in enumerate(words):
        own = tmp_path / str(number)
        _run(own, "model=vmf", state=FAILED if number else FINISHED, error=f"={word}")
        model = {"_target_": f"mine.{word}"}
        _rewrite(own / "config.yaml", model=model, latent_dim=word, objective=f"val/{word}")
        (own / "metrics.csv").write_text(f"epoch,val/{word},seconds\n1,-200,1.5\n")
        (own / ".hydra" / "overrides.yaml").write_text(json.dumps([f"+{word}={word}"]))
    (own / "results.json").write_text(json.dumps({"=1": words[0], "test/kl": -3.2}))
    (tmp_path / "0" / "plots").mkdir()
    (tmp_path / "0" / "plots" / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary.make([tmp_path])
    page, told = _Page(_text(tmp_path)), capsys.readouterr()
    assert "<script" not in _text(tmp_path)
    assert "x" not in page.sources
    assert all("".join(page.text).count(word) > 3 for word in words)
    assert "\x1b" not in told.out + told.err
    assert visible(words[2]) in told.out
    rows = csv.reader((tmp_path / "summary.csv").read_text().splitlines())
    signs = [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert signs == ["-90.0", "-95.0", "-3.2"]


@pytest.mark.parametrize("linked", ["plots", "plots/samples.png"])
def test_a_picture_is_not_read_through_a_link(sweep, tmp_path, linked):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\nprecious")
    (entry, *_) = comparison.read([sweep]).runs
    own = tmp_path / "run" / linked
    own.parent.mkdir(parents=True)
    own.symlink_to(tmp_path / linked)
    assert replace(entry, run=Namespace(path=tmp_path)).picture("samples").endswith(b"precious")
    assert replace(entry, run=Namespace(path=tmp_path / "run")).picture("samples") == b""


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *(("=1+1", "'=1+1"), ("+A1", "'+A1"), ("-A1", "'-A1"), ("@SUM(1)", "'@SUM(1)")),
        *(
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("-3.2", "-3.2"),
            ("+1e-3", "+1e-3"),
            ("a=1", "a=1"),
            ("a\x1b[2J", "a\\x1b[2J"),
            ("=\x07\x9b", "'=\\x07\\x9b"),
            ("\x1b=1", "\\x1b=1"),
        ),
        *((-3.2, -3.2), (None, None), (True, True)),
    ],
)
def test_a_cell_of_text_is_no_formula(text, cell):
    assert summary._cell(text) == cell


def test_charts_have_colours_for_any_number_of_lines():
    picture = many.agreement({300: [(0.1, 0.1)], 1: [(0.2, 0.2)]}, "#0a0bzz", "observed")
    assert 'aria-label="observed against #0a0bzz"' in picture
    assert "var(--series-4)" in picture


def _saved(write, **arrays):
    buffer = io.BytesIO()
    write(buffer, **arrays)
    return buffer.getvalue()


LOC, KAPPA = np.eye(4, dtype=np.float32), np.ones(4, np.float32)
DAMAGED = [
    *((b"", "not a zip"), (b"\x80\x04.", "not a zip"), (b"PK\x03\x04", "not a zip")),
    (_saved(np.savez_compressed, loc=LOC), "compressed"),
    (_saved(np.savez, loc=LOC), "loc and concentration"),
    (_saved(np.savez, loc=LOC, concentration=KAPPA[:3]), "loc and concentration"),
    (_saved(np.savez, loc=LOC, concentration=KAPPA * np.nan), "loc and concentration"),
    (_saved(np.savez, loc=LOC, concentration=np.array(["a"])), "loc and concentration"),
    (_saved(np.savez, loc=LOC, concentration=np.array([{}])), "arrays by name"),
]


@pytest.mark.parametrize(("content", "reason"), DAMAGED, ids=lambda value: str(value)[:20])
def test_damaged_latents_are_left_out_and_named_and_their_run_is_not(
    sweep, tmp_path, content, reason
):
    for number in (2, 6):
        shutil.copytree(sweep / str(number), tmp_path / str(number))
    file = tmp_path / "6" / "latents.npz"
    file.write_bytes(content)
    read = comparison.read([tmp_path])
    assert [run.acceptance is None for run in read.runs] == [False, True]
    (said,) = read.left_out
    assert said.startswith(f"{file}: expected")
    assert reason in said
    assert "trust" not in said


def test_names_in_a_chart_are_text_whatever_they_hold(tmp_path):
    for number, word in enumerate((r"$\frac{$", "nan", "1e999", "-1", "$", "x")):
        _run(tmp_path / str(number), "model=vmf")
        file = tmp_path / str(number) / "config.yaml"
        config = OmegaConf.load(file)
        config.latent_dim, config.objective = word, f"val/{word}"
        file.write_text(OmegaConf.to_yaml(config))
        rows = f"epoch,val/{word},seconds\n1,-200,1.5\n"
        (tmp_path / str(number) / "metrics.csv").write_text(rows)
    summary.make([tmp_path])
    assert r'aria-label="val/$\frac{$ per epoch, latent dimension $\frac{$"' in _text(tmp_path)


def test_text_that_is_no_unicode_is_damage(tmp_path, capsys):
    for number in range(2):
        _run(tmp_path / str(number), "model=vmf", f"seed={number}")
    (tmp_path / "1" / "results.json").write_text('{"note": "\\ud800"}')
    summary.make([tmp_path])
    assert f"left out: {tmp_path}/1: holds text that is no Unicode" in capsys.readouterr().out


def test_the_expected_acceptance_rate_is_that_of_the_concentrations(sweep):
    import torch

    from svae.distributions import VonMisesFisher

    run = comparison.read([sweep]).runs[2]
    expected, observed = run.acceptance
    q = VonMisesFisher(torch.eye(4)[0], torch.tensor(10.0))
    assert expected == pytest.approx(q.expected_acceptance_rate.item(), rel=1e-6)
    assert observed == 0.75


def test_several_folders_make_one_report_in_the_first(sweep, tmp_path, capsys):
    _run(tmp_path / "other" / "0", "model=vmf", "latent_dim=10", "seed=7", "logger.mode=offline")
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
