"""Graph auto-encoders: by convolutions or a linear map, and edges by inner products."""

import math
from collections.abc import Sequence
from itertools import chain, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributions import Distribution

from svae.models.edges import InnerProductEdges
from svae.models.latent import blocks_of, direction


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


class _LinkPredictor(nn.Module):
    """What graph auto-encoders share: a family, its prior, and edges by inner products.

    logit_ij = s z_i.z_j, with a learned s > 0 where inner products are bounded, as on the sphere,
    else s = 1 (Kipf and Welling 2016, arXiv 1611.07308; Davidson et al. 2018, section 5.4).

    Raises:
        ValueError: for another likelihood than "edges", or when `half` is asked for.
    """

    def __init__(self, latent, likelihood: str, half: bool):
        super().__init__()
        if likelihood != "edges":
            raise ValueError(
                f"network: the graph auto-encoder has no likelihood {likelihood}, expected edges "
                "(network=mlp is the network for vectors)"
            )
        if half:
            raise ValueError("precision=bf16: graph convolutions are computed in float32 only")
        self.latent = latent
        self.log_scale = nn.Parameter(torch.ones(())) if latent.manifold.is_compact else None

    def prior(self) -> Distribution:
        """Return p(z) of one node."""
        return self.latent.prior(next(self.parameters()))

    def likelihood(self, latent: Tensor) -> InnerProductEdges:
        """Return p(graph | z) for latent vectors (..., N, m)."""
        scale = latent.new_ones(()) if self.log_scale is None else self.log_scale.exp()
        return InnerProductEdges(latent, scale)


class GraphAutoEncoder(_LinkPredictor):
    """Graph convolutions -> a posterior per node -> edges by inner products.

    Dropout, convolution, ReLU for each hidden width, then one convolution that gives the parameters
    of the posterior (Kipf and Welling 2016).

    Args:
        features: F, the length of a node's features.
        latent: a family from `svae.models.latent`.
        likelihood: "edges".
        hidden: widths of the hidden layers.
        dropout: the share of inputs of each convolution that is set to 0 while training.
        half: not available here.
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
        super().__init__(latent, likelihood, half)
        self.dropout = dropout
        widths = (features, *hidden, latent.parameters)
        self.layers = nn.ModuleList(GraphConvolution(*pair) for pair in pairwise(widths))

    def posterior(self, graph) -> Distribution:
        """Return q(z | graph), batch shape (N,), from its `values` and `adjacency`."""
        hidden = graph.values
        for layer in self.layers[:-1]:
            hidden = layer(self._drop(hidden), graph.adjacency).relu()
        return self.latent.posterior(self.layers[-1](self._drop(hidden), graph.adjacency))

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


SPREADS = ("resultant", "linear", "length", "degree")
# a node that has no neighbours, or whose neighbours all agree, would be certain of its direction
_SHORTEST, _LONGEST = 1e-3, 0.995


class LinearGraphAutoEncoder(_LinkPredictor):
    """A linear map of the features, normalised and only then averaged over neighbours.

    The location of a node's posterior is A^h u, u_i = n(W x_i + b) / |W x_i + b|, where A is the
    normalised adjacency and h counts `hops`. Since rows have length 1 before A averages them, a
    node without neighbours keeps what its features say, and one with many does not outweigh the
    others. n is 1 on a sphere, whose family reads a direction, else a learned length.

    Where the rest of the posterior's numbers, its concentration or deviations, comes from is
    `spread`: "linear", A^h (V x_i + c); "length", a |A^h u|_i + c, which says how far neighbours
    agree; "degree", a log(1 + neighbours) + c. "resultant" fits the posterior to the directions of
    the neighbours: its concentration is 1 + a k(|A^h u|_i), a > 0 learned and 1 at first, where k
    gives a mean about as long as the average, see `concentration_of` of the family. So inner
    products of posterior means, by which pairs are ranked, know how far the neighbours agree.

    Args:
        features: F, the length of a node's features.
        latent: a family from `svae.models.latent`.
        likelihood: "edges".
        hops: h, how often neighbours are averaged.
        normalise: whether rows are normalised at all.
        spread: "resultant", "linear", "length" or "degree"; None: "resultant" where it can be.
        half: not available here.

    Raises:
        ValueError: for another `spread`; for "resultant" where rows are not normalised or the
            posterior has more to it than a direction and a concentration.

    Reference: Ahn and Kim 2021, "Variational graph normalized autoencoders"; Salha, Hennequin and
    Vazirgiannis 2019, "Keep it simple: graph autoencoders without graph convolutional networks",
    for one linear hop.
    """

    def __init__(
        self,
        features: int,
        latent,
        likelihood: str = "edges",
        hops: int = 1,
        normalise: bool = True,
        spread: str | None = None,
        half: bool = False,
    ):
        super().__init__(latent, likelihood, half)
        self.blocks = blocks_of(latent)
        self.hops, self.normalise = hops, normalise
        self.spread = self._checked(spread)
        located, spreading = map(sum, zip(*self.blocks, strict=True))
        self.locations = nn.Linear(features, located)
        if self.spread == "resultant":
            self.log_factor = nn.Parameter(torch.zeros(()))
        else:
            self.spreads = nn.Linear(features if self.spread == "linear" else 1, spreading)
        nn.init.xavier_uniform_(self.locations.weight)
        # its bias stays as drawn: it is the direction of a node without features
        if self.spread != "resultant":
            # with zeros all nodes begin with the spread of the family
            start = nn.init.xavier_uniform_ if self.spread == "linear" else nn.init.zeros_
            start(self.spreads.weight)
            nn.init.zeros_(self.spreads.bias)
        is_long = normalise and not latent.manifold.is_compact
        self.log_length = nn.Parameter(torch.ones(())) if is_long else None

    def posterior(self, graph) -> Distribution:
        """Return q(z | graph), batch shape (N,), from its `values` and `adjacency`."""
        locations = _mapped(self.locations, graph)
        if self.normalise:
            locations = self._normalised(locations)
        locations = self._averaged(locations, graph.adjacency)
        spreads = self._spreads(graph, locations)
        sizes = zip(*self.blocks, strict=True)
        parts = [x.split(own, -1) for x, own in zip((locations, spreads), sizes, strict=True)]
        return self.latent.posterior(torch.cat([*chain(*zip(*parts, strict=True))], -1))

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices that Muon trains, see `AutoEncoder`: those that give directions."""
        reads_directions = self.normalise or getattr(self.latent, "is_normalised", False)
        return [self.locations.weight] if reads_directions else []

    def _normalised(self, locations: Tensor) -> Tensor:
        """Return rows of which the location of each block has the same length."""
        parts = locations.split([block.location for block in self.blocks], -1)
        rows = torch.cat([direction(part) for part in parts], -1)
        return rows if self.log_length is None else self.log_length.exp() * rows

    def _averaged(self, values: Tensor, adjacency: Tensor) -> Tensor:
        for _ in range(self.hops):
            values = SparseProduct.apply(adjacency, adjacency, values)
        return values

    def _checked(self, spread: str | None) -> str:
        """Return the way to a spread, found where none was named."""
        if spread not in (None, *SPREADS):
            raise ValueError(f"network.spread={spread}: expected one of {', '.join(SPREADS)}")
        has_one = len(self.blocks) == 1 and self.blocks[0].spread == 1
        can_fit = self.normalise and has_one and hasattr(self.latent, "concentration_of")
        if spread == "resultant" and not can_fit:
            raise ValueError(
                "network.spread=resultant: expected network.normalise=true and a model with a "
                f"direction and one concentration, got {type(self.latent).__name__}"
            )
        return spread or ("resultant" if can_fit else "linear")

    def _spreads(self, graph, locations: Tensor) -> Tensor:
        if self.spread == "resultant":
            length = torch.linalg.vector_norm(locations, dim=-1, keepdim=True)
            fitted = self.latent.concentration_of(length.clamp(_SHORTEST, _LONGEST))
            return self.latent.features_of(1 + self.log_factor.exp() * fitted)
        if self.spread == "linear":
            return self._averaged(_mapped(self.spreads, graph), graph.adjacency)
        if self.spread == "length":
            return self.spreads(torch.linalg.vector_norm(locations, dim=-1, keepdim=True))
        counts = graph.adjacency.crow_indices().diff()  # with the node itself
        return self.spreads(counts.to(locations.dtype).log()[:, None])


def _mapped(layer: nn.Linear, graph) -> Tensor:
    """Return W x_i + b of all nodes."""
    if graph.transposed is None:
        return layer(graph.values)
    return SparseProduct.apply(graph.values, graph.transposed, layer.weight.T) + layer.bias


class SparseProduct(Function):
    """A v for a sparse A whose transpose is known: its gradient in v, A^T g, finds none anew."""

    @staticmethod
    def forward(ctx, matrix, transposed, values):
        ctx.matrix, ctx.transposed = matrix, transposed
        return torch.sparse.mm(matrix, values)

    @staticmethod
    def backward(ctx, grad):
        return None, None, SparseProduct.apply(ctx.transposed, ctx.matrix, grad)
