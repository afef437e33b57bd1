"""The numerical guard: which step first gave a loss or a gradient that is not finite."""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

# float32 knows mu.x within 6e-8: beyond, kappa mu.x is off by whole nats
LARGEST_CONCENTRATION = 1e8


class Diverged(RuntimeError):
    """A quantity is not finite any more; says which, in which epoch and step.

    `restarts` counts how often the run had gone back and on with other random numbers, in vain.
    """

    def __init__(self, text: str, restarts: int = 0):
        super().__init__(text)
        self.restarts = restarts


def look(loss: Tensor, gradients: Iterable[Tensor]) -> Tensor:
    """Return numbers that are finite if the loss and its gradients are.

    Of one model they are (1 + gradients,), of a stack of R models (1 + gradients, R).
    """
    # a sum is finite unless a term is not, and is cheaper than a norm
    if loss.dim():
        sums = [gradient.flatten(1).sum(1) for gradient in gradients]
    else:
        sums = [gradient.sum() for gradient in gradients]
    return torch.stack([loss.detach(), *sums])


class Guard:
    """Keeps what `look` sees in every step of an epoch on the device; `check` then reads it.

    `model` may be a stack of models: then the loss and every parameter have a row for each.
    """

    def __init__(self, model: nn.Module):
        self._parameters = dict(model.named_parameters())
        self._noted: list[Tensor] = []
        self._concentrations: list[Tensor] = []

    def note(self, seen: Tensor, concentration: Tensor | None) -> None:
        """Keep what `look` saw in a step, and the concentration of its posteriors, if any."""
        self._noted.append(seen)
        if concentration is not None:
            self._concentrations.append(concentration.detach())

    def check(self, epoch: int, *row: int) -> None:
        """Look at every step of `epoch`, of a stack at those of one `row`.

        Raises:
            Diverged: names the first step whose loss or gradient is not finite (or too large for
                Adam, which squares it), and the range of the concentration there; or a
                concentration that float32 cannot express.
        """
        noted = self._numbers[..., *row]
        bad = noted.square().isfinite().logical_not().nonzero().tolist()
        if bad:
            step, column = bad[0]
            raise Diverged(
                f"{self._names()[column]} is {noted[step, column].item():.4g} in epoch {epoch}, "
                f"step {step + 1} of {len(noted)}{self._place(step, row)}"
            )
        largest = self._largest[row].item() if self._concentrations else 0.0
        if largest > LARGEST_CONCENTRATION:
            raise Diverged(
                f"the concentration is {largest:.4g} in epoch {epoch}: above "
                f"{LARGEST_CONCENTRATION:.0e} float32 cannot tell directions apart"
            )

    @cached_property
    def _numbers(self) -> Tensor:
        """What was seen: (steps, 1 + gradients), or of a stack (steps, 1 + gradients, R)."""
        return torch.stack(self._noted)

    @cached_property
    def _largest(self) -> Tensor:
        return torch.cat(self._concentrations, -1).amax(-1)

    def _names(self) -> list[str]:
        used = [name for name, p in self._parameters.items() if p.grad is not None]
        return ["train/loss", *(f"the gradient of {name}" for name in used)]

    def _place(self, step: int, row: tuple[int, ...]) -> str:
        """Tell the concentrations of the step, or of the one before where they are not finite."""
        for at in (step, step - 1):
            if 0 <= at < len(self._concentrations):
                low, high = torch.stack(self._concentrations[at][row].aminmax()).tolist()
                if low <= high:  # false for nan
                    return f" (concentration {low:.4g} to {high:.4g} in step {at + 1})"
        return ""
