"""Named state on disk: written atomically, read without running code, checked before it is used."""

import copy
import io
import math
import zipfile
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from svae.recording.files import write_atomically
from svae.training.averaging import MEAN
from svae.training.learner import START, Epoch

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam, for each parameter


class Unusable(ValueError):
    """A checkpoint is missing, damaged, or of another run; says which and what was expected."""


@dataclass(frozen=True)
class State:
    """A run after an epoch: all that the next one depends on, and the best so far.

    `tensors` are those of model and optimiser, `history` the metrics of every epoch, `restarts` how
    often it went back to a good epoch, `best` what best.pt holds.
    """

    tensors: dict
    epoch: Epoch = START
    history: list[dict] = field(default_factory=list)
    restarts: int = 0
    best: dict = field(default_factory=dict)

    def content(self) -> dict:
        """Return what last.pt holds."""
        return {
            **self.tensors,
            "epoch": asdict(self.epoch),
            "history": self.history,
            "restarts": self.restarts,
            "best": self.best,
        }


def save(path: Path, content: dict) -> None:
    """Write `content` to `path` so that a reader finds the old or the new file, never a part.

    Raises:
        OSError: when the disk is full or the folder is gone.
    """
    # not into the file: torch's writer hides the system's error behind one of its own
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what `save` wrote; nothing in the file is run.

    Raises:
        Unusable: when there is no such file or it is no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # `save` does not compress: what does may fill any memory
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise Unusable(f"{path}: not a readable checkpoint (compressed)")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise Unusable(f"{path}: no such checkpoint") from None
    except Unusable:
        raise
    except Exception as error:  # the reader's own errors are of every kind
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unusable(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(content, dict):
        raise Unusable(f"{path}: not a checkpoint, but a {type(content).__name__}")
    return content


def tensors(model, optimizer) -> dict:
    """Return a copy of the tensors of `model` and `optimizer`."""
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()})


def put_back(state: State, model, optimizer) -> None:
    """Put the tensors of a state into `model` and `optimizer`."""
    model.load_state_dict(state.tensors["model"])
    # a copy: the optimiser would go on in the tensors that it is given
    optimizer.load_state_dict(copy.deepcopy(state.tensors["optimizer"]))


def restore(path: Path, model, optimizer) -> State:
    """Read last.pt, put its tensors into `model` and `optimizer`, return the state.

    Nothing is changed unless all of it fits.

    Raises:
        Unusable: when it is damaged, or that of another model.
    """
    content = load(path, next(model.parameters()).device)
    check_model(content, model, path)
    _check_moments(content.get("optimizer"), model, path)
    # earlier versions kept it in best.pt alone
    best = content["best"] if "best" in content else load(path.with_name("best.pt"))
    check_best(best, path)
    check_model(best, model, path)
    state = State(
        tensors={name: content[name] for name in ("model", "optimizer")},
        epoch=_epoch(content.get("epoch"), path),
        history=content.get("history"),
        restarts=content.get("restarts"),
        best=best,
    )
    _check_history(state, path)
    # ours: they are settings, not state
    state.tensors["optimizer"]["param_groups"] = optimizer.state_dict()["param_groups"]
    put_back(state, model, optimizer)
    return state


def restore_model(state: dict, model, path: Path) -> None:
    """Put the model's tensors of a checkpoint into `model`.

    Raises:
        Unusable: when they are those of another model.
    """
    check_model(state, model, path)
    model.load_state_dict(state["model"])


def check_best(state: Any, path: Path) -> None:
    """Check what best.pt says besides its tensors: from which epoch, and of what data."""
    if not (
        isinstance(state, dict)
        and _is_whole(state.get("epoch"), 1)
        and _is_whole(state.get("features"), 1)
        and isinstance(state.get("likelihood"), str)
        and _is_image_shape(state.get("image_shape"))
    ):
        raise Unusable(f"{path}: expected the best epoch, its features and likelihood")


def _is_image_shape(value: Any) -> bool:
    """Tell whether a checkpoint may have this; earlier versions kept none."""
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 2 and all(_is_whole(n, 1) for n in value)


def check_model(state: dict, model, path: Path) -> None:
    """Check that the tensors of a checkpoint are those of `model`, and finite."""
    ours, theirs = model.state_dict(), state.get("model")
    if not isinstance(theirs, dict) or not theirs:
        raise Unusable(f"{path}: expected the tensors of a model")
    if other := sorted(ours.keys() ^ theirs.keys(), key=str):
        where = "only there" if other[0] in theirs else "not there"
        raise Unusable(f"{path}: does not fit this model: {other[0]} is {where}")
    for name, like in ours.items():
        _check_tensor(theirs[name], like.shape, like.dtype, f"{path}: does not fit this model: ")


def _check_moments(state: Any, model, path: Path) -> None:
    """Check Adam's moments: a wrong shape among them ends the process without a word."""
    moments = state.get("state") if isinstance(state, dict) else None
    parameters = list(model.parameters())
    if not isinstance(moments, dict) or moments.keys() != set(range(len(parameters))):
        raise Unusable(f"{path}: expected the optimiser's state of {len(parameters)} parameters")
    for number, parameter in enumerate(parameters):
        own = moments[number]
        if not isinstance(own, dict) or own.keys() - {MEAN} != set(_MOMENTS):
            raise Unusable(f"{path}: expected the optimiser's {', '.join(_MOMENTS)}")
        for name, value in own.items():
            shape = torch.Size() if name == "step" else parameter.shape
            dtype = torch.float32 if name == "step" else parameter.dtype
            _check_tensor(value, shape, dtype, f"{path}: the optimiser's {name}: ")
            if name in ("step", "exp_avg_sq") and (value < 0).any():
                raise Unusable(f"{path}: the optimiser's {name}: expected no negative number")


def _check_tensor(value: Any, shape: torch.Size, dtype: torch.dtype, place: str) -> None:
    if not isinstance(value, Tensor):
        raise Unusable(f"{place}expected a tensor, got {type(value).__name__}")
    if (value.shape, value.dtype, value.layout) != (shape, dtype, torch.strided):
        raise Unusable(
            f"{place}expected {dtype} of shape {tuple(shape)}, got {value.dtype} of shape "
            f"{tuple(value.shape)}"
        )
    if not value.isfinite().all():
        raise Unusable(f"{place}expected finite numbers")


def _epoch(content: Any, path: Path) -> Epoch:
    if (
        isinstance(content, dict)
        and content.keys() == {"number", "metrics", "best_epoch", "best_value"}
        and _is_whole(content["number"], 1)
        and _is_whole(content["best_epoch"], 1)
        and content["best_epoch"] <= content["number"]
        and _is_finite(content["best_value"])
        and isinstance(content["metrics"], dict)
        and all(_is_finite(value) for value in content["metrics"].values())
    ):
        return Epoch(**content)
    raise Unusable(f"{path}: expected the number of an epoch, its metrics and the best one")


def _check_history(state: State, path: Path) -> None:
    number, rows = state.epoch.number, state.history
    if not isinstance(rows, list) or len(rows) != number or not all(map(_is_row, rows, count(1))):
        raise Unusable(f"{path}: expected a history of {number} epochs")
    if not _is_whole(state.restarts, 0):
        raise Unusable(f"{path}: restarts={state.restarts!r}, expected a whole number from 0 up")


def _is_row(row: Any, number: int) -> bool:
    return (
        isinstance(row, dict)
        and row.get("epoch") == number
        and "seconds" in row
        and all(isinstance(key, str) and _is_finite(value) for key, value in row.items())
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
