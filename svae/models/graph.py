"""The graph auto-encoder: graph convolutions, and edges by the inner product of latent vectors."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributions import Distribution

from svae.distributions.sphere import refuse_second


class GraphConvolution(nn.Module):
    """A X W^T + b: each node sums W x of its neighbours and of itself, weighted by A, and adds b.

    A is the adjacency with self-loops; it comes normalised from the data. At first W (U, F) is
    uniform in +-sqrt(6 / (F + U)), and b is zero.

    Args:
        features: F, the length of a node's features.
        units: U, the length of a node's outputs.

    Reference: Kipf and Welling 2017, "Semi-supervised classification with graph convolutional
    networks", eq. 2; Glorot and Bengio 2010, eq. 16, for W.
    """

    def __init__(self, features: int, units: int):
        super().__init__()
        # Linear draws weights that are not kept: without that draw a seed would give others
        self.lin = nn.Linear(features, units, bias=False)
        bound = math.sqrt(6 / (features + units))
        nn.init.uniform_(self.lin.weight, -bound, bound)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, values: Tensor, adjacency: Tensor) -> Tensor:
        """Return (N, U) of values (N, F), dense or sparse CSR, and adjacency (N, N), sparse CSR."""
        return torch.sparse.mm(adjacency, self.lin(values)) + self.bias


class GraphAutoEncoder(nn.Module):
    """Graph convolutions -> a posterior per node -> edges by inner products.

    Encoder: dropout, convolution, ReLU for each hidden width, then one convolution that gives the
    parameters of the posterior. Decoder: logit_ij = s z_i.z_j, with a learned s > 0 where inner
    products are bounded, as on the sphere, else s = 1 (Kipf and Welling 2016, arXiv 1611.07308;
    Davidson et al. 2018, section 5.4).

    Args:
        features: F, the length of a node's features.
        latent: a family from `svae.models.latent`.
        likelihood: "edges".
        hidden: widths of the hidden layers.
        dropout: the share of inputs of each convolution that is set to 0 while training.
        half: not available here.

    Raises:
        ValueError: for another likelihood, or when `half` is asked for.
    """

    def __init__(
        self,
        features: int,
        latent,
        likelihood: str = "edges",
        hidden: Sequence[int] = (32,),
        dropout: float = 0.0,
        half: bool = False,
    ):
        super().__init__()
        if likelihood != "edges":
            raise ValueError(
                f"network: the graph auto-encoder has no likelihood {likelihood}, expected edges "
                "(network=mlp is the network for vectors)"
            )
        if half:
            raise ValueError("precision=bf16: graph convolutions are computed in float32 only")
        self.latent, self.dropout = latent, dropout
        widths = (features, *hidden, latent.parameters)
        self.layers = nn.ModuleList(GraphConvolution(*pair) for pair in pairwise(widths))
        self.log_scale = nn.Parameter(torch.ones(())) if latent.manifold.is_compact else None

    def posterior(self, graph) -> Distribution:
        """Return q(z | graph), batch shape (N,), from its `values` and `adjacency`."""
        hidden = graph.values
        for layer in self.layers[:-1]:
            hidden = layer(self._drop(hidden), graph.adjacency).relu()
        return self.latent.posterior(self.layers[-1](self._drop(hidden), graph.adjacency))

    def prior(self) -> Distribution:
        """Return p(z) of one node."""
        return self.latent.prior(next(self.parameters()))

    def likelihood(self, latent: Tensor) -> "InnerProductEdges":
        """Return p(graph | z) for latent vectors (..., N, m)."""
        scale = latent.new_ones(()) if self.log_scale is None else self.log_scale.exp()
        return InnerProductEdges(latent, scale)

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices that Muon trains, see `AutoEncoder`."""
        *hidden, head = (layer.lin.weight for layer in self.layers)
        return [*hidden, head] if getattr(self.latent, "is_normalised", False) else hidden

    def _drop(self, values: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return values
        if values.layout == torch.strided:
            return F.dropout(values, self.dropout)
        kept = F.dropout(values.values(), self.dropout)
        index = values.crow_indices(), values.col_indices()
        return torch.sparse_csr_tensor(*index, kept, values.shape, check_invariants=False)


class EdgeSums(NamedTuple):
    """Sums over pairs of nodes of a graph with N nodes and E edges; the tensors are (S,).

    `edges` and `diagonal` sum the logits l over edges (each once) and self-loops, `edges_missed`
    and `diagonal_missed` softplus(-l), `everywhere` softplus(l) over all N^2 ordered pairs.
    """

    nodes: int
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
        (N^2 - 2E)/2E, norm = N^2/(2 (N^2 - 2E)): what Kipf and Welling's code maximises.
        """
        square, ones = self.nodes**2, 2 * self.count
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
        return EdgeSums(
            nodes=len(graph),
            count=graph.edges.shape[1],
            edges=edges.sum(-1),
            edges_missed=F.softplus(-edges).sum(-1),
            diagonal=diagonal.sum(-1),
            diagonal_missed=F.softplus(-diagonal).sum(-1),
            everywhere=self._everywhere(graph, diagonal),
        )

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
