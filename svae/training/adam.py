"""The steps of an epoch, without what an optimiser looks up anew at each of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from svae.training.muon import Muon


class Descent:
    """Takes the steps of `optimizer`, to the bit, after a first one that it takes itself.

    What torch collects and checks at every step, a tenth of a small network's, is collected once:
    for as long as the optimiser's options and the set of parameters that get a gradient stand.

    Args:
        optimizer: Adam or AdamW with fused=True and one group of parameters; or `Muon`, which takes
            all of its steps itself.
        parameters: of the model, all that are trained.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]):
        self._optimizer, self._parameters = optimizer, list(parameters)
        self._group = optimizer.param_groups[0]
        self._trained = []

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Go a step down the gradients of the parameters that are trained, in their order."""
        trained = (p for p in self._parameters if p.requires_grad)
        for parameter, gradient in zip(trained, gradients, strict=True):
            # fused Adam reads a transposed gradient in the order of memory
            parameter.grad = None if gradient is None else gradient.contiguous()
        if self._trained:
            self._step()
            return
        self._optimizer.step()
        if not isinstance(self._optimizer, Muon):
            self._collect()

    def _collect(self) -> None:
        self._trained = [p for p in self._group["params"] if p.grad is not None]
        states = [self._optimizer.state[p] for p in self._trained]
        self._steps = _in_one(states)
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")
        self._moments = [[state[name] for state in states if name in state] for name in names]
        is_decoupled = isinstance(self._optimizer, torch.optim.AdamW)
        self._fused = torch._fused_adamw_ if is_decoupled else torch._fused_adam_
        beta1, beta2 = self._group["betas"]
        names = ("lr", "weight_decay", "eps", "amsgrad", "maximize")
        self._options = {"beta1": beta1, "beta2": beta2, **{n: self._group[n] for n in names}}

    @torch.no_grad()
    def _step(self) -> None:
        gradients = [p.grad for p in self._trained]
        self._steps.add_(1)
        self._fused(self._trained, gradients, *self._moments, **self._options)


def _in_one(states: list[dict]) -> torch.Tensor:
    """Make the step counts of all states the elements of one tensor, and return it."""
    counts = torch.stack([state["step"] for state in states])
    for state, count in zip(states, counts, strict=True):
        state["step"] = count
    return counts
