"""Steps of an epoch: those of torch's Adam, to the bit."""

from functools import partial

import pytest
import torch
from torch import nn

from svae.training.adam import Descent
from svae.training.muon import Muon

OPTIONS = [{}, {"weight_decay": 0.1, "betas": (0.5, 0.9)}, {"amsgrad": True}, {"maximize": True}]


def _setup(options):
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(5, 3), nn.Linear(3, 2)])
    return model, torch.optim.Adam(model.parameters(), lr=1e-2, fused=True, **options)


def _walk(model, optimizer, take, clear):
    for _ in range(4):
        clear()
        model[1](model[0](torch.randn(6, 5)).relu()).square().sum().backward()
        take()


def _take(descent, parameters):
    descent.step([parameter.grad for parameter in parameters])


@pytest.mark.parametrize("options", OPTIONS)
def test_steps_and_state_are_those_of_torch(options):
    ours, theirs = _setup(options), _setup(options)
    parameters = list(ours[0].parameters())
    for _ in range(2):  # epochs
        descent = Descent(ours[1], parameters)
        take = partial(_take, descent, parameters)
        _walk(*ours, take, descent.clear)
    torch.manual_seed(0)
    _setup(options)
    for _ in range(2):
        _walk(*theirs, theirs[1].step, theirs[1].zero_grad)
    for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert torch.equal(a, b)
    states = [optimizer.state_dict()["state"] for _, optimizer in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[1].items():
        assert state.keys() == states[0][number].keys()
        assert all(torch.equal(state[name], states[0][number][name]) for name in state)


def test_a_gradient_may_lie_in_memory_in_any_order():
    gradient = torch.randn(3, 5)
    ours, theirs = (nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    descent = Descent(torch.optim.Adam([ours], fused=True), [ours])
    single = torch.optim.Adam([theirs])
    for _ in range(3):
        descent.step([gradient.T])
        theirs.grad = gradient.T
        single.step()
    torch.testing.assert_close(ours, theirs)


def _adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2, fused=True)


def _muon(parameters):
    return Muon([{"params": parameters, "muon": True}], lr=1e-2)


@pytest.mark.parametrize(("optimiser", "steps"), [(_adam, 1500), (_muon, 2500)])
def test_what_gets_no_gradient_any_more_does_not_end_as_subnormal_numbers(optimiser, steps):
    """A column is used once and its moments decay to 0; the weights are torch's to the bit."""
    torch.manual_seed(0)
    start, gradients = torch.randn(6, 8), torch.randn(2, 6, 8)
    gradients[1, :, 3] = 0
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimizer, plain = optimiser([ours]), optimiser([theirs])
    descent = Descent(optimizer, [ours])
    for number in range(steps):
        gradient = gradients[min(number, 1)]
        descent.step([gradient])
        theirs.grad = gradient
        plain.step()
    assert torch.equal(ours, theirs)
    assert _subnormal(plain.state[theirs]) == 6
    assert _subnormal(optimizer.state[ours]) == 0


def _subnormal(state):
    values = [value for value in state.values() if value.ndim]
    tiny = torch.finfo(torch.float32).tiny
    return sum(int(((value != 0) & (value.abs() < tiny)).sum()) for value in values)
