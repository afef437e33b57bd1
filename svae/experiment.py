"""One run from objects to results: train, save, evaluate, draw."""

import json
import logging
import math
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from svae import build, checkpoint, evaluate, neighbours, plots
from svae.data.splits import DataSet
from svae.files import write_atomically
from svae.run import FINISHED, RUNNING, RunFolder, public, read_status
from svae.streams import stream
from svae.tracking import Screen, WandbRun, write_metrics
from svae.train import Epoch, train

log = logging.getLogger("svae")

_SAVE_EVERY = 1.0  # seconds


@dataclass
class Experiment:
    """Everything a run needs, built and checked before the run folder is made."""

    config: DictConfig
    device: torch.device
    data: DataSet
    model: torch.nn.Module


def prepare(config: DictConfig) -> Experiment:
    """Build data and model.

    Raises:
        ValueError: when a value, a file or the device is not to be had.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = build.device(config)
    data = build.data(config)
    model = build.model(config, data.features, data.likelihood)
    return Experiment(config, device, data.to(device), model.to(device))


def run(experiment: Experiment, folder: RunFolder, group: str | None, resumed: bool) -> float:
    """Train to the end, evaluate the best checkpoint; return the best value of the objective."""
    screen = Screen()
    folder.status(RUNNING)
    wandb_run = None
    exit_code, results, images = 1, None, []
    optimizer = build.optimizer(experiment.config, experiment.model)
    state = _last_state(experiment, optimizer, folder) if resumed else checkpoint.fresh()
    try:
        logger = experiment.config.logger
        settings = {
            **OmegaConf.to_container(logger, resolve=True),
            "name": logger.name or _name(experiment.config),
        }
        wandb_run = WandbRun(folder.path, settings, public(experiment.config), group, state[1])
        screen.note(f"run folder: {folder.path}")
        last, seconds = _train(experiment, optimizer, folder, state, screen, wandb_run)
        results = _evaluate_best(experiment, folder, screen)
        results |= {"epochs": last.number, "best_epoch": last.best_epoch, "seconds": seconds}
        results |= _circumstances(experiment, state[2])
        folder.results(results)
        images = _draw(experiment, folder)
        folder.status(FINISHED, last.number)
        screen.results(results, str(folder.path))
        exit_code = 0
        return last.best_value
    finally:
        if wandb_run is not None:
            wandb_run.finish(results, images, exit_code)


def check_checkpoints(path: Path) -> None:
    """Check that a run that had made epochs still has them.

    Raises:
        ValueError: when its last checkpoint is missing; to begin again would overwrite the best.
    """
    epoch = read_status(path)["epoch"]
    if epoch > 0 and not (path / "checkpoints" / "last.pt").is_file():
        raise ValueError(f"{path}: checkpoints/last.pt of epoch {epoch} is missing")


def evaluate_again(experiment: Experiment, folder: RunFolder) -> None:
    """Evaluate the best checkpoint with the present settings and rewrite its numbers."""
    screen = Screen()
    results = _evaluate_best(experiment, folder, screen)
    old = _read_results(folder.path)
    folder.results({**old, **results, "versions": _versions()})
    _draw(experiment, folder)
    screen.results(results, str(folder.path))


def _train(experiment, optimizer, folder, state, screen, wandb_run) -> tuple[Epoch, float]:
    """Run the epochs that are left; each is safe on disk before W&B hears of it.

    Epochs of a few milliseconds, as of a graph, are saved together: a break costs a second at most.
    """
    last, history, restarts = state
    settings = build.training(experiment.config)
    model, data = experiment.model, experiment.data
    best, logged, saved = None, len(history), -math.inf
    _write_metrics(folder, history)

    def save() -> None:
        _save_epochs(experiment, optimizer, folder, best, last, history, restarts)
        for row in history[logged:]:
            wandb_run.log(row)

    with screen.training(last.number, settings.max_epochs) as bar:
        for epoch in train(model, optimizer, data, settings, last, restarts):
            last = epoch
            history.append({"epoch": last.number, **last.metrics})
            best = _best(experiment, last) if last.improved else best
            if time.monotonic() - saved >= _SAVE_EVERY:
                save()
                best, logged, saved = None, len(history), time.monotonic()
            bar.epoch(last.number, last.metrics)
    if logged < len(history):
        save()
    early = "stopped early after " if last.number < settings.max_epochs else ""
    screen.note(
        f"{early}{last.number} epochs, best {settings.objective} {last.best_value:.5g} "
        f"in epoch {last.best_epoch}"
    )
    return last, sum(row["seconds"] for row in history)


def _best(experiment: Experiment, last: Epoch) -> dict:
    """Return a copy of what best.pt holds."""
    state = experiment.model.state_dict()
    return {
        "model": {name: value.clone() for name, value in state.items()},
        "epoch": last.number,
        "features": experiment.data.features,
        "likelihood": experiment.data.likelihood,
    }


def _save_epochs(experiment, optimizer, folder, best, last: Epoch, history, restarts) -> None:
    """Write the checkpoints of the last epoch and of a new best, then what is derived from them."""
    if best is not None:
        checkpoint.save(folder.checkpoints / "best.pt", best)
    state = checkpoint.training_state(experiment.model, optimizer, last, history, restarts)
    checkpoint.save(folder.checkpoints / "last.pt", state)
    _write_metrics(folder, history)
    folder.status(RUNNING, last.number)


def _write_metrics(folder: RunFolder, history: list[dict]) -> None:
    if history:
        write_metrics(folder.path / "metrics.csv", history)


def _last_state(experiment, optimizer, folder: RunFolder):
    path = folder.checkpoints / "last.pt"
    if not path.exists():
        return checkpoint.fresh()
    state = checkpoint.load(path, experiment.device)
    return checkpoint.restore(state, experiment.model, optimizer)


def _evaluate_best(experiment: Experiment, folder: RunFolder, screen: Screen) -> dict:
    """Return the test metrics of the best checkpoint and write its latents."""
    config, model = experiment.config, experiment.model
    state = checkpoint.load(folder.path / "checkpoints" / "best.pt", experiment.device)
    checkpoint.restore_model(state, model)
    generator = stream(experiment.device, config.seed, "evaluation")
    arguments = (build.evaluation(config), generator, lambda p: screen.work("evaluating", p))
    data, on_sphere = experiment.data, model.latent.has_unit_length
    if data.is_graph:
        results = evaluate.evaluate_links(model, data, *arguments)
    else:
        results = evaluate.evaluate(model, data.test, *arguments)
    latents = evaluate.latents(model, data.test, generator)
    results |= evaluate.usage(results["test/kl"], latents["loc"], has_axes=not on_sphere)
    _tell_collapse(results, screen)
    if data.is_graph:
        latents |= evaluate.scores(model, data.test)
    elif data.is_labelled:
        known = evaluate.latents(model, data.train, generator)
        labelled = stream(experiment.device, config.seed, "labelled")
        results |= neighbours.separation(known, latents, labelled, geodesic=on_sphere)
    arrays = {name: values.cpu().numpy() for name, values in latents.items()}
    write_atomically(folder.path / "latents.npz", lambda file: np.savez(file, **arrays))
    return results


def _tell_collapse(results: dict, screen: Screen) -> None:
    if results["collapse"] == "posterior":
        screen.note(
            f"posterior collapse: a KL of {results['test/kl']:.3f} nats is less than one bit, the "
            "latent vectors tell hardly anything about the observations"
        )
    if results["collapse"] == "dimensions":
        active = results["test/active_dimensions"]
        screen.note(f"collapsed dimensions: fewer than half are active ({active})")


def _draw(experiment: Experiment, folder: RunFolder) -> list[Path]:
    if not experiment.config.plots:
        return []
    generator = stream(experiment.device, experiment.config.seed, "plots")
    figures = plots.figures(experiment.model, experiment.data, folder.path, generator)
    return plots.write(figures, folder.path / "plots")


def _name(config: DictConfig) -> str:
    family = config.model._target_.rsplit(".", 1)[-1].removesuffix("Family")
    return f"{family}-d{config.latent_dim}-s{config.seed}"


def _circumstances(experiment: Experiment, restarts: int) -> dict:
    device = experiment.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name}, {torch.get_num_threads()} threads)",
        "versions": _versions(),
        "restarts": restarts,
        **({"split": experiment.data.fingerprint} if experiment.data.fingerprint else {}),
    }


def _versions() -> dict[str, str]:
    names = ("svae", "torch", "numpy", "hydra-core", "omegaconf", "wandb", "torch-geometric")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(name)
    except PackageNotFoundError:  # an uninstalled checkout
        return "unknown"


def _read_results(path: Path) -> dict:
    file = path / "results.json"
    return json.loads(file.read_text()) if file.exists() else {}
