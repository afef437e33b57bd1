"""What is said before the first epoch agrees with the data and the model."""

import numpy as np
import pytest
import torch

from svae import experiment
from svae.recording import opening as module
from svae.recording.opening import opening
from tests.support.swept import composed


def _said(*line):
    (one,) = experiment.prepare(composed(*line, "device=cpu"))
    lines = opening(one.config, one.device, one.data, one.model)
    return [text for _, text in lines], one.model


def test_images_are_described_with_their_law_and_their_splits(tmp_path):
    images = np.random.default_rng(0).integers(0, 200, (50, 4, 6), dtype=np.uint8)
    images[0, 0, :2] = 0, 200
    np.savez(tmp_path / "x.npz", train=images, test=images[:7])
    said, model = _said("dataset=array", f"dataset.file={tmp_path / 'x.npz'}", "latent_dim=3")
    assert said[0].startswith("array: 4 x 6 pixels from 0 to 200, of which each is drawn as 0 or 1")
    assert said[0].endswith("(bernoulli likelihood)")
    assert said[1] == "read as uint8 from 0 to 200, divided by 255"
    drawn = "validation drawn from train by dataset.split_seed=0"
    assert said[2] == f"45 train, 5 validate, 7 test; {drawn}"
    count = sum(parameter.numel() for parameter in model.parameters())
    assert said[3] == f"vmf on S^3, 5 numbers per posterior; mlp, {count:,} parameters"
    assert said[4] == "learning rate 0.001, batches of 64, at most 80 epochs; watches val/elbo"
    assert said[5].endswith("float32")


def test_where_a_file_is_read_what_it_holds_is_said(tmp_path):
    (tmp_path / "x.csv").write_text("phi,label\n" + "-90,1\n170,2\n" * 20)
    line = ("dataset=directions", f"dataset.file={tmp_path / 'x.csv'}", "dataset.unit=degrees")
    said, _ = _said(*line)
    assert said[1] == "read as angles from -90 to 170 degrees, put on circles"
    assert said[2].endswith("at random by dataset.split_seed=0, of each class its share")
    said, _ = _said(*line, "dataset.order=file")
    assert said[2].endswith("in order, the last rows test")


@pytest.mark.parametrize(
    ("line", "data", "model"),
    [
        (("dataset=circle", "dataset.observations=70"), "100 numbers from -", "vmf on S^1,"),
        (("dataset=directions", "dataset.observations=70"), "8 unit vectors of 2", "vmf on S^1,"),
        (
            ("dataset=sphere_graph", "dataset.nodes=60", "dataset.edges=200", "model=normal"),
            "a graph of 60 nodes with 32 features",
            "normal on R^10, 20 numbers",
        ),
    ],
)
def test_every_kind_of_data_is_described(line, data, model):
    said, _ = _said(*line)
    assert data in said[0]
    assert model in said[2]
    if "graph" in line[0]:
        assert said[1].startswith("edges: 170 train, 10 validate, 20 test; ")
        assert said[3] == "learning rate 0.01, at most 200 epochs; watches val/auc"


@pytest.mark.parametrize(
    ("family", "muon"), [("vmf", ("6", "")), ("normal", ("5", ", encoder.4.weight"))]
)
def test_who_trains_which_parameters_is_said(family, muon):
    line = ("dataset=circle", "dataset.observations=70", f"model={family}")
    said, _ = _said(*line, "trainer.optimizer=muon")
    count, head = muon
    assert said[4] == f"muon for {count} weight matrices, adam for the others (biases{head})"
    assert said[5].endswith("float32")


@pytest.mark.parametrize(("seconds", "words"), [(3.0, ", 1.5 times slower than"), (1.0, "")])
def test_a_precision_that_costs_time_here_is_said(monkeypatch, seconds, words):
    times = {torch.bfloat16: seconds, torch.float32: 2.0}
    monkeypatch.setattr(module, "_product_seconds", times.__getitem__)
    said, _ = _said("dataset=circle", "dataset.observations=70", "precision=bf16")
    assert said[-1].split("bf16")[1].startswith(words)
    assert ("slower" in said[-1]) == bool(words)


def test_a_product_takes_time_in_both_precisions():
    assert min(map(module._product_seconds, (torch.bfloat16, torch.float32))) > 0
