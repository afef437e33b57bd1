"""How good a validation ELBO is after how much work: what the short protocols are chosen by.

    python -m benchmarks.curve FOLDER ...    adds a row for each finished run below the folders

Rows are in docs/results/fast.csv: the best val/elbo of a run, and what was varied. Nothing is read
of a test set.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.rows import ROOT, Row, add, finished_runs
from svae.recording.naming import chosen

ROWS = ROOT / "docs" / "results" / "fast.csv"
_OPTIONS = ("batch_size", "learning_rate", "weight_decay", "schedule", "averaging")
_SHAPE = ("channels", "depth", "hidden")
IDENTITY = ("latent_dim", "model", "network", *_SHAPE, "epochs", "warmup_epochs", "seed", *_OPTIONS)


def collect(folders: Iterable[Path], file: Path = ROWS) -> list[Row]:
    """Add the finished runs below `folders` to `file`, in place of the same runs of before."""
    columns = ((*IDENTITY, "val/elbo"), lambda name: False)
    return add(folders, file, finished, IDENTITY, _order, columns)


def finished(folder: Path) -> Iterator[Row]:
    """Yield a row for every finished run below `folder`."""
    for run, config in finished_runs(folder):
        trainer, network = config["trainer"], config["network"]
        row = {name: config[name] for name in ("latent_dim", "seed")}
        row |= {"model": chosen(config, "model"), "epochs": trainer["max_epochs"]}
        row |= {name: network[name] for name in _SHAPE if network.get(name) is not None}
        row |= {"network": chosen(config, "network")}
        row |= {name: trainer[name] for name in ("warmup_epochs", *_OPTIONS)}
        row |= {"val/elbo": f"{run.best('val/elbo'):.2f}"}
        yield dict.fromkeys(_SHAPE, "") | {name: str(value) for name, value in row.items()}


def _order(row: Row) -> tuple:
    numbers = ("epochs", "warmup_epochs", "seed", "batch_size", "learning_rate", "weight_decay")
    shape = [row[name] for name in ("network", *_SHAPE)]
    return int(row["latent_dim"]), row["model"], *shape, *(float(row[name]) for name in numbers)


if __name__ == "__main__":
    collect(map(Path, sys.argv[1:]))
