"""One run from objects to results: train, save, evaluate, draw."""

import io
import logging
import math
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from svae import build, evaluate, plots
from svae.configuration.compose import public
from svae.data.splits import DataSet
from svae.metrics import neighbours
from svae.models import protocol
from svae.recording import checkpoint, signals
from svae.recording.console import Screen
from svae.recording.files import write_atomically
from svae.recording.folder import FINISHED, RUNNING, RunFolder
from svae.recording.naming import run_name
from svae.recording.progress import Pace, Progress
from svae.recording.wandb import WandbRun
from svae.run import Run
from svae.training.guard import Diverged
from svae.training.loop import Settings, train
from svae.training.streams import stream

log = logging.getLogger("svae")

_MOST_RESTARTS = 3


@dataclass
class Experiment:
    """Everything a run needs, built and checked before the run folder is made."""

    config: DictConfig
    device: torch.device
    data: DataSet
    model: torch.nn.Module


def prepare(config: DictConfig, turn: int = 0, data: DataSet | None = None) -> Experiment:
    """Build data, unless they are given, and model; of several GPUs take that whose `turn` it is.

    Raises:
        ValueError: when a value, a file or the device is not to be had.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = build.device(config, turn)
    data = data or build.data(config)
    model = build.model(config, data.features, data.likelihood, data.image_shape).to(device)
    data = data.to(device)
    protocol.dry_run(model, data)
    return Experiment(config, device, data, model)


def run(experiment: Experiment, folder: RunFolder, group: str | None, resumed: bool) -> float:
    """Train to the end, evaluate the best checkpoint; return the best value of the objective.

    Raises:
        checkpoint.Unusable: when a run to continue has no good checkpoint; nothing was changed.
        Diverged: when a number is not finite and no restart is left.
    """
    screen = Screen(quiet=group is not None)  # of a sweep, its overview is shown
    wandb_run, exit_code, results, images = None, 1, None, []
    if resumed and (saved := folder.path / "checkpoints" / "last.pt").exists():
        checkpoint.load(saved)  # a damaged one is told before the optimiser takes its second
    progress = new_progress(experiment, folder)
    if resumed:
        progress.restore()
    try:
        folder.status(RUNNING)
        wandb_run = open_wandb(experiment, folder, group, progress.state.history, screen)
        screen.note(f"run folder: {folder.path}")
        _train(experiment, progress, screen, wandb_run)
        results, images = conclude(experiment, folder, progress, screen)
        exit_code = 0
        return progress.state.epoch.best_value
    finally:
        if wandb_run is not None:
            wandb_run.finish(results, images, exit_code)


def conclude(
    experiment: Experiment, folder: RunFolder, progress: Progress, screen: Screen
) -> tuple[dict, list[Path]]:
    """Evaluate the best checkpoint of a run and draw; return the numbers and the pictures.

    Raises:
        Diverged: when a number is not finite.
    """
    results = _evaluate_best(experiment, folder, screen)
    results |= _summary(progress.state) | _split(experiment)
    folder.results(results)
    images = _draw(experiment, folder, screen)
    folder.status(FINISHED)
    screen.results(results, str(folder.path))
    return results, images


def new_progress(experiment: Experiment, folder: RunFolder) -> Progress:
    """Return the state of a run that begins, with its optimiser."""
    data = experiment.data
    about = {
        "features": data.features,
        "likelihood": protocol.saved_name(data.likelihood),
        "image_shape": data.image_shape and [int(number) for number in data.image_shape],
    }
    optimizer = build.optimizer(experiment.config, experiment.model)
    return Progress(experiment.model, optimizer, about, folder)


def open_wandb(experiment, folder: RunFolder, group, history, screen: Screen) -> WandbRun:
    """Return the W&B run of whatever has a `config`."""
    logger = experiment.config.logger
    config = public(experiment.config)
    settings = {
        **OmegaConf.to_container(logger, resolve=True),
        "name": logger.name or run_name(config),
    }
    return WandbRun(folder.path, settings, config, group, history, screen.note)


def evaluate_again(experiment: Experiment, folder: RunFolder) -> None:
    """Evaluate the best checkpoint with the present settings and rewrite its numbers.

    Raises:
        checkpoint.Unusable, ValueError: when a file of the run is missing or damaged.
        Diverged: when a number is not finite.
    """
    screen = Screen()
    saved = Run(folder.path)
    old = saved.results
    if experiment.config.plots and not saved.history:  # they show the learning curves
        file = folder.path / "metrics.csv"
        raise ValueError(f"{file}: expected a row of numbers per epoch, found none")
    results = _evaluate_best(experiment, folder, screen)
    folder.results({**old, **results, **_split(experiment)})
    _draw(experiment, folder, screen)
    screen.results(results, str(folder.path))


def _train(experiment: Experiment, progress: Progress, screen: Screen, wandb_run) -> None:
    """Run the epochs that are left; each is safe on disk before W&B hears of it."""
    settings = build.training(experiment.config)
    with screen.training(progress.state.epoch.number, settings.max_epochs) as bar:
        try:
            while (failure := _epochs(experiment, settings, progress, bar, wandb_run)) is not None:
                restart(progress, settings, failure, screen)
        finally:
            for row in progress.save():
                wandb_run.log(row)
    last = progress.state.epoch
    early = "stopped early after " if last.number < settings.max_epochs else ""
    screen.note(
        f"{early}{last.number} epochs, best {settings.objective} {last.best_value:.5g} "
        f"in epoch {last.best_epoch}"
    )


def restart(progress: Progress, settings: Settings, failure: Diverged, screen: Screen) -> None:
    """Go back to the last good epoch, as `trainer.on_nan` allows.

    Raises:
        Diverged: the `failure`, when it does not.
    """
    restarts = progress.state.restarts + 1
    if settings.on_nan == "stop":
        raise failure
    if restarts > _MOST_RESTARTS:
        raise Diverged(str(failure), _MOST_RESTARTS) from failure
    progress.rewind()
    screen.note(
        f"{failure}: restart {restarts} of at most {_MOST_RESTARTS}, "
        f"from epoch {progress.state.epoch.number}"
    )


def _epochs(experiment: Experiment, settings, progress: Progress, bar, wandb_run):
    """Train until the end, for which None is returned, or until a number is not finite."""
    model, optimizer, state = progress.model, progress.optimizer, progress.state
    epochs = train(model, optimizer, experiment.data, settings, state.epoch, state.restarts)
    pace = Pace()
    try:
        for epoch in epochs:
            progress.keep(epoch)
            for row in progress.save() if pace.is_due() else ():
                wandb_run.log(row)
            bar.epoch(epoch.number, epoch.metrics)
            signals.check()
    except Diverged as failure:
        return failure
    return None


def _evaluate_best(experiment: Experiment, folder: RunFolder, screen: Screen) -> dict:
    """Return the test metrics of the best checkpoint and write its latents.

    Raises:
        Diverged: when one of them is not finite.
    """
    config, model = experiment.config, experiment.model
    best_epoch = _load_best(experiment, folder)
    generator = stream(experiment.device, config.seed, "evaluation")
    settings = build.evaluation(config)
    arguments = (settings, generator, lambda p: _pieces(screen, p))
    data, on_sphere = experiment.data, model.latent.has_unit_length  # None: neither on one nor R^d
    if data.is_graph:
        results = evaluate.evaluate_links(model, data, *arguments)
    else:
        results = evaluate.evaluate(model, data.test, *arguments)
    _check_finite(results, best_epoch)
    count = "samples" if data.is_graph else "importance_samples"
    results |= {count: getattr(settings, count)}
    latents = evaluate.latents(model, data.test, generator)
    has_axes = on_sphere is False
    results |= evaluate.usage(results["test/kl"], latents.get("loc"), has_axes=has_axes)
    if data.is_graph:
        latents |= evaluate.scores(model, data.test)
    elif data.is_labelled and "loc" in latents and on_sphere is not None:
        known = evaluate.latents(model, data.train, generator)
        labelled = stream(experiment.device, config.seed, "labelled")
        results |= neighbours.separation(known, latents, labelled, geodesic=on_sphere)
    _tell_collapse(results, screen)
    _write_arrays(folder.path / "latents.npz", latents)
    return results | {"best_epoch": best_epoch}


def _load_best(experiment: Experiment, folder: RunFolder) -> int:
    """Put the best checkpoint into the model; return the number of its epoch."""
    path = folder.path / "checkpoints" / "best.pt"
    state = checkpoint.load(path, experiment.device)
    checkpoint.check_best(state, path)
    checkpoint.restore_model(state, experiment.model, path)
    return state["epoch"]


def _pieces(screen: Screen, pieces: list) -> Iterable:
    for piece in screen.work("evaluating", pieces):
        signals.check()
        yield piece


def _check_finite(results: dict, best_epoch: int) -> None:
    for name, value in results.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} of the best checkpoint, of epoch {best_epoch}, is {value}")


def _write_arrays(path: Path, arrays: dict[str, torch.Tensor]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: values.cpu().numpy() for name, values in arrays.items()})
    write_atomically(path, buffer.getbuffer())


def _tell_collapse(results: dict, screen: Screen) -> None:
    if results["collapse"] == "posterior":
        screen.note(
            f"posterior collapse: a KL of {results['test/kl']:.3f} nats is less than one bit, the "
            "latent vectors tell hardly anything about the observations"
        )
    if results["collapse"] == "dimensions":
        active = results["test/active_dimensions"]
        screen.note(f"collapsed dimensions: fewer than half are active ({active})")


def _draw(experiment: Experiment, folder: RunFolder, screen: Screen) -> list[Path]:
    if not experiment.config.plots:
        return []
    generator = stream(experiment.device, experiment.config.seed, "plots")
    saved = Run(folder.path)
    arguments = (saved.history, saved.latents, generator)
    figures = plots.figures(experiment.model, experiment.data, *arguments)
    return plots.write(figures, folder.path / "plots", screen.note)


def _summary(state: checkpoint.State) -> dict:
    return {
        "epochs": state.epoch.number,
        "seconds": sum(row["seconds"] for row in state.history),
        "restarts": state.restarts,
    }


def _split(experiment: Experiment) -> dict:
    return {**circumstances(experiment.device), "split": experiment.data.split_hash}


def circumstances(device: torch.device) -> dict:
    """Return what a number may depend on besides the configuration."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name}, {torch.get_num_threads()} threads)",
        "versions": _versions(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the git commit of the checkout that the program runs from, if it is one."""
    checkout = Path(__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    # "-dirty" where files were altered since
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        options = {"cwd": checkout, "capture_output": True, "text": True, "timeout": 10}
        return subprocess.run(command, check=True, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str]:
    names = ("svae", "torch", "numpy", "hydra-core", "omegaconf", "wandb")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(name)
    except PackageNotFoundError:  # an uninstalled checkout
        return "unknown"
