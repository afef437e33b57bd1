"""The linear graph encoder: what it computes, for every family, and what isolated nodes keep."""

import math

import pytest
import torch
import torch.nn.functional as F

from svae.data.links import normalised, sparse, split_links
from svae.distributions import SphericalCauchy
from svae.models import protocol
from svae.models.graph import LinearGraphAutoEncoder, SparseProduct
from svae.models.latent import (
    NormalFamily,
    PowerSphericalFamily,
    SphericalCauchyFamily,
    VonMisesFisherFamily,
    blocks_of,
)
from svae.models.product import ProductFamily
from svae.objectives import link_loss
from svae.training.learner import Settings
from tests.support.graphs import random_graph, small
from tests.support.training import train

FAMILIES = {
    "normal": NormalFamily(3),
    "isotropic": NormalFamily(3, isotropic=True),
    "vmf": VonMisesFisherFamily(3),
    "scaled_vmf": VonMisesFisherFamily(3, scales=True),
    "power_spherical": PowerSphericalFamily(3),
    "spherical_cauchy": SphericalCauchyFamily(3),
    "product": ProductFamily(6, ["S3", "R2", "S1"]),
}


def _graph(layout="csr", seed=1):
    values, edges = random_graph(seed)
    values[values < 0.4] = 0
    return split_links(sparse(values) if layout == "csr" else values, edges)


def _model(family, features=3, **options):
    torch.manual_seed(0)
    model = LinearGraphAutoEncoder(features, family, **options)
    torch.nn.init.uniform_(model.locations.bias)
    return model


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_location_is_that_of_the_definition(layout, hops, normalise):
    graph = _graph(layout).train
    model = _model(NormalFamily(4), hops=hops, normalise=normalise)
    rows = graph.values.to_dense() @ model.locations.weight.T + model.locations.bias
    if normalise:
        rows = model.log_length.exp() * rows / rows.norm(dim=1, keepdim=True)
    expected = torch.linalg.matrix_power(graph.adjacency.to_dense(), hops) @ rows
    torch.testing.assert_close(model.posterior(graph).loc, expected)


def test_the_direction_on_the_sphere_is_that_of_the_average():
    graph = _graph().train
    model = _model(VonMisesFisherFamily(4))
    rows = F.normalize(model.locations(graph.values), dim=1)
    expected = F.normalize(graph.adjacency.to_dense() @ rows, dim=1)
    torch.testing.assert_close(model.posterior(graph).loc, expected)


@pytest.mark.parametrize("spread", ["linear", "length", "degree"])
def test_the_spread_is_that_of_the_definition(spread):
    graph = _graph().train
    model = _model(NormalFamily(4), spread=spread)
    torch.nn.init.uniform_(model.spreads.weight)
    adjacency, weight = graph.adjacency.to_dense(), model.spreads.weight
    raw = {
        "linear": lambda: adjacency @ graph.values.to_dense() @ weight.T,
        "length": lambda: model.posterior(graph).loc.norm(dim=1, keepdim=True) @ weight.T,
        "degree": lambda: (adjacency > 0).sum(1, keepdim=True).log() @ weight.T,
    }[spread]()
    torch.testing.assert_close(model.posterior(graph).scale, F.softplus(raw))


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_a_fitted_concentration_is_that_of_the_definition(link):
    graph = _graph().train
    model = _model(VonMisesFisherFamily(4, link=link))
    average = graph.adjacency.to_dense() @ F.normalize(model.locations(graph.values), dim=1)
    length = average.norm(dim=1).clamp(max=0.995)
    fitted = length * (5 - length**2) / (1 - length**2)
    for factor in (1.0, 0.2):
        torch.nn.init.constant_(model.log_factor, math.log(factor))
        posterior = model.posterior(graph)
        torch.testing.assert_close(posterior.concentration, 1 + factor * fitted, rtol=1e-4, atol=0)


@pytest.mark.parametrize("family", [VonMisesFisherFamily, PowerSphericalFamily])
def test_the_mean_of_a_fitted_posterior_is_as_long_as_the_average(family):
    latent = family(128)
    length = torch.linspace(0.01, 0.99, 99)
    features = latent.features_of(latent.concentration_of(length) + 1e-6)
    posterior = latent.posterior(torch.cat([torch.ones(99, 129), features[:, None]], 1))
    assert (posterior.mean.norm(dim=1) - length).abs().max() < 1e-3


@pytest.mark.parametrize("family", ["vmf", "power_spherical", "spherical_cauchy"])
def test_neighbours_that_cancel_or_agree_have_a_finite_concentration(family):
    model = LinearGraphAutoEncoder(3, FAMILIES[family])
    direction = torch.eye(4)[:1]
    for factor in (0.0, 1e-20, 1.0, 1e20):
        rows = (factor * direction).requires_grad_()
        spread = model._spreads(None, rows)
        concentration = FAMILIES[family].posterior(torch.cat([direction, spread], 1)).concentration
        assert 1 < concentration < 1e4
        (gradient,) = torch.autograd.grad(concentration.sum(), rows)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_a_factor_that_has_vanished_leaves_numbers(link):
    model, graph = _model(VonMisesFisherFamily(4, link=link)), _graph().train
    with torch.no_grad():
        model.log_factor.fill_(-40.0)
    concentration = model.posterior(graph).concentration
    torch.testing.assert_close(concentration, torch.ones_like(concentration))
    gradients = torch.autograd.grad(concentration.sum(), [model.log_factor, model.locations.weight])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_another_spread_is_refused():
    with pytest.raises(ValueError, match=r"network\.spread=age: expected one of resultant, linear"):
        _model(NormalFamily(4), spread="age")


@pytest.mark.parametrize("family", ["normal", "isotropic", "scaled_vmf", "product"])
def test_what_has_more_than_a_concentration_is_not_fitted(family):
    assert LinearGraphAutoEncoder(3, FAMILIES[family]).spread == "linear"
    with pytest.raises(ValueError, match=r"network\.spread=resultant: expected .* got [A-Z]\w+$"):
        LinearGraphAutoEncoder(3, FAMILIES[family], spread="resultant")
    assert LinearGraphAutoEncoder(3, FAMILIES["vmf"], normalise=False).spread == "linear"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_read_from_its_blocks(name):
    family = FAMILIES[name]
    assert sum(map(sum, family.blocks)) == family.parameters
    assert sum(block.location for block in family.blocks) == family.manifold.ambient_dim
    data = small(mask_edges=0.5)
    model = LinearGraphAutoEncoder(8, family)
    settings = Settings(8, 5e-2, 0, 8, 1.0, 1, objective="val/auc")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-2)
    first, *_, last = (e.metrics["train/loss"] for e in train(model, optimizer, data, settings))
    assert last < first
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_locations_of_a_product_have_one_length_in_each_factor():
    family, graph = FAMILIES["product"], _graph().train
    model = _model(family, hops=1)
    alone = graph.with_messages(torch.empty(2, 0, dtype=torch.int64))
    parts = family.manifold.split(model.posterior(alone).loc)
    lengths = torch.stack([part.norm(dim=1) for part in parts], 1)
    expected = torch.tensor([1.0, float(model.log_length.detach().exp()), 1.0]).expand_as(lengths)
    torch.testing.assert_close(lengths, expected)


def test_muon_trains_what_gives_directions_and_is_refused_where_nothing_does():
    model = _model(NormalFamily(4))
    assert model.hidden_weights() == [model.locations.weight]
    protocol.check_hidden_weights(model)
    plain = _model(NormalFamily(4), normalise=False)
    with pytest.raises(ValueError, match=r"trainer\.optimizer=muon: .* no matrix for it here"):
        protocol.check_hidden_weights(plain)


def test_a_family_that_reads_too_little_is_refused():
    class Short:
        manifold, parameters = NormalFamily(4).manifold, 3

    with pytest.raises(ValueError, match="network=linear: Short reads 3 numbers, expected a loc"):
        blocks_of(Short())
    Short.parameters = 9
    assert blocks_of(Short()) == ((4, 5),)


def test_isolated_nodes_keep_what_their_features_say():
    values, edges = random_graph(1)
    data = split_links(sparse(torch.cat([values, torch.eye(3)])), edges)
    model = _model(VonMisesFisherFamily(4), hops=2)
    own = F.normalize(model.locations(torch.eye(3)), dim=1)
    torch.testing.assert_close(model.posterior(data.train).loc[-3:], own)


def test_nodes_without_features_have_a_valid_posterior():
    values, edges = random_graph(1)
    data = split_links(sparse(torch.cat([values, torch.zeros(3, 3)])), edges)
    model = LinearGraphAutoEncoder(3, VonMisesFisherFamily(4))
    torch.nn.init.zeros_(model.locations.bias)
    link_loss(model, data.train).loss().backward()
    assert (model.posterior(data.train).loc.norm(dim=-1) - 1).abs().max() < 1e-6
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_sparse_product_has_the_gradient_of_a_dense_one():
    graph = _graph().train
    matrix, transposed = graph.values.double(), graph.transposed.double()
    torch.testing.assert_close(transposed.to_dense(), matrix.to_dense().T)
    weight = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: SparseProduct.apply(matrix, transposed, w), weight)


@pytest.mark.parametrize("hops", [1, 2])
def test_an_edge_reaches_its_neighbourhood_and_no_further(hops):
    # a path 0 - 1 - ... - 9: what node 0 says reaches as many nodes as there are hops
    path = torch.stack([torch.arange(9), torch.arange(1, 10)])
    adjacency = normalised(path, 10)
    moved = torch.zeros(10, 1)
    moved[0] = 1
    model = _model(NormalFamily(1), hops=hops)
    reached = model._averaged(moved, adjacency).flatten() > 0
    assert reached.tolist() == [True] * (hops + 1) + [False] * (9 - hops)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 16, 128])
def test_the_mean_of_a_fitted_spherical_cauchy_law_is_about_as_long(d):
    latent = SphericalCauchyFamily(d)
    length = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    loc = torch.eye(d + 1, dtype=torch.float64)[:1].expand(99, -1)
    found = SphericalCauchy(loc, latent.concentration_of(length)).mean.norm(dim=1)
    assert (found / length - 1).abs().max() < 0.045
