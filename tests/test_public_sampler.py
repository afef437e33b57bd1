"""The quadrature that the documents quote: right where the closed form is known."""

import numpy as np
import pytest
from scipy.special import ive

from benchmarks.public_sampler import mean


@pytest.mark.parametrize(("m", "kappa"), [(2, 1.0), (3, 11.0), (41, 11.0), (129, 100.0)])
def test_the_exact_constant_gives_the_closed_form(m, kappa):
    n = m - 1
    exact = n / (2 * kappa + np.hypot(2 * kappa, n))
    wanted = ive(m / 2, kappa) / ive(m / 2 - 1, kappa)
    # at m = 2 the density has integrable poles at both ends, which cost the midpoint rule digits
    assert mean(m, kappa, exact) == pytest.approx(wanted, abs=1e-3 if m == 2 else 1e-6)
    if m == 41:
        assert mean(m, kappa, n / (4 * kappa)) == pytest.approx(0.0465, abs=5e-4)
