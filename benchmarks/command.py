"""What the command itself takes: to start, for a run by default, and in memory."""

import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from benchmarks.timing import Row, row, turns
from svae import Run


def start() -> Iterator[Row]:
    def process(*arguments: str) -> Callable:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True)

    calls = {"svae": process("-m", "svae", "--help"), "import hydra": process("-c", "import hydra")}
    yield row("`svae-train --help`", "s", turns(calls, 9), *calls)


def memory() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        short = ("trainer.max_epochs=1", "evaluation.importance_samples=50", "logger.mode=offline")
        run = _peak("-m", "svae", *short, f"hydra.run.dir={folder}/run")
    alone = _peak("-c", "import torch")
    yield Row("peak memory of a run of one epoch", "GiB", run, "import torch", alone)


def _peak(*arguments: str) -> float:
    """Return the peak memory of a Python process in GiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return int(done.stdout) / (1 << 20 if platform.system() == "Linux" else 1 << 30)


def default() -> Iterator[Row]:
    """Yield what the first command takes, beside the 80 epochs of Adam at batch 64."""
    earlier = "trainer=minibatch network=mlp"
    (seconds, elbo), (before, lower) = _trained(), _trained(*earlier.split())
    yield Row("training of `svae-train`", "s", seconds, earlier, before)
    yield Row("its best validation ELBO", "nats", elbo, earlier, lower)


def _trained(*typed: str) -> tuple[float, float]:
    """Return seconds of training and the best validation ELBO of a run."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("logger.mode=disabled", "plots=false", "evaluation.importance_samples=1")
        command = [sys.executable, "-m", "svae", *typed, *options, f"hydra.run.dir={folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run = Run(f"{folder}/run")
        return run.results["seconds"], run.best("val/elbo")
