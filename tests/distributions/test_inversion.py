"""The inversion at m = 3: the law of its heights."""

import numpy as np
import pytest
import torch
from scipy import stats

from svae.distributions.inversion import draw_by_inversion
from tests.support.height_law import HeightLaw


@pytest.mark.parametrize("kappa", [0, 1e-30, 1e-12, 1e-3, 1, 10.5, 50, 1e3, 1e8])
def test_heights_follow_their_law(kappa):
    generator = torch.Generator().manual_seed(0)
    concentration = torch.tensor(kappa, dtype=torch.float64)
    height = draw_by_inversion(concentration, torch.Size((200_000,)), generator)
    law = HeightLaw(3, kappa)
    below_top = height.below_top.numpy()
    assert max(np.abs(law.scores(below_top))) < 5
    assert stats.kstest(below_top, law.distribution).pvalue > 1e-6
    assert (height.proposals == 1).all()
