"""A study from its configuration to tables and figures: what `experiment` is for a training."""

import math
import time
from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig

from svae import build, plots
from svae.recording.circumstances import circumstances
from svae.recording.console import Screen
from svae.recording.files import write_table
from svae.recording.folder import FINISHED, RUNNING, RunFolder
from svae.recording.wandb import WandbRun


@dataclass
class Prepared:
    """A study, built and checked before its folder is made."""

    config: DictConfig
    device: torch.device
    study: object


def prepare(config: DictConfig, turn: int = 0) -> Prepared:
    """Build the study that `study._target_` names.

    Raises:
        ValueError: when a value, a file or the device is not to be had.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return Prepared(config, build.device(config.device, turn), build.study(config))


def run(prepared: Prepared, folder: RunFolder, group: str | None, resumed: bool) -> float:
    """Do the study and write NAME.csv, plots/NAME.png and results.json; return nan.

    One that was interrupted begins again: it keeps nothing before its end.
    """
    screen = Screen(quiet=group is not None)
    folder.status(RUNNING)
    wandb_run = WandbRun(folder.path, prepared.config, group, [], screen.note)
    done, images = None, []
    try:
        screen.note(f"run folder: {folder.path}")
        started = time.perf_counter()
        findings = prepared.study(
            prepared.config, prepared.device, partial(screen.work, "studying")
        )
        for name, rows in findings.tables.items():
            write_table(folder.path / f"{name}.csv", rows)
        seconds = time.perf_counter() - started
        about = circumstances(prepared.device)
        results = {**findings.results, "seconds": seconds, **about}
        folder.results(results | {"verdict": findings.verdict})
        if prepared.config.plots:
            images = plots.write(findings.figures, folder.path / "plots")
        folder.status(FINISHED)
        screen.results(results, str(folder.path))
        screen.note(f"verdict: {findings.verdict}")
        done = results
        return math.nan
    finally:
        wandb_run.finish(done, images)
