"""Recovery of a known latent truth: the measures mean what they say, and the S-VAE finds it."""

import json

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import normalize

from svae.data import synthetic
from svae.distributions import DiagonalNormal, HypersphericalUniform, VonMisesFisher
from svae.metrics import recovery
from tests.conftest import run_folders


def _points(m, count=4000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, m, dtype=torch.float64, generator=generator), dim=-1)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_a_rotation_or_reflection_is_full_recovery(m):
    x = _points(m)
    turn = torch.linalg.qr(_points(m, m, seed=1))[0]
    assert recovery.correlation(x, x @ turn) == pytest.approx(1)
    assert recovery.angles(x, recovery.align(x, x @ turn)).max() < 1e-5
    assert recovery.correlation(x, _points(m, seed=2)) < 0.05


def test_correlation_on_the_circle_is_that_of_fisher_and_lee():
    random = np.random.default_rng(0)
    a = random.vonmises(1, 1, 300)
    b = a + random.vonmises(0, 3, 300)
    # Fisher and Lee 1983, eq. 1.2: over all pairs of observations
    i, j = np.triu_indices(300, 1)
    sa, sb = np.sin(a[i] - a[j]), np.sin(b[i] - b[j])
    expected = (sa * sb).sum() / np.sqrt((sa**2).sum() * (sb**2).sum())
    x, y = (torch.from_numpy(np.column_stack([np.cos(t), np.sin(t)])) for t in (a, b))
    assert recovery.correlation(x, y).item() == pytest.approx(expected)


def test_angles_are_degrees():
    x = torch.tensor([[1.0, 0, 0]] * 3)
    y = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [1, 0, 0]])
    torch.testing.assert_close(recovery.angles(x, y), torch.tensor([90.0, 180, 0]))


def test_the_aggregate_of_the_prior_itself_does_not_differ_from_it():
    loc, generator = _points(3, 2000), torch.Generator().manual_seed(0)
    posterior = VonMisesFisher(loc, torch.full((2000,), 20.0, dtype=torch.float64))
    prior = HypersphericalUniform(3, dtype=torch.float64)
    assert abs(recovery.aggregate_kl(posterior, prior, generator)) < 0.02


def test_aggregate_kl_of_one_posterior_is_its_kl():
    loc, scale = torch.full((3000, 1), 1.5), torch.full((3000, 1), 0.5)
    posterior = DiagonalNormal(loc, scale)
    prior = DiagonalNormal(torch.zeros(1), torch.ones(1))
    expected = torch.distributions.kl_divergence(posterior, prior)[0].item()
    found = recovery.aggregate_kl(posterior, prior, torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_clusters_are_von_mises_fisher(dimension):
    data = synthetic.load(dimension, components=1, concentration=4.0, observations=70_000)
    positions = torch.cat([s.positions for s in (data.train, data.validation, data.test)]).double()
    assert (positions.norm(dim=-1) - 1).abs().max() < 1e-6
    centre = torch.tensor([1.0, 0.0] if dimension == 1 else [1.0, 0.0, 0.0], dtype=torch.float64)
    height = (positions @ centre).numpy()
    if dimension == 1:
        angle = torch.atan2(positions[:, 1], positions[:, 0]).numpy()
        assert stats.kstest(angle, stats.vonmises(4).cdf).pvalue > 1e-3
    else:
        assert stats.kstest(height, lambda w: np.expm1(4 * (w + 1)) / np.expm1(8)).pvalue > 1e-3
        around = torch.atan2(positions[:, 2], positions[:, 1]).numpy()
        assert stats.kstest(around, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


def test_the_map_is_fixed_and_its_noise_is_as_stated():
    first, second = synthetic.load(seed=3), synthetic.load(seed=3)
    assert torch.equal(first.test.values, second.test.values)
    assert not torch.equal(first.test.values, synthetic.load(seed=4).test.values)
    clean = synthetic.load(seed=3, noise=0.0)
    noise = first.train.values - clean.train.values
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    assert [len(s) for s in (first.train, first.validation, first.test)] == [5000, 1000, 1000]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"dimension": 3}, "dataset.dimension=3"), ({"observations": 6}, "observations=6")],
)
def test_refused(options, words):
    with pytest.raises(ValueError, match=words):
        synthetic.load(**options)


@pytest.mark.slow
def test_the_svae_finds_the_circle(svae_train, tmp_path):
    line = ("dataset=circle", "trainer.max_epochs=20", "logger.mode=disabled", "threads=1")
    done = svae_train(*line, "evaluation.importance_samples=10", quick=False)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    assert results["test/recovery_correlation"] > 0.95
    assert results["test/recovery_error"] < 10
    assert results["test/prior_mismatch"] < 0.3
    assert (folder / "plots" / "recovery.png").is_file()


@pytest.mark.parametrize("m", [2, 3])
def test_the_correlation_of_points_without_a_spread_is_0(m):
    truth = normalize(torch.randn(50, m, dtype=torch.float64), dim=1)
    point = normalize(torch.ones(1, m, dtype=torch.float64), dim=1).expand(50, m)
    for other in (point, -point, torch.zeros_like(truth)):
        assert recovery.correlation(truth, other) == 0
    assert recovery.correlation(truth[:1], truth[:1]) == 0
    almost = normalize(point + 1e-6 * torch.randn(50, m, dtype=torch.float64), dim=1)
    assert recovery.correlation(almost, almost).item() == pytest.approx(1)
