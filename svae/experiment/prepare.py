"""From a configuration to everything that a run needs."""

import copy
from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf

from svae import build
from svae.data.splits import DataSet
from svae.models import protocol
from svae.models.stack import stack_models
from svae.tasks import Graph, Vectors, task_of


@dataclass
class Experiment:
    """Everything a run needs, built and checked before the run folder is made."""

    config: DictConfig
    device: torch.device
    data: DataSet
    model: torch.nn.Module
    task: Vectors | Graph


def prepare(config: DictConfig, turn: int = 0) -> list[Experiment]:
    """Build data and model, of replicas for the seeds `seed`, `seed` + 1, ..., `trainer.replicas`.

    Of several GPUs take that whose `turn` it is.

    Raises:
        ValueError: when a value, a file or the device is not to be had, or the network cannot be
            stacked.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    count = config.trainer.get("replicas", 1)
    if count == 1:
        return [_prepare(config, turn)]
    configs = [_of_replica(config, number) for number in range(count)]
    first = _prepare(configs[0], turn)
    experiments = [first]
    for own in configs[1:]:
        data = first.data if _dataset(own) == _dataset(config) else None
        experiments.append(_prepare(own, turn, data))
    try:
        stack = stack_models([one.model for one in experiments])
    except ValueError as error:
        raise ValueError(f"trainer.replicas={count}: {error}, expected 1") from None
    protocol.dry_run(stack, first.data, count)
    return experiments


def _prepare(config: DictConfig, turn: int, data: DataSet | None = None) -> Experiment:
    device = build.device(config.device, turn)
    data = data or build.data(config)
    model = build.model(config, data.spec).to(device)
    data = data.to(device)
    protocol.dry_run(model, data)
    task = task_of(data.spec.kind, model, config.trainer.get("bound", "elbo"))
    return Experiment(config, device, data, model, task)


def _of_replica(config: DictConfig, number: int) -> DictConfig:
    """Return the configuration of a replica: that of a run alone."""
    own = copy.deepcopy(config)
    own.seed, own.trainer.replicas, own.resume = config.seed + number, 1, None
    return own


def _dataset(config: DictConfig) -> dict:
    return OmegaConf.to_container(config.dataset, resolve=True)
