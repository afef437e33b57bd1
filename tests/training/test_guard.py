"""The guard names the first step that went wrong, and what, and lets everything else pass."""

import pytest
import torch
from torch import nn

from svae.models.latent import VonMisesFisherFamily
from svae.training.guard import Diverged, Guard, look

FINE = torch.tensor([2.0, 30.0])


def _guard(steps, bad=None, loss=None, gradient=None, concentration=FINE):
    """Note `steps` steps, of which number `bad` has another loss or gradient."""
    model = nn.Linear(3, 2)
    guard = Guard(model)
    for step in range(1, steps + 1):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        # from the bad step on everything is bad, as in a real run
        went_wrong = bad is not None and step >= bad
        if went_wrong and gradient is not None:
            model.bias.grad[0] = gradient
        value = torch.tensor(loss if went_wrong and loss is not None else 1.0)
        guard.note(look(value, [parameter.grad for parameter in model.parameters()]), concentration)
    return guard


def test_finite_steps_pass():
    _guard(5).check(1)
    _guard(5, concentration=None).check(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_the_first_bad_step_is_named(value):
    place = r"in epoch 7, step 3 of 5 \(concentration 2 to 30 in step 3\)"
    with pytest.raises(Diverged, match=f"train/loss is {value:.4g} {place}".replace("+", r"\+")):
        _guard(5, 3, loss=value).check(7)
    with pytest.raises(Diverged, match=f"gradient of bias is .* {place}"):
        _guard(5, 3, gradient=value).check(7)


def test_the_loss_is_named_before_the_gradient_that_follows_from_it():
    with pytest.raises(Diverged, match="train/loss"):
        _guard(2, 1, loss=float("nan"), gradient=float("nan")).check(1)


def test_a_concentration_beyond_float32_is_told():
    with pytest.raises(Diverged, match=r"concentration is 2e\+08 in epoch 4: above 1e\+08"):
        _guard(2, concentration=torch.tensor([1.0, 2e8])).check(4)
    _guard(2, concentration=torch.tensor([1.0, 0.9e8])).check(4)


def test_the_range_is_that_of_the_last_finite_concentrations():
    guard = _guard(1)
    seen = look(torch.tensor(float("nan")), [torch.ones(2), torch.ones(2)])
    guard.note(seen, torch.full((2,), torch.nan))
    with pytest.raises(Diverged, match=r"step 2 of 2 \(concentration 2 to 30 in step 1\)"):
        guard.check(1)


def test_an_encoder_that_returns_nan_is_not_hidden():
    features = torch.tensor([[float("nan"), 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.5]])
    loc, _ = VonMisesFisherFamily(2).location_and_concentration(features)
    assert loc[0].isnan().all()
    assert loc[1].tolist() == [1, 0, 0]
