"""The law of the height that figures and checks of the sampler are made with."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from svae.distributions import height
from svae.distributions.ulrich_wood import _symmetric_beta, envelope
from tests.support.height_law import HeightLaw

CASES = [(m, kappa) for m in (2, 3, 5, 11, 101) for kappa in (0.0, 1.0, 30.0, 1e4)]


# as accurate as the docstring says
@pytest.mark.parametrize(("m", "within"), [(3, 1e-6), (41, 1e-6), (129, 5e-6), (1025, 2e-5)])
def test_the_distribution_is_as_accurate_as_it_says(m, within):
    for kappa in (0.0, 30.0, 1e4):
        law = HeightLaw(m, kappa)
        places = np.searchsorted(law.share, (1e-3, 0.1, 0.5, 0.9, 0.999))
        found = height.distribution(m, kappa, torch.from_numpy(law.below_top[places]))
        np.testing.assert_allclose(found, law.share[places], rtol=0, atol=within)


@pytest.mark.parametrize(("m", "kappa"), CASES)
def test_the_density_integrates_to_its_distribution(m, kappa):
    def in_angle(t):
        below = torch.tensor([2 * np.sin(t / 2) ** 2], dtype=torch.float64)
        return float(height.log_density(m, kappa, below).exp() * np.sin(t))

    law = HeightLaw(m, kappa)
    for place in np.searchsorted(law.share, (0.1, 0.5, 0.9)):
        share, below = law.share[place], float(law.below_top[place])
        angle = 2 * np.arcsin(np.sqrt(below / 2))
        found = integrate.quad(in_angle, 1e-9, angle, epsabs=1e-10, limit=200)[0]
        assert found == pytest.approx(share, abs=1e-6)
        found = height.distribution(m, kappa, torch.tensor([below], dtype=torch.float64))
        assert found.item() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("m", "kappa"), [(2, 3.0), (3, 10.0), (11, 50.0), (41, 1.0)])
def test_proposals_have_the_density_that_is_drawn(m, kappa):
    generator = torch.Generator().manual_seed(m)
    z = _symmetric_beta(m, *torch.rand(2, 20_000, dtype=torch.float64, generator=generator))
    x0 = 1 - envelope(m, torch.tensor(kappa, dtype=torch.float64))[0]
    w = ((x0 + z) / (1 + x0 * z)).numpy()
    grid = torch.linspace(0, torch.pi, 20_001, dtype=torch.float64)[1:-1]
    density = height.log_proposal_density(m, kappa, 1 - grid.cos()).exp() * grid.sin()
    share = integrate.cumulative_trapezoid(density, grid, initial=0)
    assert share[-1] == pytest.approx(1, abs=1e-3)
    assert stats.kstest(np.arccos(w), lambda t: np.interp(t, grid, share)).pvalue > 1e-3


@pytest.mark.parametrize(("m", "kappa"), [(2, 3.0), (5, 10.0), (41, 100.0)])
def test_the_scaled_proposal_touches_the_density_and_never_crosses_it(m, kappa):
    from svae.distributions import VonMisesFisher

    one = torch.tensor(kappa, dtype=torch.float64)
    rate = VonMisesFisher(torch.eye(m, dtype=torch.float64)[0], one).expected_acceptance_rate
    below = 1 - torch.linspace(0, torch.pi, 4001, dtype=torch.float64)[1:-1].cos()
    ratio = height.log_density(m, kappa, below) - height.log_proposal_density(m, kappa, below)
    ratio = ratio.exp() * rate
    assert ratio.max().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "within", "relative"), [(100, 0.012, 0.09), (300, 0.012, 0.09), (1000, 0.0045, 0.05)]
)
def test_the_p_value_is_kolmogorovs(count, within, relative):
    x = np.linspace(0.1, 2.5, 49)
    found = np.array([height.kolmogorov_p_value(d, count) for d in x / count**0.5])
    expected = stats.kstwo.sf(x / count**0.5, count)
    np.testing.assert_allclose(found, expected, rtol=0, atol=within)
    small = (expected < 0.05) & (expected > 1e-4)
    assert small.sum() > 10
    np.testing.assert_allclose(found[small], expected[small], rtol=relative)
