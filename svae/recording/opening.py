"""What a person is told before the first epoch: what was read, and what is going to be trained."""

import time

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from svae.data.splits import DataSet, DataSpec
from svae.models.foreign import name_of
from svae.models.m1m2 import M1M2
from svae.recording.circumstances import circumstances
from svae.recording.naming import chosen


def opening(
    config: DictConfig, device: torch.device, data: DataSet, model: nn.Module
) -> list[tuple[str, str]]:
    """Return lines, each with the word in front of it."""
    plain = OmegaConf.to_container(config, resolve=False)
    return [
        ("data", f"{chosen(plain, 'dataset')}: {_observations(data)}"),
        *([("", f"read as {data.source}")] if data.source else []),
        ("", f"{_sizes(data)}{f'; {data.origin}' if data.origin else ''}"),
        ("model", _model(plain, model)),
        ("training", _training(config)),
        *_optimizer(config, model),
        ("device", f"{circumstances(device)['device']}, {_precision(config, device)}"),
    ]


def _observations(data: DataSet) -> str:
    """Return shape and range of what was read, and the law that it is given."""
    spec, split = data.spec, data.train
    law = spec.likelihood if isinstance(spec.likelihood, str) else name_of(spec.likelihood)
    if spec.kind == "graph":
        return f"a graph of {len(split):,} nodes with {spec.features:,} features each"
    low, high = split.values.min().item(), split.values.max().item()
    words = f"{_shape(spec)} from {low:g} to {high:g}"
    if split.binary:
        words += ", of which each is drawn as 0 or 1 anew"
    if split.directions:
        words = f"{spec.features // split.directions} unit vectors of {split.directions} numbers"
    return f"{words} ({law} likelihood)"


def _shape(spec: DataSpec) -> str:
    if spec.image_shape is None:
        return f"{spec.features} numbers"
    *channels, height, width = spec.image_shape
    return f"{height} x {width} pixels{' of three colours' if channels else ''}"


def _sizes(data: DataSet) -> str:
    """Return how many observations, of a graph edges, each split has."""
    if data.spec.kind == "graph":
        held_out = [split.pairs.shape[1] // 2 for split in (data.validation, data.test)]
        sizes = [data.train.edges.shape[1], *held_out]
    else:
        sizes = [len(split) for split in (data.train, data.validation, data.test)]
    words = zip(sizes, ("train", "validate", "test"), strict=True)
    edges = "edges: " if data.spec.kind == "graph" else ""
    return edges + ", ".join(f"{size:,} {verb}" for size, verb in words)


def _model(config: dict, model: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    latent = model.latent
    style = f", style in {model.style.manifold}" if isinstance(model, M1M2) else ""
    return (
        f"{chosen(config, 'model')} on {latent.manifold}, {latent.parameters} numbers per "
        f"posterior; {chosen(config, 'network')}{style}, {count:,} parameters"
    )


def _optimizer(config: DictConfig, model: nn.Module) -> list[tuple[str, str]]:
    """Return which parameters Muon trains and which Adam, where there are both."""
    if config.trainer.get("optimizer", "adam") == "adam":
        return []
    chosen = {id(weight) for weight in model.hidden_weights()}
    names = [name for name, p in model.named_parameters() if id(p) not in chosen and p.dim() > 1]
    others = ", ".join(["biases", *names])
    return [("", f"muon for {len(chosen)} weight matrices, adam for the others ({others})")]


def _precision(config: DictConfig, device: torch.device) -> str:
    """Return the precision, and whether it costs time here: not every processor has bfloat16."""
    if config.precision != "bf16" or device.type != "cpu":
        return config.precision
    ratio = _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)
    slower = f", {ratio:.1f} times slower than float32 on this processor"
    return config.precision + (slower if ratio > 1.1 else "")


def _product_seconds(dtype: torch.dtype) -> float:
    """Return the time of a matrix product of a training step's size, the best of a few."""
    x, weight, times = torch.ones(512, 784, dtype=dtype), torch.ones(784, 256, dtype=dtype), []
    for _ in range(6):
        started = time.perf_counter()
        _ = x @ weight
        times.append(time.perf_counter() - started)
    return min(times)


def _training(config: DictConfig) -> str:
    trainer = config.trainer
    rate = f"learning rate {trainer.learning_rate:g}"
    if (schedule := trainer.get("schedule", "constant")) != "constant":
        rate += f" ({schedule})"
    size = trainer.get("batch_size")
    batches = f"batches of {size}, " if size else ""
    return f"{rate}, {batches}at most {trainer.max_epochs} epochs; watches {config.objective}"
