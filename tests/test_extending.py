"""Classes of one's own: those of docs/extending.md through all of a run."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import svae
from tests.conftest import QUICK, ROOT
from tests.faults.runs import outcome, status, wait_for_epoch
from tests.support import hooks
from tests.support.forked import Program

PAGE = (ROOT / "docs" / "extending.md").read_text()
FILE = re.compile(r"^`([\w./]+)`\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    "pair": (
        ("model=pair", "dataset=bars"),
        {"reconstructions", "samples", "curves", "spreads", "latent", "interpolations"},
        (),
    ),
    "conv": (("network=pictures", "dataset=bars"), {"latent", "interpolations", "samples"}, ()),
    "bars": (("dataset=bars",), {"latent", "interpolations", "samples"}, ()),
    "counts": (("dataset=counts",), {"latent", "spreads"}, ()),
}


# a layer that is fixed, as of a pretrained network, one that is not used, and one half of the time
PARTS = """
import torch
from torch import nn

from svae.models.dense import AutoEncoder


class Parts(AutoEncoder):
    def __init__(self, features, latent, likelihood="bernoulli", hidden=(8,), half=False):
        super().__init__(features, latent, likelihood, hidden, half)
        self.encoder[0].requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.more = nn.Linear(features, features)

    def posterior(self, x):
        if not self.training or torch.rand(()) < 0.5:
            x = x + self.more(x)
        return super().posterior(x)
"""


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Path:
    """The folder that the page describes, with the files that it prints."""
    folder = tmp_path_factory.mktemp("own") / "my own classes"
    for name, text in FILE.findall(PAGE):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_the_page_holds_every_example(own):
    names = {str(file.relative_to(own)) for file in own.rglob("*.*")}
    assert names == {
        *("spheres.py", "model/pair.yaml", "pictures.py", "network/pictures.yaml"),
        *("bars.py", "dataset/bars.yaml", "counts.py", "dataset/counts.yaml"),
    }
    assert len(PAGE.splitlines()) <= 250


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_goes_through_everything(own, name, tmp_path, environment):
    typed, drawn, left_out = EXAMPLES[name]
    vouched = ("--config-dir", str(own))
    quiet = (*QUICK, "latent_dim=4", "trainer.max_epochs=3", "logger.mode=disabled")

    def train(*arguments, code=0, **named):
        done = Program(list(arguments), tmp_path, environment, **named).wait()
        assert done.returncode == code, done.stderr
        return done

    line = (*vouched, *typed, *quiet, "hydra.run.dir=r")
    process = Program(list(line), tmp_path, environment, hooks.slow)
    wait_for_epoch(process, tmp_path / "r", 2)
    process.send(signal.SIGTERM)
    command = shlex.split(process.wait().stderr.partition("continue with: ")[2])
    assert status(tmp_path / "r")["state"] == "interrupted"
    refused = train(*[word for word in command[1:] if word not in vouched], code=2)
    assert "vouch for it by --config-dir DIR" in refused.stderr
    done = train(*command[1:])
    assert status(tmp_path / "r")["state"] == "finished"
    assert drawn <= {file.stem for file in (tmp_path / "r" / "plots").iterdir()}
    found = re.findall("left out: (.*)", done.stdout)
    assert found == list(left_out)

    sweep = ("-m", *vouched, *typed, *quiet, "plots=false", "seed=0,1", "hydra.sweep.dir=s")
    train(*sweep)
    assert outcome(tmp_path / "s" / "0") == outcome(tmp_path / "r")
    assert "2 runs finished earlier" in train(*sweep).stdout
    command = [sys.executable, "-m", "svae.report", "s"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert "left out" not in (tmp_path / "s" / "report.html").read_text()

    train(*vouched, "evaluate=r", "evaluation.importance_samples=30", "plots=false")
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert results["importance_samples"] == 30

    if name != "bars":  # whose model is the package's
        with pytest.raises(ValueError, match=r"in Python by trust=\[DIR\]"):
            svae.load(tmp_path / "r")
    model, _ = svae.load(tmp_path / "r", trust=[own])
    latent = model.prior().draw((5, 2)).value
    assert model.likelihood(latent).batch_shape == (5, 2)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_network_of_which_not_all_is_trained_goes_on(replicas, tmp_path, environment):
    folder = tmp_path / "own"
    (folder / "network").mkdir(parents=True)
    (folder / "parts.py").write_text(PARTS)
    (folder / "network" / "parts.yaml").write_text("_target_: parts.Parts\nhidden: [8]\n")
    keys = ("network=parts", "trainer=minibatch", f"trainer.replicas={replicas}", "plots=false")
    line = ("--config-dir", str(folder), *QUICK, *keys, "latent_dim=2", "logger.mode=disabled")

    def train(*arguments):
        done = Program(list(arguments), tmp_path, environment).wait()
        assert done.returncode == 0, done.stderr

    train(*line, "trainer.max_epochs=3", "hydra.run.dir=whole")
    train(*line, "trainer.max_epochs=2", "hydra.run.dir=parts")
    train("--config-dir", str(folder), "resume=parts", "trainer.max_epochs=3")
    place = "0" if replicas > 1 else ""
    found, whole = (svae.Run(tmp_path / run / place, trust=[folder]) for run in ("parts", "whole"))
    assert found.history[2]["train/elbo"] == whole.history[2]["train/elbo"]
