"""Muon: torch's own, of one matrix, of kernels and of stacks; and Adam beside it."""

import pytest
import torch
from torch import nn

from svae import build
from svae.data.splits import DataSpec
from svae.models.autoencoder import EncoderDecoder
from svae.models.dense import AutoEncoder
from svae.models.graph import GraphAutoEncoder
from svae.models.latent import NormalFamily, PowerSphericalFamily
from svae.training.muon import BLOCK, Muon, groups_of, orthogonal
from tests.support.swept import composed

SHAPES = [(7, 5), (5, 7), (6, 6), (1, 4)]


def _walk(optimizer, parameters, steps=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def _weights(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def _muon(parameters, **options):
    return Muon([{"params": parameters, "muon": True, **options}], lr=0.1)


def test_a_step_is_that_of_torch(monkeypatch):
    library = pytest.importorskip("torch.optim._muon", reason="torch.optim.Muon is of torch 2.9")
    # that has another iteration, in bfloat16
    monkeypatch.setattr(library, "_zeropower_via_newtonschulz", lambda G, *_: orthogonal(G))
    ours, theirs = _weights(*SHAPES), _weights(*SHAPES)
    options = {"lr": 0.1, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    _walk(_muon(ours), ours)
    _walk(library.Muon(theirs, **options), theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stack_takes_the_steps_of_its_matrices(shape):
    singles = _weights(shape, shape, shape)
    stacked = [nn.Parameter(torch.stack(singles).detach())]
    _walk(_muon(stacked, stacked=True), stacked)
    generator, optimizer = torch.Generator().manual_seed(1), _muon(singles)
    for _ in range(4):
        rows = torch.randn((3, *shape), generator=generator)
        for single, row in zip(singles, rows, strict=True):
            single.grad = row
        optimizer.step()
    torch.testing.assert_close(stacked[0], torch.stack(singles), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_kernel_is_taken_as_a_matrix(stacked):
    models = (2,) if stacked else ()
    (kernel,), (matrix,) = _weights((*models, 4, 3, 2, 2)), _weights((*models, 4, 12))
    for parameter in (kernel, matrix):
        _walk(_muon([parameter], stacked=stacked), [parameter])
    torch.testing.assert_close(kernel.view_as(matrix), matrix)


def test_the_other_parameters_take_the_steps_of_adam():
    ours, theirs = _weights((4, 3), (3,), ()), _weights((4, 3), (3,), ())
    _walk(Muon([{"params": ours}], lr=1.0), ours)
    _walk(torch.optim.Adam(theirs, lr=0.1, fused=True), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_singular_vectors_stay_and_values_come_near_one():
    U, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))
    V, _ = torch.linalg.qr(torch.randn(50, 20, generator=torch.Generator().manual_seed(1)))
    G = U * torch.logspace(0, -2.5, 20) @ V.mT
    for matrices in (G, 1e-6 * G, 1e6 * G, torch.stack([G, 3 * G])):
        for X in (orthogonal(matrices), orthogonal(matrices.mT).mT):
            inside = U.mT @ X @ V
            values = inside.diagonal(dim1=-2, dim2=-1)
            assert 0.18 < values.min() <= values.max() < 1.87
            assert (inside - torch.diag_embed(values)).abs().max() < 1e-3
    assert not orthogonal(torch.zeros(3, 4)).any()


def test_blocks_of_the_shorter_side_are_made_orthogonal_by_themselves():
    G = torch.randn(2 * BLOCK, 300, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([orthogonal(G[:BLOCK]), orthogonal(G[BLOCK:])])
    torch.testing.assert_close(orthogonal(G), apart)
    torch.testing.assert_close(orthogonal(G.mT), apart.mT)
    whole = orthogonal(torch.randn(BLOCK + 2, 300, generator=torch.Generator().manual_seed(0)))
    assert torch.linalg.matrix_norm(whole, 2) < 1.87  # does not fit: one block
    G = torch.randn(500, 600, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonal(G)[125:250], orthogonal(G[125:250]))


def test_groups_hold_each_parameter_once():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    chosen, rest = groups_of(model, [model[0].weight])
    assert (chosen["muon"], rest["muon"]) == (True, False)
    assert [id(p) for p in chosen["params"]] == [id(model[0].weight)]
    others = (model[0].bias, model[1].weight, model[1].bias)
    assert [id(p) for p in rest["params"]] == [id(p) for p in others]


@pytest.mark.parametrize(
    ("family", "has_head"), [(NormalFamily, False), (PowerSphericalFamily, True)]
)
def test_a_head_that_is_read_as_it_is_keeps_adam(family, has_head):
    dense = AutoEncoder(10, family(2), hidden=(8, 4))
    graph = GraphAutoEncoder(10, family(2), hidden=(8,))
    for model, head in ((dense, dense.encoder[-1]), (graph, graph.layers[-1].lin)):
        matrices = {id(p) for p in model.parameters() if p.dim() == 2}
        matrices -= set() if has_head else {id(head.weight)}
        assert {id(weight) for weight in model.hidden_weights()} == matrices


def test_a_network_that_names_no_weights_is_refused(monkeypatch):
    monkeypatch.delattr(EncoderDecoder, "hidden_weights")
    spec = DataSpec(10, "bernoulli")
    build.model(composed("trainer.optimizer=adam"), spec)
    with pytest.raises(ValueError, match=r"muon: .*AutoEncoder does not say by `hidden_weights`"):
        build.model(composed("trainer.optimizer=muon"), spec)


def test_mnist_alone_has_it_by_default():
    own, others = composed(), composed("dataset=circle")
    assert (own.trainer.optimizer, others.trainer.optimizer) == ("muon", "adam")
    assert own.network == {**others.network, "unit_variance": True}
    earlier = composed("trainer=minibatch", "network=mlp")
    assert (earlier.trainer, earlier.network) == (others.trainer, others.network)
    published = composed("experiment=table1")
    changes = {"max_epochs": 1000, "warmup_epochs": 100, "patience": 50}
    assert published.trainer == {**others.trainer, **changes}
    assert published.network == others.network


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_weights_decay_by_their_share_of_the_rate(optimizer):
    line = (f"trainer.optimizer={optimizer}", "trainer.learning_rate=0.5")
    found = []
    for decay in (0.0, 0.1):
        torch.manual_seed(0)
        model = AutoEncoder(10, NormalFamily(2), hidden=(8, 4))
        chosen = build.optimizer(composed(*line, f"trainer.weight_decay={decay}"), model)
        before = [weight.detach().clone() for weight in model.hidden_weights()]
        _walk(chosen, list(model.parameters()), steps=1)
        found.append([w.detach() for w in model.hidden_weights()])
    for start, without, with_decay in zip(before, *found, strict=True):
        torch.testing.assert_close(without - with_decay, 0.5 * 0.1 * start, rtol=1e-4, atol=1e-6)
