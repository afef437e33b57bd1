"""The first minutes of every model on the real images, as a person would start them."""

import csv
import json

import pytest

from svae.data import mnist
from tests.conftest import run_folders

LINE = ("trainer.max_epochs=3", "trainer.warmup_epochs=1", "logger.mode=disabled", "plots=false")


def _independent_pixels() -> float:
    """The test log-likelihood of the model without a latent variable, in nats per image."""
    data = mnist.load()
    rate = (data.train.values.double().mean(0) / 255).clamp(1e-6, 1 - 1e-6)
    test = data.test.values.double().mean(0) / 255
    return float((test * rate.log() + (1 - test) * (1 - rate).log()).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "latent_dim"),
    [("vmf", 10), ("normal", 10), ("power_spherical", 10), ("vmf", 2), ("vmf", 40)],
)
def test_three_epochs(svae_train, tmp_path, model, latent_dim):
    samples = "evaluation.importance_samples=10"
    done = svae_train(f"model={model}", f"latent_dim={latent_dim}", samples, *LINE, quick=False)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    bounds = [float(row["val/elbo"]) for row in rows]
    assert bounds == sorted(bounds)
    results = json.loads((folder / "results.json").read_text())
    assert results["test/log_likelihood"] > results["test/elbo"] > _independent_pixels() + 20
    assert 0.65 < results["test/acceptance_rate"] <= 1
