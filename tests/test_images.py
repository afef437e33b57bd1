"""Coloured images by the convolutional network, as a person has them, from file to pictures."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

import svae
from svae.data import array
from svae.models.conv import ConvolutionalAutoEncoder
from svae.models.latent import VonMisesFisherFamily
from svae.objectives import elbo
from svae.training import compiled, step
from tests.support.shapes import coloured_shapes

pytestmark = pytest.mark.slow

LINE = (
    *("dataset=array", "dataset.file=shapes.npz", "network=conv", "network.channels=8"),
    *("latent_dim=6", "trainer.warmup_epochs=1", "trainer.batch_size=10"),
    *("trainer.optimizer=muon", "trainer.patience=30"),
    *("evaluation.importance_samples=20", "logger.mode=disabled", "threads=1", "device=cpu"),
)
FAST, SLOW = "trainer.learning_rate=2e-2", "trainer.learning_rate=1e-3"
HEIGHT, WIDTH = 17, 14


@pytest.fixture
def shapes(tmp_path):
    images, labels = coloured_shapes(400, HEIGHT, WIDTH)
    np.savez(tmp_path / "shapes.npz", train=images, train_labels=labels)
    return images


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def test_coloured_images_are_learned_drawn_and_found_again(svae_train, shapes, tmp_path):
    for folder, epochs in (("whole", 9), ("part", 8)):
        line = (*LINE, FAST, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}")
        done = svae_train(*line, quick=False)
        assert done.returncode == 0, done.stderr
    assert "17 x 14 pixels of three colours" in done.stdout
    assert "taken as 256 levels; channels stand last" in done.stdout
    resumed = svae_train("resume=part", "trainer.max_epochs=9", quick=False)
    assert resumed.returncode == 0, resumed.stderr
    found, expected = _results(tmp_path / "part"), _results(tmp_path / "whole")
    numbers = [name for name in expected if name.startswith("test/")]
    assert [found[name] for name in numbers] == [expected[name] for name in numbers]
    dimensions = 3 * HEIGHT * WIDTH
    bits = -found["test/log_likelihood"] / (dimensions * math.log(2))
    assert found["test/bits_per_dimension"] == pytest.approx(bits)
    assert bits < _bits_of_pixels(shapes) < 8
    pictures = {path.stem for path in (tmp_path / "part" / "plots").iterdir()}
    assert {"reconstructions", "samples", "interpolations"} < pictures
    model, _ = svae.load(tmp_path / "part")
    means = model.likelihood(model.prior().draw((5,)).value).mean
    assert means.shape == (5, dimensions)
    assert 0 <= means.min() <= means.max() <= 1


def _bits_of_pixels(images):
    """Return the mean entropy of a channel of a pixel by itself, as the images have it."""
    counts = [np.bincount(level, minlength=256) for level in images.reshape(len(images), -1).T]
    shares = (np.stack(counts) + 1) / (len(images) + 256)
    return float(-(shares * np.log2(shares)).sum(1).mean())


def test_replicas_are_the_runs_alone(svae_train, shapes, tmp_path):
    """Up to rounding, which at a fast rate grows into the digits that are compared."""
    for folder, more in (("both", ("trainer.replicas=2",)), ("alone", ("seed=1",))):
        line = (
            *LINE,
            SLOW,
            *more,
            "plots=false",
            "trainer.max_epochs=2",
            f"hydra.run.dir={folder}",
        )
        done = svae_train(*line, quick=False)
        assert done.returncode == 0, done.stderr
    found, expected = _results(tmp_path / "both" / "1"), _results(tmp_path / "alone")
    assert found["test/elbo"] == pytest.approx(expected["test/elbo"], rel=1e-3)


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_compiled_step_is_the_step(shapes, tmp_path, monkeypatch):
    # a backend that does what was traced and draws as the step does
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    data = array.load(str(tmp_path / "shapes.npz"), levels="auto")
    torch.manual_seed(0)
    model = ConvolutionalAutoEncoder(
        data.spec.features, VonMisesFisherFamily(4), data.likelihood, data.image_shape, channels=4
    )
    step._find_divergence(model, data.train)
    arguments = (data.train.observe(slice(0, 16)), torch.tensor(0.5), elbo, 1, "none", None)
    compiled.reset()
    with compiled.compiled(step.differentiate, torch.device("cpu")) as program:
        torch.manual_seed(1)
        bound, gradients, _ = program(model, *arguments)
    assert compiled._program(step.differentiate)._run is not step.differentiate
    compiled.reset()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # as many proposals
    torch.manual_seed(1)
    alone, expected, _ = step.differentiate(model, *arguments)
    torch.testing.assert_close(bound.value, alone.value)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * theirs.abs().max().item())
