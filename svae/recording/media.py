"""What a run shows on W&B besides numbers and pictures: its latent vectors, and its model."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svae.recording.saved import read_latents

if TYPE_CHECKING:
    import wandb

# W&B looks at every number of a table by itself, for about 15 microseconds
_ROWS, _NUMBERS = 1000, 20_000
_POINTS = 2000
_CATEGORIES = 14  # colours that a point of an Object3D may have
# as in the run folder, so that `svae.load` reads what was downloaded
_FILES = ("config.yaml", "status.json", "checkpoints/best.pt", "latents.npz")


def table(folder: Path) -> dict[str, Any]:
    """Return the latent vectors of a run as a table by its name; W&B makes an artifact of it."""
    arrays = read_latents(folder)
    if "kl" not in arrays:
        return {}
    count = len(arrays["kl"])
    arrays.pop("class_names", None)  # one for each class, and not for each row
    columns = _columns({k: v for k, v in arrays.items() if v.shape[:1] == (count,) and v.ndim < 3})
    return {"latents/table": _table(columns)}


def sphere(folder: Path) -> dict[str, Any]:
    """Return those latent vectors that lie on S^2 as points in space by their name, if they do."""
    arrays = read_latents(folder)
    loc = arrays.get("loc", np.empty((0, 0)))
    if loc.shape[1:] != (3,) or not np.allclose(np.linalg.norm(loc, axis=1), 1, atol=1e-3):
        return {}
    return {"latents/sphere": _points(loc, arrays.get("labels"))}


def _columns(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return columns (N,) of vectors (N,) and matrices (N, d) by name: loc_1, loc_2, ..., kl."""
    found = {}
    for name, values in arrays.items():
        if values.ndim == 1:
            found[name] = values
        else:
            found |= {f"{name}_{n}": column for n, column in enumerate(values.T, 1)}
    return found


def _table(columns: dict[str, np.ndarray]) -> "wandb.Table":
    import wandb

    chosen = _spread(len(next(iter(columns.values()))), min(_ROWS, _NUMBERS // len(columns)))
    rows = zip(*(_rounded(column[chosen]) for column in columns.values()), strict=True)
    return wandb.Table([*columns], [list(row) for row in rows], dtype=float, optional=False)


def _rounded(values: np.ndarray) -> list[float]:
    """Return numbers of five digits, which a table shows and which take less room."""
    return [float(f"{value:.5g}") for value in values.tolist()]


def _points(loc: np.ndarray, labels: np.ndarray | None) -> "wandb.Object3D":
    import wandb

    chosen = _spread(len(loc), _POINTS)
    if labels is None:
        return wandb.Object3D(loc[chosen])
    return wandb.Object3D(np.column_stack([loc, labels % _CATEGORIES + 1])[chosen])


def _spread(count: int, most: int) -> np.ndarray:
    """Return at most so many of `count` indices, evenly spread: data may be sorted by class."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def model(run: Any, folder: Path, results: dict) -> "wandb.Artifact | None":
    """Return the best checkpoint of a run with its latent vectors, None where it has none."""
    import wandb

    if not (folder / "checkpoints" / "best.pt").is_file():
        return None
    artifact = wandb.Artifact(f"model-{run.id}", "model", metadata=results)
    for name in _FILES:
        artifact.add_file(str(folder / name), name)
    return artifact


@contextmanager
def staging(folder: Path) -> Iterator[None]:
    """Let W&B keep what it is going to upload in `folder`, unless WANDB_DATA_DIR says where.

    It would lie in the home folder until an offline run is uploaded, if ever.
    """
    name = "WANDB_DATA_DIR"
    if os.environ.get(name):
        yield
        return
    os.environ[name] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[name]
