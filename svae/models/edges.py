"""Graphs whose edges are independent given latent vectors, by the inner product of two of them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.distributions import Distribution

from svae.distributions.sphere import refuse_second


class EdgeSums(NamedTuple):
    """Sums over pairs of nodes of a graph of which E edges are looked for; the tensors are (S,).

    `edges` and `diagonal` sum the logits l over edges (each once) and self-loops, `edges_missed`
    and `diagonal_missed` softplus(-l), `everywhere` softplus(l) over all `pairs`, which are ordered
    and include self-loops: N^2, without those of edges that are known already.
    """

    pairs: int
    count: int
    edges: Tensor
    edges_missed: Tensor
    diagonal: Tensor
    diagonal_missed: Tensor
    everywhere: Tensor

    @property
    def log_prob(self) -> Tensor:
        """log p(A | z) = sum_{i<j} A_ij l_ij - softplus(l_ij)."""
        return self.edges - (self.everywhere - self.diagonal - self.diagonal_missed) / 2

    @property
    def balanced(self) -> Tensor:
        """The log-likelihood of A + I over all ordered pairs, edges weighted like non-edges.

        norm sum_ij pos_weight (A+I)_ij log p_ij + (1 - (A+I)_ij) log(1 - p_ij), pos_weight =
        (N^2 - 2E)/2E, norm = N^2/(2 (N^2 - 2E)): what Kipf and Welling's code maximises. N^2 is the
        number of `pairs`.
        """
        square, ones = self.pairs, 2 * self.count
        missed = 2 * self.edges_missed + self.diagonal_missed
        non_edges = self.everywhere - missed - 2 * self.edges - self.diagonal
        loss = (square - ones) / ones * missed + non_edges
        return -loss * square / (2 * (square - ones))


class InnerProductEdges(Distribution):
    """An undirected graph whose edges are independent, of logits s z_i.z_j.

    `latent` is (S, N, m), batch shape (S,). The event is a graph that has `edges` (2, E), each
    once, and maybe `sampled` (2, K): uniform pairs i != j that stand for all pairs, an unbiased
    estimate at a cost linear in E + K instead of N^2.
    """

    arg_constraints = {}

    def __init__(self, latent: Tensor, scale: Tensor):
        self.latent, self.scale = latent, scale
        super().__init__(latent.shape[:-2], validate_args=False)

    def logits(self, pairs: Tensor) -> Tensor:
        """Return the logits (S, P) of pairs (2, P)."""
        left, right = (self.latent.index_select(-2, nodes) for nodes in pairs)
        return self.scale * torch.linalg.vecdot(left, right)

    def log_prob(self, graph) -> Tensor:
        return self.sums(graph).log_prob

    def sums(self, graph) -> EdgeSums:
        """Return all that the likelihoods of `graph` are made of."""
        edges = self.logits(graph.edges)
        diagonal = self.scale * self.latent.square().sum(-1)
        known = 0 if graph.visible is None else graph.visible.shape[1]
        return EdgeSums(
            pairs=len(graph) ** 2 - 2 * known,
            count=graph.edges.shape[1],
            edges=edges.sum(-1),
            edges_missed=F.softplus(-edges).sum(-1),
            diagonal=diagonal.sum(-1),
            diagonal_missed=F.softplus(-diagonal).sum(-1),
            everywhere=self._everywhere(graph, diagonal) - self._known(graph),
        )

    def _known(self, graph) -> Tensor | float:
        """Return the part of the sum over all pairs that is not of the event."""
        if graph.visible is None:
            return 0.0
        return 2 * F.softplus(self.logits(graph.visible)).sum(-1)

    def _everywhere(self, graph, diagonal: Tensor) -> Tensor:
        if graph.sampled is None:
            samples = self.latent.unbind(0)
            return torch.stack([SoftplusOfProducts.apply(z, self.scale) for z in samples])
        others = len(graph) * (len(graph) - 1)
        mean = F.softplus(self.logits(graph.sampled)).mean(-1)
        return F.softplus(diagonal).sum(-1) + others * mean


class SoftplusOfProducts(Function):
    """sum_ij softplus(s z_i.z_j) over all rows of z (N, m), in memory for a few rows of N^2.

    The gradient, 2 s sum_j sigma_ij z_j in z_i and sum_ij sigma_ij z_i.z_j in s, is made in the
    same pass over blocks of rows. A block meets the rows from its own on: the matrix is symmetric.
    """

    @staticmethod
    def forward(ctx, z, scale):
        total, pull = z.new_zeros((), dtype=torch.float64), torch.zeros_like(z)
        rows = max(16, _block(z.device) // len(z))
        for start in range(0, len(z), rows):
            block, rest = z[start : start + rows], z[start:]
            height = len(block)
            logits = (scale * block) @ rest.T
            softplus = F.softplus(logits)
            total += 2 * softplus.sum() - softplus[:, :height].sum()
            if any(ctx.needs_input_grad):
                sigma = logits.sigmoid_()
                pull[start : start + height] += sigma @ rest
                pull[start + height :] += sigma[:, height:].T @ block
        ctx.save_for_backward(z, scale, pull)
        return total.to(z.dtype)

    @staticmethod
    def backward(ctx, grad):
        z, scale, pull = ctx.saved_tensors
        with torch.no_grad():
            in_z, in_scale = grad * 2 * scale * pull, grad * (z * pull).sum()
        return tuple(refuse_second(own, grad, z, scale) for own in (in_z, in_scale))


def _block(device: torch.device) -> int:
    """Return how many logits are computed at once: what fits a CPU's cache, or fills a GPU."""
    return 2**19 if device.type == "cpu" else 2**25
