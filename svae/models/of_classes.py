"""A network that reads a vector and a class, for all classes at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from svae.autograd import is_transforming
from svae.models.dense import mlp


class OfClasses(nn.Module):
    """An MLP of a vector and its class: (K or 1, ..., inputs) to (K, ..., outputs), ReLU between.

    The class enters the first layer as a vector of K numbers, one of them 1, the others 0: as a
    bias of its own.
    """

    def __init__(self, inputs: int, classes: int, hidden: Sequence[int], outputs: int):
        super().__init__()
        self.vector = nn.Linear(inputs, hidden[0])
        self.label = nn.Linear(classes, hidden[0], bias=False)
        self.rest = mlp(*hidden, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        first, last = self.vector, self.rest[-1]
        is_autocast = torch.is_autocast_enabled(vectors.device.type)
        if len(self.rest) > 1 or vectors.is_cuda or is_autocast or is_transforming():
            return self._in_one(vectors)
        biases = self.label.weight.T + first.bias
        rows = vectors.flatten(1, -2)
        found = _ByClass.apply(rows, first.weight, biases, last.weight, last.bias)
        return found.unflatten(1, vectors.shape[1:-1])

    def _in_one(self, vectors: Tensor) -> Tensor:
        """Compute all classes in the same operations."""
        first = self.vector(vectors)
        biases = self.label.weight.T.to(first.dtype)
        shape = (len(biases), *(1 for _ in first.shape[1:-1]), -1)
        return self.rest((first + biases.view(shape)).relu_())


class _ByClass(Function):
    """relu(x V^T + c_k) W^T + b for each class k.

    Of x (K or 1, N, inputs), V (H, inputs), c (K, H), W (outputs, H) and b (outputs,). One class
    after another, and in the backward pass anew: what lies between, N x H numbers, then stays in a
    CPU's cache. Those of all classes take longer to be written and read than the matrix products.
    """

    @staticmethod
    def forward(ctx, x, V, c, W, b):
        ctx.save_for_backward(x, V, c, W)
        hidden = x.new_empty(x.shape[1], len(V))
        out = x.new_empty(len(c), x.shape[1], len(b))
        for own, bias, place in zip(x.expand(len(c), -1, -1), c, out, strict=True):
            torch.addmm(bias, own, V.T, out=hidden).relu_()
            torch.addmm(b, hidden, W.T, out=place)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, V, c, W = ctx.saved_tensors
        in_x, in_V, in_c, in_W = map(torch.zeros_like, (x, V, c, W))
        hidden, below = (x.new_empty(x.shape[1], len(V)) for _ in range(2))
        each, in_each = (values.expand(len(c), -1, -1) for values in (x, in_x))
        rows = zip(each, in_each, c, in_c, grad, strict=True)
        for own, in_own, bias, in_bias, above in rows:
            torch.addmm(bias, own, V.T, out=hidden).relu_()
            in_W.addmm_(above.T, hidden)
            torch.mm(above, W, out=below)
            # in place: of all ways to take the derivative of a ReLU the fastest by far
            torch.ops.aten.threshold_backward.grad_input(below, hidden, 0, grad_input=below)
            torch.sum(below, 0, out=in_bias)
            in_V.addmm_(below.T, own)
            in_own.addmm_(below, V)
        return in_x, in_V, in_c, in_W, grad.sum((0, 1))
