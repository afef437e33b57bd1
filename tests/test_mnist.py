"""The first minutes of every model on the real images, as a person would start them."""

import csv
import json

import pytest

from tests.conftest import run_folders

LINE = ("trainer.max_epochs=3", "trainer.warmup_epochs=1", "logger.mode=disabled", "plots=false")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "latent_dim", "at_least"),
    [
        ("vmf", 10, -125),
        ("normal", 10, -125),
        ("power_spherical", 10, -125),
        ("vmf", 2, -165),
        ("vmf", 40, -145),
    ],
)
def test_three_epochs(svae_train, tmp_path, model, latent_dim, at_least):
    samples = "evaluation.importance_samples=10"
    done = svae_train(f"model={model}", f"latent_dim={latent_dim}", samples, *LINE, quick=False)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    bounds = [float(row["val/elbo"]) for row in rows]
    assert bounds == sorted(bounds)
    results = json.loads((folder / "results.json").read_text())
    assert results["test/log_likelihood"] > results["test/elbo"] > at_least
    assert 0.65 < results["test/acceptance_rate"] <= 1
