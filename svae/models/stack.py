"""Several models of one architecture as one, every parameter with an axis for the models in front.

A stack of R models takes observations (R, batch, D) and gives what the models give, each for its
row; its methods are those of a model, since every layer treats what lies before its own axes alike.
"""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Return R equal parameters as one: (out, in, ...) as (R, out, in, ...), (F,) as (R, 1, F)."""
    return torch.stack([t if t.dim() > 1 else t.unsqueeze(0) for t in tensors]).detach()


def unstack(stacked: Tensor, tensors: Iterable[Tensor]) -> None:
    """Copy the rows of what `stack` gave back into R tensors."""
    with torch.no_grad():
        for row, own in zip(stacked, tensors, strict=True):
            own.copy_(row.view_as(own))


class StackedLinear(nn.Module):
    """R linear maps, each of its own row: (..., R, batch, in) to (..., R, batch, out)."""

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        self.weight = nn.Parameter(stack([layer.weight for layer in layers]))
        self.bias = nn.Parameter(stack([layer.bias for layer in layers]))

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.movedim(-3, 0)  # what lies before, such as samples, joins the batch
        operands = (rows.flatten(1, -2), self.weight, self.bias)
        if torch.is_autocast_enabled(inputs.device.type):
            dtype = torch.get_autocast_dtype(inputs.device.type)
            operands = (operand.to(dtype) for operand in operands)
        outputs = _Affine.apply(*operands)
        return outputs.unflatten(1, rows.shape[1:-1]).movedim(0, -3)


class _Affine(Function):
    """x W^T + b for R of each, by the matrix products that `nn.Linear` makes of one.

    Hence to the same bits, while torch's own derivative of `baddbmm` makes the transpose of the
    gradient in W and copies it.
    """

    @staticmethod
    def forward(ctx, x, W, b):
        ctx.save_for_backward(x, W)
        return torch.baddbmm(b, x, W.mT)

    @staticmethod
    def backward(ctx, grad):
        x, W = ctx.saved_tensors
        in_x = torch.bmm(grad, W) if ctx.needs_input_grad[0] else None
        return in_x, torch.bmm(grad.mT, x), grad.sum(1, keepdim=True)


def stack_models(models: Sequence[nn.Module]) -> nn.Module:
    """Return a stack of `models`, with copies of their parameters under the same names.

    A module with other parameters than vectors has a method `stacked`, which returns one for those
    of all models.

    Raises:
        ValueError: when a model has other parameters than those of linear maps, of modules with
            `stacked`, and vectors.
    """
    whole = copy.deepcopy(models[0])
    parts = [dict(model.named_modules()) for model in models]
    for name, module in list(whole.named_modules()):
        if isinstance(module, nn.Linear):
            whole.set_submodule(name, StackedLinear([part[name] for part in parts]))
            continue
        if hasattr(module, "stacked"):
            whole.set_submodule(name, module.stacked([part[name] for part in parts]))
            continue
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() != 1:
                raise ValueError(
                    f"a stack of models has linear maps and vectors alone, got {name}.{leaf} of "
                    f"shape {tuple(parameter.shape)}"
                )
            own = [getattr(part[name], leaf) for part in parts]
            setattr(module, leaf, nn.Parameter(stack(own)))
    for parameter, own in zip(whole.parameters(), models[0].parameters(), strict=True):
        parameter.requires_grad_(own.requires_grad)
    return whole
