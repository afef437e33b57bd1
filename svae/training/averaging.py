"""The mean of an epoch's parameters, which is validated and kept in place of the last ones.

At a constant learning rate the last parameters carry the noise of the last steps, their mean over
many steps does not (Polyak and Juditsky 1992, "Acceleration of stochastic approximation by
averaging"). Training itself goes on from the last ones. The means lie beside the optimiser's
moments, as a part of its state; each epoch has tensors of its own for them, which stay as they are
when it has ended: to keep them takes no copy.

Parameters a few steps apart are nearly the same: the mean is over about a hundred, evenly spaced.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

MEAN = "mean"
_COUNT = 100


class Average:
    """Takes the mean of what `optimizer` trains, over an epoch of `steps` steps."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int):
        self._optimizer = optimizer
        self._interval = max(1, steps // _COUNT)

    def note(self, step: int) -> None:
        """Take in the parameters after `step` = 1, 2, ..., if it is their turn."""
        before, other = divmod(step - 1, self._interval)
        if not other:
            self._take(before)

    @torch.no_grad()
    def _take(self, before: int) -> None:
        state = self._optimizer.state
        if before == 0:
            for parameter, own in state.items():
                own[MEAN] = parameter.detach().clone()
            return
        means = [own[MEAN] for own in state.values()]
        get_ema_multi_avg_fn(before / (before + 1))(means, list(state), None)


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
    """Return the tensors of `model` with the means of its parameters, as they are now for good."""
    means = {p: state[MEAN] for p, state in optimizer.state.items() if MEAN in state}
    found = model.state_dict(keep_vars=True)
    return {name: means[t] if t in means else t.detach().clone() for name, t in found.items()}
