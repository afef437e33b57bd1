"""Shared by the rooms' tests: a small data set and the program itself, run as a person runs it."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.forked import Done, Program

# one torch thread in each of the test processes, which run side by side
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parent.parent
QUICK = (
    "trainer.max_epochs=2",
    "trainer.warmup_epochs=1",
    "evaluation.importance_samples=20",
    "latent_dim=3",
    "threads=1",
    "device=cpu",
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Three kinds of noisy 8 x 8 pictures, 500 in all, as an .npz file."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500)
    prototypes = random.random((3, 8, 8)) > 0.5
    pictures = np.where(prototypes[labels], 230, 20).astype(np.uint8)
    file = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(file, train=pictures, train_labels=labels)
    return file


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """The environment of a person without a W&B account."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def svae_train(tiny, tmp_path, environment):
    """Run `svae-train ARGUMENTS` in an empty folder, on the small data set if `quick`."""

    def run(*arguments: str, quick: bool = True) -> Done:
        extra = ("dataset=array", f"dataset.file={tiny}", *QUICK) if quick else ()
        return Program([*extra, *arguments], tmp_path, environment).wait(300)

    return run


def run_folders(path: Path) -> list[Path]:
    """Return the run folders below `path`."""
    return sorted(file.parent for file in path.rglob("status.json"))
