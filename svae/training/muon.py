"""Muon: steps along the momentum of a weight matrix, made orthogonal; Adam for all else.

References: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; for the
length of a step Liu et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982; for what is
made orthogonal Amsel et al. 2025, "The Polar Express", arXiv 2505.16932.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# (a, b, c) of each step, the first three of Amsel et al.: as steep at 0 as may be
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)
BLOCK = 128  # the polar factor of 256 x 784 in two such blocks takes .4 of the time of the whole
ADAM_SHARE = 0.1  # of the learning rate: at all of it a Gaussian head ends 1.5 nats lower
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam


class Muon(torch.optim.Optimizer):
    """Muon for the groups of parameters with `muon` true, fused Adam for the others.

    Of a matrix W (out, in) with the gradient G:

        M <- .95 M + .05 G,    W <- W - .2 sqrt(max(out, in)) lr orthogonal(.95 M + .05 G)

    The entries of such a step are about as large as Adam's. With a weight decay, W is multiplied by
    1 - lr weight_decay before (Loshchilov and Hutter 2019, "Decoupled weight decay
    regularization"). What Adam trains has none, and a tenth of the rate: it bears no more. A kernel
    (out, in, ...) is taken as (out, in x ...); where `stacked` is true, an axis of models lies in
    front.

    Args:
        groups: of parameters, see `groups_of`.
        lr: the learning rate of Muon.
        weight_decay: of the matrices that Muon trains.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float = 1e-3, weight_decay: float = 0.0
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "muon": False, "stacked": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self) -> None:
        """Take a step with each parameter that has a gradient; reads nothing from the device."""
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adam)(trained, group)

    def _muon(self, trained: list[Tensor], group: dict[str, Any]) -> None:
        for weight in trained:
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - MOMENTUM)
            matrix = weight.grad.lerp(momentum, MOMENTUM).flatten(2 if group["stacked"] else 1)
            length = 0.2 * math.sqrt(max(matrix.shape[-2:])) * group["lr"]
            if group["weight_decay"]:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.sub_(orthogonal(matrix).reshape(weight.shape), alpha=length)

    def _adam(self, trained: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in trained]
        for parameter, state in zip(trained, states, strict=True):
            if "step" not in state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        names = ("exp_avg", "exp_avg_sq", "step")
        means, squares, steps = ([state[name] for state in states] for name in names)
        torch._foreach_add_(steps, 1)
        gradients = [p.grad for p in trained]
        options = {"lr": ADAM_SHARE * group["lr"], "weight_decay": 0.0, "eps": _EPSILON}
        options |= {"beta1": _BETAS[0], "beta2": _BETAS[1], "amsgrad": False, "maximize": False}
        torch._fused_adam_(trained, gradients, means, squares, [], steps, **options)


def groups_of(model: nn.Module, matrices: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Return what is trained of `model` as groups: `matrices` for Muon, the others for Adam."""
    chosen = {id(matrix) for matrix in matrices}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if (id(p) in chosen) == muon], "muon": muon}
        for muon in (True, False)
    ]


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (..., out, in) with singular values about 1, and the same singular vectors.

    X <- G / |G G^T|^(1/2), then three times X <- P X with P = a + b A + c A^2 and A = X X^T. Every
    P is a polynomial in the first A, so that the product of all is found from matrices of the
    shorter side alone, by A <- P A P. Singular values of .002 |G G^T|^(1/2) and more end between
    .18 and 1.87. Five steps, as torch has, come nearer to 1 and cost more than they gain.

    Where the shorter side is a multiple of about BLOCK rows, see `_block`, each block is made
    orthogonal by itself, as in the block steps of Khaled et al. 2025, "MuonBP", arXiv 2510.16981:
    the work on Gram matrices falls with the square of their number.
    """
    rows, columns = matrices.shape[-2:]
    if rows > columns:
        return orthogonal(matrices.mT).mT
    if (block := _block(rows)) < rows:
        return orthogonal(matrices.unflatten(-2, (-1, block))).flatten(-3, -2)
    gram = matrices @ matrices.mT
    square = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=1e-14)
    gram = gram / square
    first, *others = POLAR_EXPRESS
    factor = _factor(gram, *first)
    product = factor * square.rsqrt()
    for coefficients in others:
        gram = factor @ gram @ factor
        factor = _factor(gram, *coefficients)
        product = factor @ product
    return product @ matrices


def _block(rows: int) -> int:
    """Return the largest divisor of so many rows from 3/4 BLOCK to BLOCK, else all: 125 of 500."""
    return next((b for b in range(BLOCK, 3 * BLOCK // 4 - 1, -1) if rows % b == 0), rows)


def _factor(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """Return a + b A + c A^2 of A (..., n, n)."""
    factor = c * (gram @ gram) + b * gram
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor
