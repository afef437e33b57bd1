"""Time of an epoch beside torch_geometric's VGAE, of the encoders, and what large graphs cost.

All of it on one thread of the CPU.
"""

import importlib.util
import itertools
import resource
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import torch

from benchmarks.timing import Row, row, thread_clock, turns
from svae.data import planetoid, sphere_graph
from svae.models.graph import GraphAutoEncoder, LinearGraphAutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.tasks import task_of
from svae.training.learner import Learner, Settings
from svae.training.loop import train_alone

FAMILIES = {"N-VGAE": NormalFamily, "S-VGAE": VonMisesFisherFamily}
EPOCHS = 200
SIZES = {
    "19,717 nodes, 44,324 edges, all pairs": {"nodes": 19_717, "edges": 44_324, "features": 500},
    "1,000,000 nodes, 5,000,000 edges, sampled pairs": {
        "nodes": 1_000_000,
        "edges": 5_000_000,
        "negatives": "sampled",
    },
}


def ours(
    data, family, latent_dim: int, epochs: int, network=GraphAutoEncoder, **options
) -> list[float]:
    """Return the seconds of each epoch, validation included."""
    torch.manual_seed(0)
    model = network(data.spec.features, family(latent_dim), **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    settings = Settings(epochs, 0.01, 0, epochs, 1.0, 1, objective="val/auc")
    learner = Learner(model, optimizer, data, settings, task_of(data.spec.kind, model))
    return [epoch.metrics["seconds"] for epoch in train_alone(learner)]


def cora(folder: str | None) -> Iterator[Row]:
    """Yield the time of 200 epochs; `folder` holds the files `ind.cora.*`, None downloads them."""
    from benchmarks import vgae

    peer = vgae.train(folder, 16, EPOCHS)
    beside = ("torch_geometric's VGAE", peer)
    hiding = planetoid.load("cora", folder, negatives="sampled", mask_edges=0.5)
    for latent_dim in (16, 128):
        found = ours(
            hiding, VonMisesFisherFamily, latent_dim, EPOCHS, LinearGraphAutoEncoder, hops=2
        )
        what = (
            f"{EPOCHS} epochs on Cora, S-VGAE, linear, half of the edges hidden, d = {latent_dim}"
        )
        yield Row(what, "s", sum(found), *beside)
    for negatives, (name, family) in itertools.product(("all", "sampled"), FAMILIES.items()):
        data = planetoid.load("cora", folder, negatives=negatives)
        what = f"{EPOCHS} epochs on Cora, {name}, negatives={negatives}"
        yield Row(what, "s", sum(ours(data, family, 16, EPOCHS)), *beside)


def encoders(folder: str | None) -> Iterator[Row]:
    """Yield the time of both passes of the presets' encoders, without decoder and sampler."""
    for name in ("cora", "citeseer"):
        graph = planetoid.load(name, folder).train
        features, calls = graph.values.shape[1], {}
        for latent_dim, hops in ((64, 2), (128, 2)):
            family = VonMisesFisherFamily(latent_dim)
            linear = LinearGraphAutoEncoder(features, family, hops=hops)
            calls[f"linear, d = {latent_dim}, hops = {hops}"] = partial(_both_passes, linear, graph)
        convolutions = GraphAutoEncoder(
            features, VonMisesFisherFamily(64), hidden=(128,), dropout=0.5
        )
        calls["the GCN of Table 4"] = partial(_both_passes, convolutions, graph)
        times = turns(calls, 15, clock=thread_clock())
        for what in list(calls)[:-1]:
            title = f"forward and backward of an encoder, {name}, {what}"
            yield row(title, "ms", times, what, "the GCN of Table 4", per=1e3)


def _both_passes(model, graph) -> None:
    posterior = model.posterior(graph)
    total = posterior.loc.square().sum() + posterior.concentration.sum()
    torch.autograd.grad(total, list(model.parameters()), allow_unused=True)


def large(epochs: int = 3, **options) -> tuple[float, float]:
    """Return the seconds of an epoch, and the peak memory of a process of its own in GiB."""
    torch.set_num_threads(1)
    seconds = ours(sphere_graph.load(**options), VonMisesFisherFamily, 16, epochs)
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def synthetic() -> Iterator[Row]:
    """What large graphs cost, each in a process of its own."""
    for what, options in SIZES.items():
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            seconds, memory = alone.submit(large, **options).result()
        yield Row(f"an epoch on a graph, S-VGAE, {what}", "s", seconds)
        yield Row("peak memory of that", "GiB", memory)


def rows(folder: str | None) -> Iterator[Row]:
    """Yield the rows of Cora, where torch_geometric is installed, of encoders and large graphs."""
    if importlib.util.find_spec("torch_geometric"):
        yield from cora(folder)
    yield from encoders(folder)
    yield from synthetic()
