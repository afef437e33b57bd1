"""Graph encoders: what they compute, on which graphs, and runs that continue bit for bit."""

import math
import warnings

import pytest
import torch
from scipy.stats import kstest

from svae.data.links import normalised, sparse, split_links
from svae.models.graph import GraphAutoEncoder, GraphConvolution
from svae.models.latent import NormalFamily, PowerSphericalFamily, VonMisesFisherFamily
from svae.objectives import link_loss
from svae.recording import checkpoint
from svae.training.learner import Settings
from tests.support.graphs import random_graph, small
from tests.support.training import save_state, train

FAMILIES = [NormalFamily, PowerSphericalFamily, VonMisesFisherFamily]


def _values(nodes, features, layout):
    values = torch.rand(nodes, features, generator=torch.Generator().manual_seed(1))
    values[values < 0.6] = 0
    return values if layout == "dense" else sparse(values)


def _model(family, features=8, **options):
    torch.manual_seed(0)
    return GraphAutoEncoder(features, family(3), hidden=(8,), **options)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_convolution_is_that_of_the_definition(layout):
    edges = torch.tensor([[0, 1, 1, 2], [1, 2, 3, 3]])
    values, layer = _values(5, 4, layout), GraphConvolution(4, 3).double()
    torch.nn.init.uniform_(layer.bias)
    adjacency = torch.eye(5, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 1
    root = adjacency.sum(1).rsqrt()
    dense = values.to_dense().double()
    expected = torch.diag(root) @ adjacency @ torch.diag(root) @ dense @ layer.lin.weight.T
    ours = layer(values.double(), normalised(edges, 5).double())
    torch.testing.assert_close(ours, expected + layer.bias, rtol=1e-6, atol=1e-7)


def test_weights_start_uniform_in_their_bounds_and_biases_at_zero():
    torch.manual_seed(0)
    layer, bound = GraphConvolution(300, 200), math.sqrt(6 / 500)
    torch.manual_seed(0)
    drawn = torch.empty(2, 200, 300).uniform_(-bound, bound)
    assert torch.equal(layer.lin.weight, drawn[1])  # a seed gives the second draw
    uniform = (layer.lin.weight.detach().flatten().numpy() / bound + 1) / 2
    assert kstest(uniform, "uniform").pvalue > 1e-4
    assert not layer.bias.any()


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_convolution_has_the_bits_of_torch_geometric(layout):
    with warnings.catch_warnings():
        # it compiles its classes when it is imported
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        peer = pytest.importorskip("torch_geometric.nn")
    values, adjacency = _values(40, 30, layout), small().train.adjacency
    found = []
    for make in (lambda: GraphConvolution(30, 9), lambda: peer.GCNConv(30, 9, normalize=False)):
        torch.manual_seed(5)
        layer = make()
        after, state = torch.rand(2), layer.state_dict()
        torch.nn.init.uniform_(layer.bias)
        output = layer(values, adjacency)
        gradients = torch.autograd.grad(output.square().sum(), layer.parameters())
        found.append((list(state), *state.values(), after, output, *gradients))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_isolated_nodes_without_features_have_a_valid_posterior(family):
    values, edges = random_graph(1)
    values = torch.cat([values, torch.zeros(3, 3)])
    data = split_links(sparse(values), edges)
    model = _model(family, 3)
    posterior = model.posterior(data.train)
    bound = link_loss(model, data.train)
    bound.loss().backward()
    assert torch.isfinite(posterior.loc).all()
    assert torch.isfinite(posterior.draw((5,)).value).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    if family is not NormalFamily:
        assert (posterior.loc.norm(dim=-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_sparse_and_dense_features_give_the_same(dropout):
    data = small()
    model = _model(NormalFamily, dropout=dropout).train(False)
    thin = split_links(sparse(data.train.values), data.test.edges.numpy())
    thick = split_links(data.train.values, data.test.edges.numpy())
    torch.testing.assert_close(model.posterior(thin.train).loc, model.posterior(thick.train).loc)


def test_dropout_keeps_the_mean_of_sparse_features():
    model = _model(NormalFamily, dropout=0.3).train()
    torch.manual_seed(0)
    values = sparse((torch.rand(40, 50) > 0.5).float())
    drops = torch.stack([model._drop(values).to_dense() for _ in range(2000)])
    kept = drops[:, values.to_dense() > 0]
    z = (kept.mean(0) - 1) / math.sqrt(0.3 / 0.7 / 2000)
    assert z.abs().max() < 5
    assert drops[:, values.to_dense() == 0].abs().max() == 0


def test_networks_refuse_the_other_kind_of_data():
    with pytest.raises(ValueError, match="no likelihood bernoulli, expected edges"):
        GraphAutoEncoder(5, NormalFamily(2), likelihood="bernoulli")
    with pytest.raises(ValueError, match="precision=bf16"):
        GraphAutoEncoder(5, NormalFamily(2), half=True)


@pytest.mark.parametrize(
    ("negatives", "mask_edges"), [("all", 0.0), ("sampled", 0.0), ("all", 0.5), ("sampled", 0.5)]
)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_continued_graph_run_equals_one_without_a_break(negatives, mask_edges, stop, tmp_path):
    data = small(negatives, mask_edges=mask_edges)
    settings = Settings(5, 1e-2, 2, 5, 1.0, 1, objective="val/auc")

    def fresh():
        model = _model(VonMisesFisherFamily, dropout=0.4)
        return model, torch.optim.Adam(model.parameters(), lr=1e-2)

    model, optimizer = fresh()
    whole = list(train(model, optimizer, data, settings))
    again, second = fresh()
    for epoch in train(again, second, data, settings):
        if epoch.number == stop:
            break
    tensors = checkpoint.tensors(again, second)
    rows = [{"epoch": n, "seconds": 1.0} for n in range(1, stop + 1)]
    best = {"model": tensors["model"], "epoch": 1, "features": 6, "likelihood": "edges"}
    state = checkpoint.State(tensors, epoch, rows, 0, best)
    path = save_state(tmp_path, state)
    third, optimizer = fresh()
    last = checkpoint.restore(path, third, optimizer).epoch
    torch.rand(7)  # whatever else draws from torch's own generator changes nothing
    rest = list(train(third, optimizer, data, settings, last))
    for ours, theirs in zip(rest, whole[stop:], strict=True):
        drop = {"seconds": 0}
        assert {**ours.metrics, **drop} == {**theirs.metrics, **drop}
    for a, b in zip(third.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
