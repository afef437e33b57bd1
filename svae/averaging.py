"""The mean of an epoch's parameters, which is validated and kept in place of the last ones.

At a constant learning rate the last parameters carry the noise of the last steps, their mean over
many steps does not (Polyak and Juditsky 1992, "Acceleration of stochastic approximation by
averaging"). Training itself goes on from the last ones. The means lie beside the optimiser's
moments, as a part of its state.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

MEAN = "mean"


@torch.no_grad()
def follow(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Take the parameters after `step` = 1, 2, ... of an epoch into their mean."""
    parameters, states = list(optimizer.state), optimizer.state.values()
    if step == 1:
        for parameter, state in optimizer.state.items():
            state[MEAN] = parameter.detach().clone()
    else:
        get_ema_multi_avg_fn(1 - 1 / step)([state[MEAN] for state in states], parameters, None)


@contextmanager
def averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let what `optimizer` trains have the means of its parameters, where they are kept."""
    kept = [(p, state[MEAN]) for p, state in optimizer.state.items() if MEAN in state]
    last = [parameter.data for parameter, _ in kept]
    try:
        for parameter, mean in kept:
            parameter.data = mean
        yield
    finally:
        for (parameter, _), data in zip(kept, last, strict=True):
            parameter.data = data


def averaged_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return a copy of the tensors of `model` with the means of its parameters."""
    with averaged(optimizer):
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}
