"""The law of 256 levels: a sum of one, exact tails, its gradient and its mean."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from torch.autograd import gradcheck

from svae.models.discretised import DiscretisedLogistic, LogisticLevels

LEVELS = torch.arange(256)
LOCATIONS = (-2000.0, -3.0, 0.0, 0.3, 100.7, 127.5, 254.9, 255.0, 300.0, 5000.0)
SCALES = (0.01, 0.05, 0.5, 3.0, 40.0, 1000.0, 1e6)


def _log_probs(loc, scale, dtype=torch.float64):
    """Return log P of all levels."""
    law = LogisticLevels(torch.full((256, 1), loc, dtype=dtype), torch.tensor(scale, dtype=dtype))
    return law.log_prob((LEVELS / 255).to(dtype)[:, None])


def _exact(k, loc, scale):
    """Return log(F(b) - F(a)) in sixty digits, as the difference of the smaller tails."""
    with mpmath.workdps(60):
        mu, s = mpmath.mpf(loc), mpmath.mpf(scale)
        a = -mpmath.inf if k == 0 else (k - mpmath.mpf(0.5) - mu) / s
        b = mpmath.inf if k == 255 else (k + mpmath.mpf(0.5) - mu) / s
        if a > 0:
            a, b = -b, -a
        below, above = (1 / (1 + mpmath.exp(-x)) if x != -mpmath.inf else 0 for x in (a, b))
        if k in (0, 255):  # one tail alone, of which 1 - p keeps no digit
            x = b if a == -mpmath.inf else -a
            return float(-mpmath.log1p(mpmath.exp(-x)))
        return float(mpmath.log(above - below))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("scale", SCALES)
def test_log_probabilities_are_exact_in_the_farthest_tails(dtype, tolerance, scale):
    for loc in LOCATIONS:
        found = _log_probs(loc, scale, dtype)
        mu, s = (torch.tensor(value, dtype=dtype).item() for value in (loc, scale))
        for k in (0, 1, 2, 100, 101, 128, 253, 254, 255):
            exact = _exact(k, mu, s)
            assert abs(found[k].item() - exact) <= tolerance * (1 + abs(exact)), (loc, k)


@pytest.mark.parametrize("loc", LOCATIONS)
@pytest.mark.parametrize("scale", SCALES)
def test_probabilities_add_up_to_one_and_give_the_mean(loc, scale):
    p = _log_probs(loc, scale).exp()
    assert abs(p.sum().item() - 1) < 1e-12
    law = LogisticLevels(*torch.tensor([[loc], [scale]], dtype=torch.float64))
    assert law.mean.item() == pytest.approx((p * LEVELS / 255).sum().item(), abs=1e-12)


def test_levels_are_as_likely_as_scipy_has_it():
    k = np.arange(1, 255)
    law = scipy.stats.logistic(loc=99.25, scale=7.5)
    above, below = law.sf(k - 0.5) - law.sf(k + 0.5), law.cdf(k + 0.5) - law.cdf(k - 0.5)
    expected = np.log(np.where(k > 99, above, below))
    np.testing.assert_allclose(_log_probs(99.25, 7.5)[1:255], expected, rtol=1e-9)


def test_the_gradient_is_that_of_finite_differences():
    random = torch.Generator().manual_seed(0)
    loc, scale = torch.rand(2, 4, 6, generator=random).double()
    loc, scale = (300 * loc - 20).requires_grad_(), (0.1 + 20 * scale).requires_grad_()
    levels = torch.randint(0, 256, (4, 6), generator=random).double()
    levels[:, 0], levels[:, 1] = 0, 255
    assert gradcheck(lambda *law: LogisticLevels(*law).log_prob(levels / 255), (loc, scale))
    samples = loc.detach().expand(3, 4, 6).clone().requires_grad_()  # to which the scale broadcasts
    assert gradcheck(lambda *law: LogisticLevels(*law).log_prob(levels / 255), (samples, scale))


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e6])
@pytest.mark.parametrize("loc", [-1e4, 0.0, 255.0, 1e4])
def test_the_gradient_is_finite_wherever_the_law_is(loc, scale):
    parameters = torch.tensor([[loc], [scale]], requires_grad=True)
    law = LogisticLevels(*parameters.expand(2, 256))
    log_prob = law.log_prob(LEVELS / 255)
    (gradient,) = torch.autograd.grad(log_prob, parameters)
    assert log_prob.isfinite()
    assert gradient.isfinite().all()


def test_samples_follow_the_law():
    torch.manual_seed(0)
    law = LogisticLevels(torch.tensor([3.0, 128.0, 250.0]), torch.tensor([6.0, 20.0, 2.0]))
    drawn = (law.sample((20_000,)) * 255).round()
    for column, (loc, scale) in enumerate(zip(law.loc, law.scale, strict=True)):
        p = _log_probs(loc.item(), scale.item()).exp()
        counts = torch.bincount(drawn[:, column].long(), minlength=256)
        often = p * len(drawn) > 5
        z = (counts - p * len(drawn)) / (p * (1 - p) * len(drawn)).sqrt()
        assert z[often].abs().max() < 5


def test_a_decoder_of_zeros_says_the_middle_of_the_levels():
    law = DiscretisedLogistic(3)(torch.zeros(2, 6))
    assert (law.batch_shape, law.event_shape) == ((2,), (3,))
    torch.testing.assert_close(law.mean, torch.full((2, 3), 0.5))
    torch.testing.assert_close(law.scale, torch.full((2, 3), 32.05))
    assert not law.log_prob(torch.ones(2, 3)).isnan().any()


def test_a_constant_image_costs_next_to_nothing():
    """A density of it has no bound; of levels the best is a probability of one."""
    levels = torch.full((1, 3072), 200 / 255)
    law = LogisticLevels(torch.full((1, 3072), 200.0), torch.tensor(0.05))
    bits = -law.log_prob(levels).item() / (3072 * math.log(2))
    assert 0 < bits < 2e-4


def test_of_one_location_and_several_scales_there_are_several_laws():
    law = LogisticLevels(torch.full((4,), 100.0), torch.full((3, 4), 5.0))
    assert law.batch_shape == law.log_prob(torch.zeros(4)).shape == (3,)
    assert law.sample((2,)).shape == (2, 3, 4)
