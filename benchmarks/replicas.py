"""The throughput of several runs trained side by side, against the same runs in turn.

    OMP_NUM_THREADS=1 python -m benchmarks.replicas

An epoch of each of 8 runs: 40 steps of batch 64 at 784 pixels, d = 10, and 100 validation images;
on a GPU, if there is one, also in a CUDA graph, which is recorded once in an epoch: then it has the
782 steps that one of MNIST has. Averages are taken as often as there. Both ways take turns, and
medians are compared.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable

import torch

from svae.data.splits import DataSet, Split
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.tasks import task_of
from svae.training import loop
from svae.training.learner import Learner, Settings
from svae.training.streams import seeded

FAMILIES = {"normal": NormalFamily, "vmf": VonMisesFisherFamily}
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


def times(
    family: Callable, data: DataSet, clock: Callable, cuda_graph: bool
) -> tuple[float, float]:
    """Return the seconds of an epoch of all runs in turn, and side by side."""
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
    return tuple(statistics.median(kept[1:]) for kept in spent)


def device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # the processor's time, which other programs do not lengthen, where it is one thread's
    on_cpu = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    clock = device_clock if device == "cuda" else on_cpu
    # few steps, each with its share in what an epoch of all images does once in a while
    loop.step_count = lambda *_: STEPS_OF_GRAPH
    print(f"{device}, {torch.get_num_threads()} threads of {os.cpu_count()}")
    print(
        f"{'ms per step and run, batch 64, d = 10':40} {'in turn':>8} {'together':>9} {'ratio':>6}"
    )
    ways = itertools.product(FAMILIES.items(), (False, True) if device == "cuda" else (False,))
    for (name, family), graph in ways:
        steps = STEPS_OF_GRAPH if graph else STEPS
        took = times(family, random_images(steps).to(torch.device(device)), clock, graph)
        in_turn, together = (1e3 * seconds / steps / REPLICAS for seconds in took)
        what = f"{name}, {REPLICAS} replicas" + graph * ", CUDA graph"
        print(f"{what:40} {in_turn:8.3f} {together:9.3f} {in_turn / together:6.2f}", flush=True)


def random_images(steps: int) -> DataSet:
    images = torch.rand(BATCH * steps, 784, generator=torch.Generator().manual_seed(0)) ** 3
    values = (255 * images).to(torch.uint8)
    return DataSet(
        *(Split(v, binary=True) for v in (values, values[:100], values[:100])), "bernoulli"
    )


if __name__ == "__main__":
    main()
