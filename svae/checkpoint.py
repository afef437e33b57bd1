"""Named state on disk: written atomically, read without running code."""

import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch

from svae.files import write_atomically
from svae.train import START, Epoch


def save(path: Path, content: dict) -> None:
    """Write `content` to `path` so that a reader finds the old or the new file, never a part."""
    write_atomically(path, lambda stream: torch.save(content, stream))


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what `save` wrote; nothing in the file is run.

    Raises:
        ValueError: when there is no such file or it is no checkpoint.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such checkpoint") from None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable checkpoint ({reason})") from None


def training_state(model, optimizer, epoch: Epoch, history: list[dict], restarts: int) -> dict:
    """Return everything that the epoch after `epoch` depends on, and the metrics so far."""
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": asdict(epoch),
        "history": history,
        "restarts": restarts,
    }


def restore(state: dict, model, optimizer) -> tuple[Epoch, list[dict], int]:
    """Put a training state into `model` and `optimizer`; return (epoch, history, restarts)."""
    restore_model(state, model)
    optimizer.load_state_dict(state["optimizer"])
    return Epoch(**state["epoch"]), state["history"], state["restarts"]


def restore_model(state: dict, model) -> None:
    """Put the model's tensors of a checkpoint into `model`.

    Raises:
        ValueError: when they are those of another model.
    """
    try:
        model.load_state_dict(state["model"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the checkpoint does not fit this model: {reason}") from None


def fresh() -> tuple[Epoch, list[dict], int]:
    """Return what `restore` returns, for a run that begins."""
    return START, [], 0
