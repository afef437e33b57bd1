"""Words to objects: data, model and optimiser from a composed configuration."""

import inspect
import logging
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from svae import checkpoint, evaluate, train
from svae.data.splits import DataSet
from svae.record import saved_config
from svae.streams import seeded


def device(config: DictConfig, turn: int = 0) -> torch.device:
    """Return the device that `device` names; `auto` takes a CUDA GPU where there is one.

    Of several GPUs `auto` takes the one whose `turn` it is: 0, 1, ... go round them.

    Raises:
        ValueError: when the machine has no such device.
    """
    name = config.device
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device(f"cuda:{turn % available}" if available else "cpu")
    chosen = torch.device(name)
    if chosen.type == "cuda" and (chosen.index or 0) >= available:
        found = f"{available} CUDA device(s)" if available else "no CUDA device"
        raise ValueError(f"device={name}: this machine has {found}; use device=cpu or device=auto")
    return chosen


def data(config: DictConfig) -> DataSet:
    """Return the data set on the CPU.

    Raises:
        ValueError: when its files are missing or altered.
    """
    return _instantiate(config.dataset, "dataset")


def model(config: DictConfig, features: int, likelihood: str) -> nn.Module:
    """Return the model on the CPU for observations of `features` numbers.

    Its parameters are drawn from the stream (seed, "parameters").
    """
    latent = _instantiate(config.model, "model", latent_dim=config.latent_dim)
    arguments = {"features": features, "latent": latent, "likelihood": likelihood}
    with seeded("cpu", config.seed, "parameters"):
        half = config.precision == "bf16"
        return _instantiate(config.network, "network", **arguments, half=half)


def load(run_folder: str | Path, device: str = "cpu") -> tuple[nn.Module, DictConfig]:
    """Return (model, config) of a finished or interrupted run: see `svae.load`."""
    folder = Path(run_folder).expanduser()
    config = saved_config(folder)
    path = folder / "checkpoints" / "best.pt"
    state = checkpoint.load(path, device)
    checkpoint.check_best(state, path)
    network = model(config, state["features"], state["likelihood"])
    checkpoint.restore_model(state, network, path)
    return network.to(device).eval(), config


def optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return Adam over the parameters of `model`, where they lie."""
    return torch.optim.Adam(model.parameters(), lr=config.trainer.learning_rate, fused=True)


def training(config: DictConfig) -> train.Settings:
    """Return the training settings."""
    keys = OmegaConf.to_container(config.trainer, resolve=True)
    keys.pop("negatives", None)  # is the data set's
    return train.Settings(
        **keys,
        baseline=config.sampler.baseline,
        objective=config.objective,
        seed=config.seed,
    )


def evaluation(config: DictConfig) -> evaluate.Settings:
    """Return the evaluation settings."""
    return evaluate.Settings(**OmegaConf.to_container(config.evaluation, resolve=True))


def _instantiate(node: DictConfig, name: str, **arguments):
    """Build what `node._target_` names; a wrong key or value is told in one sentence."""
    target = _target(node, name)
    keys = set(node) - {"_target_"}
    accepted = set(inspect.signature(target).parameters) - set(arguments)
    if unknown := sorted(str(key) for key in keys - accepted):
        raise ValueError(
            f"{name}.{unknown[0]}: {node._target_} has no such option, "
            f"expected {', '.join(sorted(accepted)) or 'none'}"
        )
    try:
        return instantiate(node, **arguments, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise ValueError(str(error.__cause__)) from error
        raise


def _target(node: DictConfig, name: str):
    logger = logging.getLogger("hydra.utils")  # it prints what is told below in one sentence
    logger.disabled = True
    try:
        return get_object(node._target_)
    except (ImportError, ValueError):
        raise ValueError(f"{name}._target_={node._target_}: cannot be found") from None
    finally:
        logger.disabled = False
