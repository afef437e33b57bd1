"""Training and evaluation beside the matrix products that they consist of, and a public loop.

A step is what `svae-train` does for a batch: gather and binarise images, forward, loss, backward,
numerical guard, optimiser, averaging. The products include the gradient with respect to the images,
a seventh of them, which no step computes. A turn has few steps, each with its share in what an
epoch of all images does once in a while.
"""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from functools import cache, partial
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.peer import peer_epoch
from benchmarks.timing import Row, row, thread_clock, turns
from svae import evaluate
from svae.data import mnist
from svae.data.splits import DataSet, Split
from svae.models.conv import ConvolutionalAutoEncoder
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, SphericalCauchyFamily, VonMisesFisherFamily
from svae.models.product import ProductFamily
from svae.tasks import task_of
from svae.training import compiled, loop, step
from svae.training.learner import Learner, Settings
from svae.training.muon import Muon, groups_of, orthogonal

FAMILIES = {"Gaussian": NormalFamily, "vMF": VonMisesFisherFamily}
PRODUCTS, PEER = "its matrix products", "s-vae-pytorch"
D = 10

images = cache(mnist.load)


def few(count: int) -> DataSet:
    """Return the first `count` training images, as all three splits."""
    split = Split(images().train.values[:count].contiguous(), binary=True)
    return DataSet(split, split, split, images().likelihood)


def products(model: AutoEncoder, batch: int, *, backward: bool = True) -> Callable:
    """Return a function that does the matrix products of a step, 3 per layer, or the decoder's."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not backward:
        layers = [layer for layer in model.decoder if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    operands = [(torch.randn(batch, i), torch.randn(o, i), torch.randn(batch, o)) for i, o in sizes]

    def run() -> None:
        for x, weight, grad in operands:
            _ = x @ weight.T
            if backward:
                _ = grad.T @ x, grad @ weight

    return run


def epoch(model: AutoEncoder, data: DataSet, batch: int, optimizer=None, **options) -> Callable:
    """Return a function that trains `model` for one more epoch, by Adam without an optimiser."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    settings = Settings(1, 1e-3, 1, 1, 1.0, 1, batch, averaging=True, **options)
    learner = Learner(model, optimizer, data, settings, task_of(data.spec.kind, model))
    as_many = patch.object(loop, "step_count", lambda *_: len(images().train) // batch)

    def run() -> None:
        with as_many:
            loop._train([learner], 1)

    return run


def muon(model: AutoEncoder) -> Muon:
    return Muon(groups_of(model, model.hidden_weights()))


def compiles() -> bool:
    return compiled.can_compile(torch.device("cpu"))


def steps(repetitions: int = 15) -> Iterator[Row]:
    """Adam's step: beside the products, the Gaussian's, float32 and the compiled ones."""
    for batch, count in ((64, 25), (1000, 2)):
        compiled.reset()
        data, wanted = few(count * batch), {"": {}}
        if compiles():
            wanted["compiled "] = {"compile": True}
        alone = products(AutoEncoder(784, NormalFamily(D)), batch)
        calls = {PRODUCTS: lambda alone=alone, count=count: [alone() for _ in range(count)]}
        for (name, family), (word, options) in itertools.product(FAMILIES.items(), wanted.items()):
            calls[word + name] = epoch(AutoEncoder(784, family(D)), data, batch, **options)
        halved = AutoEncoder(784, VonMisesFisherFamily(D), half=True)
        calls["vMF in bfloat16"] = epoch(halved, data, batch)
        times = turns(calls, repetitions)
        pairs = [("Gaussian", PRODUCTS), ("vMF", "Gaussian"), ("vMF in bfloat16", "vMF")]
        if compiles():
            pairs += [("compiled Gaussian", PRODUCTS), ("compiled vMF", "compiled Gaussian")]
        for ours, theirs in pairs:
            what = f"a step by Adam, {ours}, batch {batch}"
            yield row(what, "ms", times, ours, theirs, per=1e3 / count)


def families(repetitions: int = 15) -> Iterator[Row]:
    """Adam's step by what the other families cost beside one concentration."""
    others = {
        "scaled vMF": partial(VonMisesFisherFamily, scales=True),
        "product of ten circles": partial(ProductFamily, factors=D * ["S1"]),
        "spherical Cauchy": SphericalCauchyFamily,
    }
    for batch, count in ((64, 25), (256, 8), (512, 4)):
        data = few(count * batch)
        calls = {
            name: epoch(AutoEncoder(784, family(D)), data, batch)
            for name, family in ({"vMF": VonMisesFisherFamily} | others).items()
        }
        times = turns(calls, repetitions)
        for name in others:
            yield row(
                f"a step by Adam, {name}, batch {batch}", "ms", times, name, "vMF", per=1e3 / count
            )


def networks(batch: int = 750, count: int = 2, repetitions: int = 9) -> Iterator[Row]:
    """Muon's step with convolutions, halving images twice or three times, beside the MLP's."""
    data, family = few(count * batch), VonMisesFisherFamily(D)
    made = {"the MLP": AutoEncoder(784, family, unit_variance=True)}
    for depth in (2, 3):
        network = ConvolutionalAutoEncoder(784, family, "bernoulli", (28, 28), depth=depth)
        made[f"network=conv network.depth={depth}"] = network
    calls = {name: epoch(model, data, batch, muon(model)) for name, model in made.items()}
    times = turns(calls, repetitions, thread_clock())
    for name in list(made)[1:]:
        what = f"a step by Muon, vMF, {name}, batch {batch}"
        yield row(what, "ms", times, name, "the MLP", per=1e3 / count)


def profile(count: int = 4, repetitions: int = 9) -> Iterator[Row]:
    """Muon's step of the S-VAE, and of what it consists; averaging and the rest is what is left."""
    for batch in (512, 1000):
        data, model = few(count * batch), AutoEncoder(784, VonMisesFisherFamily(D))
        source, index = torch.Generator().manual_seed(0), torch.arange(batch)
        task, seen = task_of(data.spec.kind, model), data.train.observe(index, source)
        twin = AutoEncoder(784, VonMisesFisherFamily(D))
        parts = {
            PRODUCTS: products(model, batch),
            "images": lambda d=data, i=index, s=source: d.train.observe(i, s),
            "both passes and the guard": lambda m=model, x=seen, t=task, s=source: (
                step.differentiate(m, x, 1.0, t.objective, 1, "none", s)
            ),
            "the orthogonal momentum": lambda m=model: [
                orthogonal(weight.detach()) for weight in m.hidden_weights()
            ],
        }
        repeated = {
            name: lambda part=part: [part() for _ in range(count)] for name, part in parts.items()
        }
        whole = {
            "the step": epoch(model, data, batch, muon(model)),
            "a step by Adam": epoch(twin, data, batch),
        }
        times = turns(repeated | whole, repetitions)
        for theirs in (PRODUCTS, "a step by Adam"):
            what = f"a step by Muon, vMF, batch {batch}"
            yield row(what, "ms", times, "the step", theirs, per=1e3 / count)
        for ours in list(parts)[1:]:
            what = f"a step by Muon, vMF, batch {batch}: {ours}"
            yield row(what, "ms", times, ours, "the step", per=1e3 / count)


def epochs(batch: int = 64) -> Iterator[Row]:
    """An epoch of 60,000 images, by Adam, beside that of s-vae-pytorch fed from memory."""
    if importlib.util.find_spec("hyperspherical_vae") is None:
        return
    data = few(12_000)
    for name, family in FAMILIES.items():
        calls = {"": epoch(AutoEncoder(784, family(D)), data, batch)}
        if compiles():
            calls["compiled "] = epoch(AutoEncoder(784, family(D)), data, batch, compile=True)
        calls[PEER] = peer_epoch(name, D, data.train.values, batch)
        times = turns(calls, 5)
        for word in list(calls)[:-1]:
            what = f"an epoch of 60,000, {word}{name}, batch {batch}"
            yield row(what, "s", times, word, PEER, per=60_000 / len(data.train))


def evaluation(count: int = 200, samples: int = 500) -> Iterator[Row]:
    """The final numbers of 10,000 images, beside the products of the decoder alone."""
    settings = evaluate.Settings(importance_samples=samples)
    split = few(count).test
    rows = settings.batch_size // samples * samples
    for name, family in FAMILIES.items():
        model = AutoEncoder(784, family(D))
        alone = products(model, rows, backward=False)
        calls = {
            "ours": lambda model=model: evaluate.evaluate(
                model, split, settings, torch.Generator().manual_seed(0)
            ),
            "its decoder's products": lambda alone=alone: [
                alone() for _ in range(count * samples // rows)
            ],
        }
        what = f"evaluating 10,000 images by {samples} importance samples, {name}"
        yield row(what, "s", turns(calls, 5), *calls, per=10_000 / count)


def recorded(repetitions: int = 2) -> Iterator[Row]:
    """A step on a GPU: eager, in a CUDA graph, and there compiled, beside s-vae-pytorch's.

    A graph is recorded once in an epoch: its step is that of an epoch of as many steps as MNIST's.
    """
    has_peer = importlib.util.find_spec("hyperspherical_vae") is not None
    ways = {"": {}, " in a CUDA graph": {"cuda_graph": True}}
    ways[" compiled in a CUDA graph"] = {"cuda_graph": True, "compile": True}
    for family in FAMILIES.values():
        # one found later would have torch compile anew what came before
        step._find_divergence(AutoEncoder(784, family(2)), images().train)
    for name, batch in itertools.product(FAMILIES, (64, 1000)):
        short, whole = (few(n).to(torch.device("cuda")) for n in (50 * batch, 50_000))
        compiled.reset()
        times = {}
        for way, options in ways.items():
            data = whole if options else short
            model = AutoEncoder(784, FAMILIES[name](D)).to(data.device)
            # ends with a look at the device
            calls = {f"{name}{way}": epoch(model, data, batch, **options)}
            count = len(data.train) / batch
            for call, took in turns(calls, repetitions).items():
                times[call] = [seconds / count for seconds in took]
        beside = name
        if has_peer:
            calls = {PEER: peer_epoch(name, D, short.train.values, batch)}
            times |= {PEER: [s * batch / len(short.train) for s in turns(calls, repetitions)[PEER]]}
            beside = PEER
        for way in ways if has_peer else list(ways)[1:]:
            yield row(
                f"a step by Adam, {name}{way}, batch {batch}",
                "ms",
                times,
                f"{name}{way}",
                beside,
                per=1e3,
            )
