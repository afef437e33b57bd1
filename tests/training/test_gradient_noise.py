"""The signal-to-noise ratio of the gradient in the concentration."""

import pytest
import torch

from svae.data.splits import Split
from svae.models.dense import AutoEncoder
from svae.models.latent import VonMisesFisherFamily
from svae.training.gradient_noise import kappa_gradient_snr, kappa_gradients


def _model(gradient="implicit"):
    torch.manual_seed(0)
    return AutoEncoder(12, VonMisesFisherFamily(4, gradient=gradient), hidden=(8,))


def test_every_estimator_but_pathwise_has_the_same_mean_gradient():
    x = (torch.rand(3, 12) > 0.5).float()
    means = {}
    for gradient in ("implicit", "corrected", "score"):
        generator = torch.Generator().manual_seed(1)
        values = kappa_gradients(_model(gradient), x, 20_000, "mean", generator)
        assert values.shape == (20_000, 3)
        means[gradient] = values.mean(0), values.std(0) / 20_000**0.5
    for gradient in ("corrected", "score"):
        difference = means[gradient][0] - means["implicit"][0]
        error = (means[gradient][1].square() + means["implicit"][1].square()).sqrt()
        assert (difference / error).abs().max() < 5


def test_the_ratio_is_that_of_many_samples():
    split = Split((torch.rand(4000, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float())
    generator = torch.Generator().manual_seed(2)
    found = [kappa_gradient_snr(_model(), split, "none", generator) for _ in range(20)]
    gradients = kappa_gradients(_model(), split.values[:400], 500, "none", generator)
    expected = (gradients.mean(0).square().mean() / gradients.var(0).mean()).sqrt().item()
    assert sum(found) / 20 == pytest.approx(expected, rel=0.15)


def test_noise_is_not_taken_for_a_signal():
    split = Split((torch.rand(8000, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float())
    generator, model = torch.Generator().manual_seed(3), _model("score")
    squares = [kappa_gradient_snr(model, split, "none", generator) ** 2 for _ in range(10)]
    # 0.07 squared; a squared mean of 8 samples without its correction would be above 1 / 8
    assert sum(squares) / 10 < 0.06
