"""Steps of an epoch: those of torch's Adam, to the bit."""

from functools import partial

import pytest
import torch
from torch import nn

from svae.training.adam import Descent

OPTIONS = [{}, {"weight_decay": 0.1, "betas": (0.5, 0.9)}, {"amsgrad": True}, {"maximize": True}]


def _setup(options):
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(5, 3), nn.Linear(3, 2), nn.Linear(2, 2)])
    return model, torch.optim.Adam(model.parameters(), lr=1e-2, fused=True, **options)


def _walk(model, optimizer, take, clear):
    for _ in range(4):
        clear()
        # the last layer gets no gradient
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
    assert ours[0][2].weight.grad is None


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
