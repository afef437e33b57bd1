"""From a configuration to everything that a run needs."""

import copy
import math
import re
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from svae import build
from svae.data.splits import DataSet
from svae.models import protocol
from svae.models.stack import stack_models
from svae.tasks import Graph, Vectors, task_of

_COPIES = 17  # of the parameters of a replica are in memory
_FILES, _OTHER_FILES = 2, 64  # that a replica keeps open, its lock and its log; all else
_MEMORY = Path("/proc/meminfo")  # Linux's


@dataclass
class Experiment:
    """Everything a run needs, built and checked before the run folder is made."""

    config: DictConfig
    device: torch.device
    data: DataSet
    model: torch.nn.Module
    task: Vectors | Graph


def prepare(
    config: DictConfig, turn: int = 0, read: Callable[[DictConfig], DataSet] | None = None
) -> list[Experiment]:
    """Build data and model, of replicas for the seeds `seed`, `seed` + 1, ..., `trainer.replicas`.

    Of several GPUs take that whose `turn` it is. `read` returns the data of a configuration, by
    default what that says.

    Raises:
        ValueError: when a value, a file or the device is not to be had, there is no room for so
            many replicas, or the network cannot be stacked.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    read, count = read or build.data, config.trainer.get("replicas", 1)
    if count == 1:
        return [_prepare(config, turn, read(config))]
    whole = _of_replica(config, 0)
    first = _prepare(whole, turn, read(whole))
    _refuse_too_many(count, first)  # before there are any
    experiments = [first]
    for number in range(1, count):
        own = _of_replica(config, number)
        is_same = _dataset(own) == _dataset(whole)
        experiments.append(_prepare(own, turn, first.data if is_same else read(own)))
    try:
        stack = stack_models([one.model for one in experiments])
    except ValueError as error:
        raise ValueError(f"trainer.replicas={count}: {error}, expected 1") from None
    protocol.dry_run(stack, first.data, count)
    return experiments


def _prepare(config: DictConfig, turn: int, data: DataSet) -> Experiment:
    device = build.device(config.device, turn)
    # else a GPU adds up the gradients of convolutions in another order each time
    torch.backends.cudnn.deterministic = True
    model = build.model(config, data.spec).to(device)
    data = data.to(device)
    protocol.dry_run(model, data)
    task = task_of(data.spec.kind, model, config.trainer.get("bound", "elbo"))
    task.check(data)
    return Experiment(config, device, data, model, task)


def _refuse_too_many(count: int, first: Experiment) -> None:
    """Refuse more replicas than there is memory for, or more files than may be open.

    A replica takes about 17 times the bytes of its parameters, as measured: the model, its gradient
    and its part in two stacks, a mean and two moments of the optimiser in each, the copy after the
    last good epoch, of which there are two for a moment, and the best. The moments of Muon are
    fewer.
    """
    size = _COPIES * sum(p.nbytes for p in first.model.parameters())
    room = _free_memory(first.device)
    if count * size > room:
        raise ValueError(
            f"trainer.replicas={count}: takes about {count * size / 2**20:,.0f} MiB, {_COPIES} "
            f"times the parameters of each, and {room / 2**20:,.0f} MiB are available, expected at "
            f"most {max(1, int(room / size))}"
        )
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES) // _FILES
    if count > most >= 0:  # -1 is no limit
        raise ValueError(
            f"trainer.replicas={count}: keeps {_FILES} files open for each, expected at most "
            f"{max(1, most)} or a higher limit (ulimit -n {_FILES * count + _OTHER_FILES})"
        )


def _free_memory(device: torch.device) -> float:
    """Return the bytes that can be taken, infinity where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError):
        found = re.search(r"^MemAvailable: +(\d+) kB$", _MEMORY.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return math.inf


def _of_replica(config: DictConfig, number: int) -> DictConfig:
    """Return the configuration of a replica: that of a run alone."""
    own = copy.deepcopy(config)
    own.seed, own.trainer.replicas, own.resume = config.seed + number, 1, None
    return own


def _dataset(config: DictConfig) -> dict:
    return OmegaConf.to_container(config.dataset, resolve=True)
