"""Time of training and evaluation as ratios within one run, printed as one table.

    OMP_NUM_THREADS=2 python -m benchmarks.training [PART ...]

Parts are step, profile, epoch, evaluation, start, memory and graph; without a word all of them. The
last needs a GPU, the others are about the CPU.

A step is what `svae-train` does for a batch: gather and binarise images, forward, loss, backward,
numerical guard, Adam, averaging. It is compared with the matrix products of its layers alone, an
epoch with the loop of s-vae-pytorch (package hyperspherical_vae, left out where it is not
installed) fed from memory. What is compared takes turns; a ratio is the median over the turns.
Compiled steps are left out where there is no C++ compiler.
"""

import importlib.util
import itertools
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from svae import evaluate
from svae.data import mnist
from svae.data.splits import DataSet, Split
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.tasks import task_of
from svae.training import compiled, loop, step
from svae.training.learner import Learner, Settings
from svae.training.muon import Muon, groups_of, orthogonal

FAMILIES = {"normal": NormalFamily, "vmf": VonMisesFisherFamily}
DIMENSIONS, BATCHES = (2, 5, 10, 20, 40), (64, 256, 1000)

Times = dict[str, list[float]]


def turns(calls: dict[str, Callable], repetitions: int) -> Times:
    """Return the wall times of each call in seconds, the first of each left out."""
    times = {name: [] for name in calls}
    for repetition in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repetition:
                times[name].append(time.perf_counter() - start)
    return times


def medians(times: Times) -> dict[str, float]:
    """Return the median time of each call in seconds."""
    return {name: statistics.median(values) for name, values in times.items()}


def ratio(times: Times, name: str, other: str) -> float:
    """Return the median over the turns of the time of one call, in units of another's."""
    return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))


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


def epoch(
    family, d: int, data: DataSet, batch: int, *, compiled: bool = False, **options
) -> Callable:
    """Return a function that trains a new model for one more epoch."""
    return epoch_of(
        AutoEncoder(data.spec.features, family(d), **options), data, batch, compile=compiled
    )


def epoch_of(model: AutoEncoder, data: DataSet, batch: int, optimizer=None, **options) -> Callable:
    """Return a function that trains `model` for one more epoch, by Adam without an optimiser."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    settings = Settings(1, 1e-3, 1, 1, 1.0, 1, batch, averaging=True, **options)
    learner = Learner(model, optimizer, data, settings, task_of(data.spec.kind, model))
    return lambda: loop._train([learner], 1)


def part(data: DataSet, count: int) -> DataSet:
    split = Split(data.train.values[:count].contiguous(), binary=True)
    return DataSet(split, split, split, data.likelihood)


def steps(data: DataSet, images: int = 1600, repetitions: int = 15) -> None:
    columns = {
        "normal / products": ("normal", "products"),
        "vmf / normal": ("vmf", "normal"),
        "bf16 vmf / vmf": ("bf16", "vmf"),
        "compiled normal / products": ("compiled normal", "products"),
        "compiled vmf / compiled normal": ("compiled vmf", "compiled normal"),
    }
    if not (compiles := compiled.can_compile(torch.device("cpu"))):
        columns = {title: pair for title, pair in columns.items() if "compiled" not in title}
    print("", " | ".join(("| batch | d | products ms", *columns)) + " |", sep="\n")
    print("|---" * (3 + len(columns)) + "|")
    for batch in BATCHES:
        count = max(2, images // batch)
        few = part(data, count * batch)
        for d in DIMENSIONS:
            compiled.reset()
            alone = products(AutoEncoder(784, FAMILIES["normal"](d)), batch)
            calls = {"products": lambda alone=alone, n=count: [alone() for _ in range(n)]}
            for name, family in FAMILIES.items():
                calls[name] = epoch(family, d, few, batch)
                if compiles:
                    calls[f"compiled {name}"] = epoch(family, d, few, batch, compiled=True)
            calls["bf16"] = epoch(FAMILIES["vmf"], d, few, batch, half=True)
            times = turns(calls, repetitions)
            cells = [f"{1e3 * medians(times)['products'] / count:.2f}"]
            cells += [f"{ratio(times, *pair):.2f}" for pair in columns.values()]
            print(f"| {batch} | {d} | {' | '.join(cells)} |", flush=True)


def profiles(data: DataSet, d: int = 10, repetitions: int = 9) -> None:
    """Print the time of a step by Adam and by Muon, and of what the latter consists of."""
    columns = "batch | step, Adam | step, Muon | images | passes, guard | orthogonal | products"
    print(f"\n| d = 10, ms | {columns} |", "|---" * 8 + "|", sep="\n")
    for batch, (name, family) in itertools.product((512, 1000), FAMILIES.items()):
        few, source = part(data, 4 * batch), torch.Generator().manual_seed(0)
        model = AutoEncoder(data.spec.features, family(d))
        muon = Muon(groups_of(model, model.hidden_weights()))
        index, task = torch.arange(batch), task_of(data.spec.kind, model)
        images = few.train.observe(index, source)
        calls = {
            "Adam": epoch(family, d, few, batch),
            "Muon": epoch_of(model, few, batch, muon),
            "images": lambda few=few, i=index, s=source: few.train.observe(i, s),
            "passes": lambda m=model, x=images, t=task, s=source: step.differentiate(
                m, x, 1.0, t.objective, 1, "none", s
            ),
            "orthogonal": lambda m=model: [orthogonal(w.detach()) for w in m.hidden_weights()],
            "products": products(model, batch),
        }
        took = medians(turns(calls, repetitions))
        steps = {"Adam": 4, "Muon": 4}
        cells = [f"{1e3 * took[call] / steps.get(call, 1):.1f}" for call in calls]
        print(f"| {name} | {batch} | {' | '.join(cells)} |", flush=True)


def graphs(data: DataSet, repetitions: int = 2) -> None:
    """Print what a step takes on a GPU, by itself, in a CUDA graph, and there compiled.

    A graph is recorded once in an epoch: its step is that of an epoch of as many steps as MNIST's.
    """
    if not torch.cuda.is_available():
        print("\na step in a CUDA graph: this machine has no GPU")
        return
    print(f"\n{torch.cuda.get_device_name()}, ms a step\n")
    ways = {"": {}, "graph, ": {"cuda_graph": True}}
    ways["compiled graph, "] = {"cuda_graph": True, "compile": True}
    columns = [f"{way}{name}" for way in ("s-vae-pytorch, ", *ways) for name in FAMILIES]
    has_peer = importlib.util.find_spec("hyperspherical_vae") is not None
    print(f"| batch | d | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|", sep="\n")
    for family in FAMILIES.values():
        # one found later would have torch compile anew what came before
        step._find_divergence(AutoEncoder(784, family(2)), data.train)
    for batch, d in ((64, 2), (64, 10), (64, 40), (1000, 10)):
        short, whole = (part(data, n).to(torch.device("cuda")) for n in (50 * batch, 50_000))
        compiled.reset()
        calls, counts = {}, {}
        for way, name in itertools.product(ways, FAMILIES):
            if "compile" in ways[way] and (batch, d) != (64, 10):
                continue  # makes a program, which takes half a minute
            column, few = f"{way}{name}", whole if ways[way] else short
            model = AutoEncoder(784, FAMILIES[name](d)).to(few.device)
            # ends with a look at the device
            calls[column] = epoch_of(model, few, batch, **ways[way])
            counts[column] = len(few.train) / batch
        for name in FAMILIES if has_peer and d == 10 else ():
            column = f"s-vae-pytorch, {name}"
            calls[column] = peer_epoch(name, d, short.train.values, batch)
            counts[column] = len(short.train) / batch
        took = medians(turns(calls, repetitions))
        cells = [f"{1e3 * took[c] / counts[c]:.3f}" if c in took else "" for c in columns]
        print(f"| {batch} | {d} | {' | '.join(cells)} |", flush=True)


class Peer(nn.Module):
    """The model of s-vae-pytorch's example on its distributions, with separate heads."""

    def __init__(self, name: str, d: int):
        super().__init__()
        self.name, self.m = name, d + (name == "vmf")
        self.encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.loc, self.spread = nn.Linear(128, self.m), nn.Linear(128, 1 if name == "vmf" else d)
        self.decoder = AutoEncoder(784, NormalFamily(self.m)).decoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.encoder(x)
        loc, spread = self.loc(features), F.softplus(self.spread(features))
        if self.name == "normal":
            q = Normal(loc, spread)
            kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
        else:
            from hyperspherical_vae.distributions import HypersphericalUniform, VonMisesFisher

            q = VonMisesFisher(loc / loc.norm(dim=-1, keepdim=True), spread + 1)
            kl = kl_divergence(q, HypersphericalUniform(self.m - 1, device=x.device))
        logits = self.decoder(q.rsample())
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return (error + kl).mean()


def peer_epoch(name: str, d: int, images: torch.Tensor, batch: int) -> Callable:
    """Return a function that trains s-vae-pytorch's model for an epoch, as its example does.

    On a GPU the images lie there and are taken a batch at a time, not one by one.
    """
    model = Peer(name, d).to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = images.float() / 255
    dataset = torch.utils.data.TensorDataset(images)
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True)

    def batches() -> Iterator[torch.Tensor]:
        if images.is_cuda:
            order = torch.randperm(len(images), device=images.device)
            return (images[index] for index in order.split(batch))
        return (x for (x,) in loader)

    def run() -> None:
        for x in batches():
            optimizer.zero_grad()
            model((x > torch.rand_like(x)).float()).backward()
            optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    return run


def epochs(data: DataSet, batch: int = 64, d: int = 10) -> None:
    few = part(data, 12_000)
    has_peer = importlib.util.find_spec("hyperspherical_vae") is not None
    compiles = compiled.can_compile(torch.device("cpu"))
    print("\n| model, d = 10, batch 64 | s an epoch of 60,000 | s-vae-pytorch / ours", end=" |")
    print(" compiled, s | s-vae-pytorch / ours |\n|---|---|---|---|---|")
    for name, family in FAMILIES.items():
        calls = {"step": epoch(family, d, few, batch)}
        if compiles:
            calls["program"] = epoch(family, d, few, batch, compiled=True)
        if has_peer:
            calls["peer"] = peer_epoch(name, d, few.train.values, batch)
        times = turns(calls, 5)
        cells = []
        for ours in ("step", "program"):
            cells.append(f"{5 * medians(times)[ours]:.1f}" if ours in calls else "no compiler")
            known = has_peer and ours in calls
            cells.append(f"{ratio(times, 'peer', ours):.2f}" if known else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def evaluations(data: DataSet, count: int = 200, samples: int = 500) -> None:
    print("\n| evaluation, 500 samples, d = 10 | s for 10,000 images | / decoder's products |")
    print("|---|---|---|")
    settings = evaluate.Settings(importance_samples=samples)
    split = part(data, count).test
    rows = settings.batch_size // samples * samples
    for name, family in FAMILIES.items():
        model = AutoEncoder(784, family(10))
        alone = products(model, rows, backward=False)
        calls = {
            "ours": lambda model=model: evaluate.evaluate(
                model, split, settings, torch.Generator().manual_seed(0)
            ),
            "products": lambda alone=alone: [alone() for _ in range(count * samples // rows)],
        }
        times = turns(calls, 5)
        seconds = medians(times)["ours"] * 10_000 / count
        print(f"| {name} | {seconds:.0f} | {ratio(times, 'ours', 'products'):.2f} |", flush=True)


def start_up() -> None:
    def process(*arguments: str) -> Callable:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True)

    calls = {"hydra": process("-c", "import hydra"), "help": process("-m", "svae", "--help")}
    took = medians(turns(calls, 7))
    print(
        f"\n`svae-train --help` takes {took['help'] - took['hydra']:.2f} s more than `import hydra`"
    )


def memory() -> None:
    def peak(*arguments: str) -> float:
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
            "stdout=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [sys.executable, "-c", code, sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        return int(done.stdout) / (1 << 20 if platform.system() == "Linux" else 1 << 30)

    with tempfile.TemporaryDirectory() as folder:
        short = ("trainer.max_epochs=1", "evaluation.importance_samples=50", "logger.mode=offline")
        run = peak("-m", "svae", *short, f"hydra.run.dir={folder}/run")
    alone = peak("-c", "import torch")
    above = f"{run - alone:.2f} above `import torch`"
    print(f"\npeak memory of a run of one epoch: {run:.2f} GiB, {above}")


def main() -> None:
    parts = sys.argv[1:] or ["step", "profile", "epoch", "evaluation", "start", "memory", "graph"]
    data = mnist.load()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s) of "
        f"{platform.processor() or platform.machine()}, {date.today()}"
    )
    torch.manual_seed(0)
    # a turn has few steps, each with its share in what an epoch of all images does once in a while
    loop.step_count = lambda _, settings: len(data.train) // settings.batch_size
    if "step" in parts:
        steps(data)
    if "profile" in parts:
        profiles(data)
    if "epoch" in parts:
        epochs(data)
    if "evaluation" in parts:
        evaluations(data)
    if "start" in parts:
        start_up()
    if "memory" in parts:
        memory()
    if "graph" in parts:
        graphs(data)


if __name__ == "__main__":
    main()
