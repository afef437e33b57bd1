"""Runs that are damaged, or whose words and files come from anybody."""

import csv
import io
import json
import math
import re
import shutil
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from svae.cli import watch
from svae.cli.sweeps import Sweep
from svae.recording.folder import FAILED, FINISHED
from svae.recording.terminal import visible
from svae.report import comparison, summary
from svae.run import Run
from tests.support.reported import Page, page_of, write_run


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
        write_run(tmp_path / str(number), "model=vmf", f"seed={number}")
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
        write_run(tmp_path / str(number), "model=vmf", f"seed={number}")
    _rewrite(tmp_path / "1" / "config.yaml", **{key: [1]})
    found = comparison.read([tmp_path])
    (reason,) = found.left_out
    assert reason.startswith(f"{tmp_path}/1/config.yaml: {key}=[1]: expected ")
    assert len(found.runs) == 1


BAD = ("text", "[/bold]", [1.0], {"a": 1}, math.nan, -math.inf, 10**400, True, None)


def test_what_is_no_number_is_not_shown_and_ends_no_report(tmp_path, capsys):
    names = ("test/log_likelihood", "test/elbo", "test/kl", "test/acceptance_rate", "seconds")
    for number, bad in enumerate(BAD):
        own = tmp_path / str(number)
        write_run(own, "model=vmf", f"latent_dim={2 + number % 2}", f"seed={number}")
        (own / "results.json").write_text(json.dumps(dict.fromkeys(names, bad)))
        (own / "metrics.csv").write_text(
            "epoch,val/elbo,seconds\n1,-inf,1\n2,nan,nan\n3,1e308,1\n4,-9,1\n"
        )
    write_run(tmp_path / "good", "model=vmf", "latent_dim=2", "seed=100", value=-77.0)
    write_run(tmp_path / "other", "model=vmf", "latent_dim=3", "seed=100", collapse=["x"])
    np.savez(tmp_path / "good" / "latents.npz", loc=np.array(["a"]), concentration=np.ones(3))
    summary.make([tmp_path])
    assert "−77.00" in capsys.readouterr().out
    cells = re.findall(r'data-label="log-likelihood">(.*?)</td>', page_of(tmp_path))
    assert cells == ["<span>−77.00</span>", "<span>−90.00</span>"]
    damaged = f"{tmp_path / 'good' / 'latents.npz'}: expected loc and concentration"
    assert re.findall(r"<p>(.*expected.*)</p>", page_of(tmp_path)) == [
        f"{damaged} of von Mises-Fisher posteriors"
    ]
    for number in range(len(BAD)):
        assert Run(tmp_path / str(number)).headline is None


def test_values_do_not_style_the_terminal(tmp_path, capsys):
    words = ("[/bold]", "[bold]wide[/bold]", "[link=http://x]y", ":warning:")
    for number, word in enumerate(words):
        write_run(tmp_path / str(number), "model=vmf", "logger.mode=offline")
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
        write_run(own, "model=vmf", state=FAILED if number else FINISHED, error=f"={word}")
        model = {"_target_": f"mine.{word}"}
        _rewrite(own / "config.yaml", model=model, latent_dim=word, objective=f"val/{word}")
        (own / "metrics.csv").write_text(f"epoch,val/{word},seconds\n1,-200,1.5\n")
        (own / ".hydra" / "overrides.yaml").write_text(json.dumps([f"+{word}={word}"]))
    (own / "results.json").write_text(json.dumps({"=1": words[0], "test/kl": -3.2}))
    (tmp_path / "0" / "plots").mkdir()
    (tmp_path / "0" / "plots" / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary.make([tmp_path])
    page, told = Page(page_of(tmp_path)), capsys.readouterr()
    assert "<script" not in page_of(tmp_path)
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
        write_run(tmp_path / str(number), "model=vmf")
        file = tmp_path / str(number) / "config.yaml"
        config = OmegaConf.load(file)
        config.latent_dim, config.objective = word, f"val/{word}"
        file.write_text(OmegaConf.to_yaml(config))
        rows = f"epoch,val/{word},seconds\n1,-200,1.5\n"
        (tmp_path / str(number) / "metrics.csv").write_text(rows)
    summary.make([tmp_path])
    assert r'aria-label="val/$\frac{$ per epoch, latent dimension $\frac{$"' in page_of(tmp_path)


def test_text_that_is_no_unicode_is_damage(tmp_path, capsys):
    for number in range(2):
        write_run(tmp_path / str(number), "model=vmf", f"seed={number}")
    (tmp_path / "1" / "results.json").write_text('{"note": "\\ud800"}')
    summary.make([tmp_path])
    assert f"left out: {tmp_path}/1: holds text that is no Unicode" in capsys.readouterr().out
