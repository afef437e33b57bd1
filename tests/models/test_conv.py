"""The convolutional network: any size, what a convolution is, and stacks of it."""

import re
from math import prod

import pytest
import torch

from svae import build
from svae.data.splits import DataSet, DataSpec, Split
from svae.models.conv import ConvolutionalAutoEncoder, Growing, Shrinking
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.models.stack import stack_models
from svae.training.averaging import averaged
from svae.training.learner import Settings
from svae.training.loop import train, train_alone
from svae.training.muon import Muon, groups_of
from svae.training.streams import seeded
from tests.support.swept import composed
from tests.support.training import learner

SHAPES = [(8, 8), (9, 13), (28, 28), (3, 8, 15), (3, 31, 17), (3, 64, 8)]


def _model(shape, likelihood="bernoulli", family=VonMisesFisherFamily, seed=0, **options):
    torch.manual_seed(seed)
    return ConvolutionalAutoEncoder(prod(shape), family(4), likelihood, shape, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretised_logistic"])
def test_images_of_any_size_keep_it(shape, likelihood):
    model, features = _model(shape, likelihood), prod(shape)
    observed = torch.rand(2, 3, features).round()
    posterior = model.posterior(observed)
    assert (posterior.batch_shape, posterior.event_shape) == ((2, 3), (5,))
    torch.testing.assert_close(model.posterior(observed[0]).loc, posterior.loc[0])
    law = model.likelihood(posterior.draw((4,)).value)
    assert (law.batch_shape, law.event_shape) == ((4, 2, 3), (features,))
    assert law.log_prob(observed).shape == (4, 2, 3)
    # every pixel is seen, and every number that the decoder gives depends on what it reads
    observed = observed[0].requires_grad_()
    (seen,) = torch.autograd.grad(model.posterior(observed).concentration.sum(), observed)
    assert (seen != 0).any(0).float().mean() > 0.9
    assert law.mean.std(0).min() > 0


@pytest.mark.parametrize(
    ("side", "depth", "sizes"),
    [
        (8, None, [4]),
        (15, None, [7]),
        (16, None, [4]),
        (28, None, [7]),
        (32, None, [8, 4]),
        (63, None, [15, 7]),
        (64, None, [16, 8, 4]),
        (28, 1, [14]),
        (28, 4, [7, 3, 1]),
    ],
)
def test_images_shrink_until_few_pixels_are_left(side, depth, sizes):
    model, seen = _model((side, side + 9), channels=2, depth=depth), []
    for layer in model.encoder:
        if isinstance(layer, Shrinking):
            layer.register_forward_hook(lambda _, __, outputs: seen.append(outputs.shape[-3:]))
    model.posterior(torch.zeros(1, side * (side + 9)))
    assert [shape[1] for shape in seen] == sizes
    assert [shape[0] for shape in seen] == [2 * 2**number for number in range(len(sizes))]


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("side", range(8, 16))
def test_each_layer_is_a_convolution_and_its_mirror_the_adjoint(side, stride):
    """<W x, y> = <x, W' y>, with the kernels of one layer in both; every pixel is in a window."""
    torch.manual_seed(0)
    size, small = (side, side + 5), (side // stride, (side + 5) // stride)
    down, up = Shrinking(2, 5, size, stride).double(), Growing(5, 2, size, stride).double()
    x, y = torch.randn(1, 2, *size).double(), torch.randn(1, 5, *small).double()
    bias = down.bias.data[:, None, None].expand(1, 5, *small)
    torch.testing.assert_close(down(torch.zeros_like(x)), bias)
    up.weight.data = down.weight.data
    found = ((down(x) - bias) * y).sum()
    torch.testing.assert_close(found, (x * (up(y) - up.bias.data[:, None, None])).sum())
    reached = up(torch.ones_like(y)) - up.bias.data[:, None, None]
    assert (reached != 0).all()


def test_the_colours_of_a_pixel_stand_where_the_data_have_them():
    """The mean of a decoder whose last layer is its bias alone: plane by plane."""
    model = _model((3, 8, 9), "discretised_logistic")
    last = model.decoder[-2]
    last.weight.data.zero_()
    last.bias.data = torch.tensor([-0.5, 0.0, 0.5, -9.0, -9.0, -9.0])
    means = model.likelihood(torch.ones(1, 5)).mean.unflatten(-1, (3, 72))
    expected = (torch.tensor([0.25, 0.5, 0.75]) * 255).round() / 255
    torch.testing.assert_close(means[0], expected[:, None].expand(3, 72), atol=3e-3, rtol=0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretised_logistic"])
def test_a_stack_computes_what_its_models_compute(likelihood):
    shape = (3, 9, 8)
    models = [_model(shape, likelihood, seed=seed) for seed in range(3)]
    stack = stack_models(models)
    observed, latent = torch.rand(3, 5, prod(shape)).round(), torch.randn(4, 3, 5, 5)
    whole = stack.likelihood(latent).log_prob(observed)
    (whole.sum() + stack.posterior(observed).loc.square().sum()).backward()
    for row, model in enumerate(models):
        alone = model.likelihood(latent[:, row]).log_prob(observed[row])
        torch.testing.assert_close(whole[:, row], alone)
        (alone.sum() + model.posterior(observed[row]).loc.square().sum()).backward()
        for ours, theirs in zip(stack.parameters(), model.parameters(), strict=True):
            if theirs.grad is not None:
                own = ours.grad[row].view_as(theirs)
                torch.testing.assert_close(own, theirs.grad, rtol=1e-4, atol=1e-4)


def _learner(seed, data, family, optimizer, **changes):
    settings = {"max_epochs": 3, "batch_size": 20, "learning_rate": 1e-3, "warmup_epochs": 1}
    settings |= {"patience": 3, "kl_weight": 1.0, "samples": 1, **changes}
    with seeded("cpu", seed, "parameters"):
        model = ConvolutionalAutoEncoder(
            data.spec.features, family(3), data.likelihood, data.image_shape, channels=4
        ).to(data.device)
    chosen = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    if optimizer == "muon":
        chosen = Muon(groups_of(model, model.hidden_weights()), 1e-3)
    return learner(model, chosen, data, Settings(**settings, seed=seed))


@pytest.fixture
def data():
    values = torch.randint(0, 256, (90, 192), generator=torch.Generator().manual_seed(0))
    split = Split(values.to(torch.uint8))
    return DataSet(*split.cut(50, 20, 20), "discretised_logistic", (3, 8, 8))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("family", [VonMisesFisherFamily, NormalFamily])
def test_stacked_runs_are_those_alone(data, family, optimizer):
    stacked, singles = (
        [_learner(seed, data, family, optimizer, averaging=True) for seed in (3, 4)] for _ in "ab"
    )
    assert len(list(train(stacked))) == 3
    for own, single in zip(stacked, singles, strict=True):
        list(train_alone(single))
        assert own.last.metrics["val/elbo"] == pytest.approx(single.last.metrics["val/elbo"])
        with averaged(own.optimizer), averaged(single.optimizer):
            for ours, theirs in zip(own.model.parameters(), single.model.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_recorded_run_on_a_gpu_is_the_run_and_repeats_itself(data, optimizer, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    plain, recorded, again = (
        _learner(0, data.to(torch.device("cuda")), VonMisesFisherFamily, optimizer, cuda_graph=way)
        for way in (False, True, True)
    )
    for own in (plain, recorded, again):
        list(train_alone(own))
    numbers = [own.last.metrics["val/elbo"] for own in (plain, recorded, again)]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-4)
    assert numbers[1] == numbers[2]


@pytest.mark.parametrize(
    ("family", "has_head"), [(VonMisesFisherFamily, True), (NormalFamily, False)]
)
def test_muon_trains_kernels_and_matrices(family, has_head):
    model = _model((8, 8), family=family)
    matrices = {id(p) for p in model.parameters() if p.dim() > 1}
    head = [layer for layer in model.encoder if isinstance(layer, torch.nn.Linear)][-1]
    matrices -= set() if has_head else {id(head.weight)}
    assert {id(weight) for weight in model.hidden_weights()} == matrices


def test_half_precision_is_for_products_alone():
    model = _model((9, 8), half=True)
    posterior = model.posterior(torch.rand(6, 72).round())
    assert posterior.loc.dtype == torch.float32
    assert model.likelihood(posterior.loc).logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("keys", "spec", "words"),
    [
        ((), DataSpec(20, "gaussian"), "an observation is 20 numbers without a height"),
        ((), DataSpec(70, "bernoulli", (7, 10)), "images of 8 x 8 pixels or more, got 7 x 10"),
        (("network.depth=4",), DataSpec(81, "bernoulli", (9, 9)), "network.depth=4: .* at most 3"),
    ],
)
def test_what_is_no_image_or_too_small_is_refused(keys, spec, words):
    config = composed("network=conv", *keys)
    with pytest.raises(ValueError, match=re.compile(words)):
        build.model(config, spec)


def test_channels_depth_and_widths_are_keys():
    keys = ("network.channels=3", "network.depth=3", "network.hidden=[20,10]")
    model = build.model(composed("network=conv", *keys), DataSpec(128, "bernoulli", (16, 8)))
    shapes = {tuple(weight.shape) for weight in model.hidden_weights()}
    assert {(3, 1, 8, 8), (6, 3, 4, 4), (20, 12), (10, 20)} < shapes
