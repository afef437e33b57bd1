"""The throughput of several runs trained side by side, against the same runs in turn.

An epoch of each of 8 runs: 40 steps of batch 64 at 784 pixels, d = 10, and 100 validation images;
on a GPU, if there is one, also in a CUDA graph, which is recorded once in an epoch: then it has the
782 steps that one of MNIST has. Averages are taken as often as there. Both ways take turns, and
medians are compared.
"""

import itertools
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch

from benchmarks.timing import Row, Times, device_clock, row, thread_clock
from svae.data.splits import DataSet, Split
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.tasks import task_of
from svae.training import loop
from svae.training.learner import Learner, Settings
from svae.training.streams import seeded

FAMILIES = {"Gaussian": NormalFamily, "vMF": VonMisesFisherFamily}
REPLICAS, BATCH, STEPS, STEPS_OF_GRAPH = 8, 64, 40, 782
EPOCHS = 3 if torch.cuda.is_available() else 7


def learner(seed: int, family: Callable, data: DataSet, cuda_graph: bool) -> Learner:
    settings = Settings(
        max_epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=1e-3,
        warmup_epochs=0,
        patience=EPOCHS,
        kl_weight=1.0,
        samples=1,
        averaging=True,
        seed=seed,
        cuda_graph=cuda_graph,
    )
    with seeded("cpu", seed, "parameters"):
        model = AutoEncoder(data.spec.features, family(10)).to(data.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return Learner(model, optimizer, data, settings, task_of(data.spec.kind, model))


def times(family: Callable, data: DataSet, clock: Callable, cuda_graph: bool) -> Times:
    """Return the seconds of each epoch of all runs, side by side and one after the other."""
    alone, together = (
        [learner(seed, family, data, cuda_graph) for seed in range(REPLICAS)] for _ in range(2)
    )
    in_turn = zip(*map(loop.train_alone, alone), strict=True)
    ways, spent = (in_turn, loop.train(together)), ([], [])
    for _ in range(EPOCHS):
        for epochs, kept in zip(ways, spent, strict=True):
            start = clock()
            next(epochs)
            kept.append(clock() - start)
    # the first epoch warms up
    names = ("side by side", "one after the other")
    return {name: kept[1:] for name, kept in zip(names, reversed(spent), strict=True)}


def rows() -> Iterator[Row]:
    """Yield the time of a step and run, side by side and one after the other."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = device_clock if device == "cuda" else thread_clock()
    for graph, (name, family) in itertools.product(
        (False, True)[: 1 + (device == "cuda")], FAMILIES.items()
    ):
        steps = STEPS_OF_GRAPH if graph else STEPS
        # few steps, each with its share in what an epoch of all images does once in a while
        with patch.object(loop, "step_count", lambda *_: STEPS_OF_GRAPH):
            took = times(family, random_images(steps).to(torch.device(device)), clock, graph)
        what = (
            f"a step of each of {REPLICAS} runs, {name}, batch {BATCH}" + " in a CUDA graph" * graph
        )
        yield row(what, "ms", took, *took, per=1e3 / steps / REPLICAS)


def random_images(steps: int) -> DataSet:
    images = torch.rand(BATCH * steps, 784, generator=torch.Generator().manual_seed(0)) ** 3
    values = (255 * images).to(torch.uint8)
    return DataSet(
        *(Split(v, binary=True) for v in (values, values[:100], values[:100])), "bernoulli"
    )
