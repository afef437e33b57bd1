"""The steps of an epoch, without what an optimiser looks up anew at each of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from svae.training.muon import Muon

_MEANS, _SQUARES = ("exp_avg", "momentum_buffer"), ("exp_avg_sq", "max_exp_avg_sq")
_BETWEEN = 128  # steps, in which Adam's mean falls by 1e-6 and Muon's by 1e-3


class Descent:
    """Takes the steps of `optimizer`, to the bit, after a first one that it takes itself.

    What torch collects and checks at every step, a tenth of a small network's, is collected once:
    for as long as the optimiser's options stand. On a
    processor, what decays without a gradient ends as 0 and not as a subnormal number: see
    `clear_subnormal`.

    Args:
        optimizer: Adam or AdamW with fused=True and one group of parameters; or `Muon`, which takes
            all of its steps itself.
        parameters: of the model, all that are trained.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]):
        self._optimizer, self._parameters = optimizer, list(parameters)
        self._group = optimizer.param_groups[0]
        self._trained = []
        self._on_cpu = all(p.device.type == "cpu" for p in self._parameters)
        self._count = 0

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Go a step down the gradients of the parameters that are trained, in their order."""
        trained = (p for p in self._parameters if p.requires_grad)
        for parameter, gradient in zip(trained, gradients, strict=True):
            # fused Adam reads a transposed gradient in the order of memory
            parameter.grad = gradient.contiguous()
        if self._on_cpu and self._count % _BETWEEN == 0:
            clear_subnormal(self._optimizer)
        self._count += 1
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


@torch.no_grad()
def clear_subnormal(optimizer: torch.optim.Optimizer) -> None:
    """Set to 0 what decays in the optimiser and the weights and is about to become subnormal.

    The weights of a pixel that is nearly always black, and of a unit that no image activates any
    more, get no gradient: their moments shrink by a factor a step and stay at 1e-45, since .9 times
    that is rounded to it. A processor multiplies such numbers some hundred times slower: with
    those of MNIST a step of Adam took 5 times as long after 3 epochs, a polar factor of Muon's 10
    times as long after 75.

    A mean below the root of the smallest normal number moves no weight, and its square is normal.
    """
    for parameter, state in optimizer.state.items():
        smallest = torch.finfo(parameter.dtype).tiny
        _shrink([parameter, *(state[name] for name in _SQUARES if name in state)], smallest)
        _shrink([state[name] for name in _MEANS if name in state], smallest**0.5)


def _shrink(values: list[torch.Tensor], limit: float) -> None:
    for value in values:
        torch.hardshrink(value, lambd=limit, out=value)


def _in_one(states: list[dict]) -> torch.Tensor:
    """Make the step counts of all states the elements of one tensor, and return it."""
    counts = torch.stack([state["step"] for state in states])
    for state, count in zip(states, counts, strict=True):
        state["step"] = count
    return counts
