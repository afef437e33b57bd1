"""The rejection sampler: the law of what it accepts, and how often it does."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from svae.distributions import ulrich_wood
from svae.distributions.ulrich_wood import (
    FIRST_ROUND,
    draw_fixed,
    draw_until_accepted,
    envelope,
    sufficient_places,
    sufficient_proposals,
)
from svae.noise import Rows
from tests.support.height_law import CONCENTRATIONS, DIMENSIONS, HeightLaw

# m -> expected proposals at kappa = 0.1, 1, 5, 10, 50, 100, 1000 and in the limit
PROPOSALS = {
    2: (1.002, 1.152, 1.441, 1.482, 1.513, 1.517, 1.520, 1.5203),
    3: (1.001, 1.067, 1.332, 1.400, 1.457, 1.464, 1.471, 1.4715),
    6: (1.000, 1.016, 1.178, 1.283, 1.403, 1.420, 1.436, 1.4378),
    11: (1.000, 1.004, 1.080, 1.178, 1.359, 1.392, 1.422, 1.4260),
    21: (1.000, 1.001, 1.027, 1.081, 1.297, 1.354, 1.413, 1.4201),
    41: (1.000, 1.000, 1.007, 1.027, 1.209, 1.295, 1.403, 1.4172),
    101: (1.000, 1.000, 1.001, 1.005, 1.082, 1.176, 1.381, 1.4154),
}


def draw(sampler, m: int, kappa: float, size: int, **options):
    generator = torch.Generator().manual_seed(round(1000 * m + kappa))
    complement = ulrich_wood.envelope(m, torch.tensor(kappa, dtype=torch.float64))[0]
    height = sampler(m, complement, torch.Size((size,)), generator, **options)
    return height.below_top.numpy(), height.proposals.numpy()


def acceptance_rate(m: int, kappa: float) -> float:
    """The mean of the acceptance probability under the symmetric Beta law, by quadrature."""
    n, complement = m - 1, envelope(m, torch.tensor(kappa, dtype=torch.float64))[0].item()

    def integrand(angle):
        p = 1 - (1 - complement) * math.cos(angle) if angle else complement
        log_chance = n * (1 - 1 / p - math.log(p)) if p > 1e-3 else -math.inf
        return math.sin(angle) ** (m - 2) * math.exp(log_chance)

    total = integrate.quad(lambda angle: math.sin(angle) ** (m - 2), 0, math.pi, epsabs=0)[0]
    return integrate.quad(integrand, 0, math.pi, epsabs=0, limit=200)[0] / total


def binomial_p(count: int, proposals: int, rate: float) -> float:
    """How likely as few or as many proposals are until `count` are accepted, two-sided."""
    if rate == 1:
        return float(proposals == count)
    many = stats.binom.cdf(count - 1, proposals - 1, rate)
    few = stats.binom.sf(count - 1, proposals, rate)
    return min(1, 2 * min(many, few))


@pytest.mark.parametrize("m", DIMENSIONS)
@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_heights_and_proposals_follow_their_laws(m, kappa):
    below_top, proposals = draw(draw_until_accepted, m, kappa, 200_000)
    law = HeightLaw(m, kappa)
    assert max(np.abs(law.scores(below_top))) < 5
    assert stats.kstest(below_top, law.distribution).pvalue > 1e-6
    assert binomial_p(below_top.size, proposals.sum(), acceptance_rate(m, kappa)) > 1e-6
    if kappa == 0:
        assert (proposals == 1).all()


@pytest.mark.parametrize("m", [2, 3, 11, 129])
@pytest.mark.parametrize("kappa", [0, 1, 15, 1e6])
def test_a_fixed_number_of_proposals_gives_the_same_law(m, kappa):
    below_top, proposals = draw(draw_fixed, m, kappa, 30_000)
    law = HeightLaw(m, kappa)
    assert max(np.abs(law.scores(below_top))) < 5
    assert stats.kstest(below_top, law.distribution).pvalue > 1e-6
    assert binomial_p(below_top.size, proposals.sum(), acceptance_rate(m, kappa)) > 1e-6


@pytest.mark.parametrize("m", [5000, 20000])
@pytest.mark.parametrize("kappa", [0, 10, 3e3, 1e8])
def test_heights_in_thousands_of_dimensions(m, kappa):
    below_top, proposals = draw(draw_until_accepted, m, kappa, 20_000)
    law = HeightLaw(m, kappa, 400_001)
    assert max(np.abs(law.scores(below_top))) < 5
    assert stats.kstest(below_top, law.distribution).pvalue > 1e-6
    assert proposals.mean() < 1.45


def test_the_approximate_envelope_of_public_code_is_rejected(monkeypatch):
    """b = n / (4 kappa) in place of b = n / (2 kappa + c), with Wood's a."""

    def approximate(m, concentration):
        b = (m - 1) / (4 * concentration)
        return 2 * b / (1 + b), None

    monkeypatch.setattr(ulrich_wood, "envelope", approximate)
    below_top, _ = draw(draw_until_accepted, 41, 11.0, 20_000)
    assert max(np.abs(HeightLaw(41, 11.0).scores(below_top))) > 50


@pytest.mark.parametrize("m", PROPOSALS)
def test_the_quadrature_of_the_acceptance_rate_meets_the_published_figures(m):
    for kappa, expected in zip((0.1, 1, 5, 10, 50, 100, 1000), PROPOSALS[m], strict=False):
        assert 1 / acceptance_rate(m, kappa) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("m", [*PROPOSALS, 1025, 5000])
def test_the_sufficient_number_of_proposals_fails_less_than_once_in_a_million_million(m):
    n, count = m - 1, sufficient_proposals(m)
    limit = n / 2 * math.log(2 * n / math.e) + math.lgamma(n / 2) - math.lgamma(n)
    if m in PROPOSALS:
        assert math.exp(limit) == pytest.approx(PROPOSALS[m][-1], abs=6e-5)
    assert (1 - math.exp(-limit)) ** count < 1e-12 <= (1 - math.exp(-limit)) ** (count - 1)
    assert 22 < count < 27


@pytest.mark.parametrize("size", [8, 64, 256])
def test_those_that_reject_the_first_round_get_a_second(size):
    m, kappa = 2, 1e3
    complement = envelope(m, torch.tensor(kappa, dtype=torch.float64)).complement
    shape = torch.Size((300_000 // size, size))
    heights = draw_fixed(m, complement, shape, torch.Generator().manual_seed(0))
    proposals = heights.proposals.numpy()
    late = proposals > FIRST_ROUND
    rate = acceptance_rate(m, kappa)
    assert stats.binomtest(int(late.sum()), late.size, (1 - rate) ** FIRST_ROUND).pvalue > 1e-6
    assert proposals.max() < sufficient_proposals(m)
    # the number of proposals tells nothing about the height
    law = HeightLaw(m, kappa)
    assert stats.kstest(heights.below_top.numpy()[late], law.distribution).pvalue > 1e-6
    tries = proposals[late] - FIRST_ROUND
    assert binomial_p(tries.size, tries.sum(), rate) > 1e-6


@pytest.mark.parametrize("m", [2, 11, 1025])
@pytest.mark.parametrize("size", [1, 8, 64, 1000, 30_000])
def test_the_places_of_the_second_round_suffice(m, size):
    worst = acceptance_rate(m, 1e8) if m > 1000 else 1 / PROPOSALS[m][-1]
    needed = stats.binom.sf(sufficient_places(m, size), size, (1 - worst) ** FIRST_ROUND)
    assert needed < 1e-12


def test_rows_of_a_stack_draw_a_fixed_number_as_they_would_alone():
    complement = envelope(6, torch.logspace(-1, 3, 64).double()).complement
    shape = torch.Size((2, 3, 64))
    together = draw_fixed(6, complement, shape, Rows(map(_seeded, range(3))))
    for row in range(3):
        alone = draw_fixed(6, complement, torch.Size((2, 64)), _seeded(row))
        assert torch.equal(together.below_top[:, row], alone.below_top)
        assert torch.equal(together.proposals[:, row], alone.proposals)


def _seeded(number):
    return torch.Generator().manual_seed(number)


def test_where_all_proposals_are_rejected_the_first_one_stands():
    below_top, proposals = draw(draw_fixed, 2, 1e3, 100_000, count=2)
    rate = acceptance_rate(2, 1e3)
    assert stats.binomtest(int((proposals == 1).sum()), 100_000, rate).pvalue > 1e-6
    assert (proposals <= 2).all()
    assert np.isfinite(below_top).all()
    assert (below_top >= 0).all()
    assert (below_top <= 2).all()
    # nothing but rejection separates it from the proposal
    proposed, ones = draw(draw_fixed, 2, 1e3, 100_000, count=1)
    assert (ones == 1).all()
    z = np.cos(np.pi * stats.uniform.ppf(np.linspace(0, 1, 100_001)[1:-1]))
    complement = envelope(2, torch.tensor(1e3, dtype=torch.float64))[0].item()
    image = complement * (1 - z) / (1 + (1 - complement) * z)
    assert stats.ks_2samp(proposed, image).pvalue > 1e-6
    assert stats.kstest(proposed, HeightLaw(2, 1e3).distribution).pvalue < 1e-6


@pytest.mark.parametrize("sampler", [draw_until_accepted, draw_fixed])
def test_concentrations_broadcast_and_randomness_comes_from_the_generator(sampler):
    complement = envelope(6, torch.tensor([0.0, 3.0, 1e4]).double()).complement
    state = torch.get_rng_state()
    heights = [
        sampler(6, complement, torch.Size((500, 3)), torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(heights[0].below_top, heights[1].below_top)
    assert heights[0].below_top.shape == heights[0].proposals.shape == (500, 3)
    means = heights[0].below_top.mean(0)
    assert means[0] > means[1] > means[2]
    assert (heights[0].proposals[:, 0] == 1).all()
    empty = sampler(6, complement, torch.Size((0, 3)))
    assert empty.below_top.shape == (0, 3)


def test_the_envelope_is_the_textbook_one_without_its_cancellation():
    for m in DIMENSIONS:
        for kappa in (0.0, 1e-6, 1.0, 30.0, 1e3, 1e8):
            n = m - 1
            complement, c = envelope(m, torch.tensor(kappa, dtype=torch.float64))
            b = n / (2 * kappa + math.sqrt(4 * kappa**2 + n**2))
            assert complement.item() == pytest.approx(2 * b / (1 + b), rel=1e-14)
            x0 = 1 - complement.item()
            assert kappa * complement.item() * (1 + x0) == pytest.approx(n * x0, rel=1e-9, abs=1e-9)
            assert c.item() == pytest.approx(math.hypot(2 * kappa, n), rel=1e-14)
