"""How good a validation ELBO is after how much work: what `experiment=fast` was chosen by.

    python -m benchmarks.curve FOLDER ...    adds a row for each finished run below the folders

Rows are in docs/results/fast.csv: the best val/elbo of a run, and what was varied. Nothing is read
of a test set.
"""

import csv
import sys
from pathlib import Path

from omegaconf import OmegaConf

from benchmarks.rows import ROOT, read
from svae.recording.naming import chosen
from svae.recording.saved import saved_config
from svae.run import Run, folders

ROWS = ROOT / "docs" / "results" / "fast.csv"
_OPTIONS = ("batch_size", "learning_rate", "weight_decay", "schedule", "averaging")
_IDENTITY = ("latent_dim", "model", "epochs", "warmup_epochs", "seed", *_OPTIONS)


def collect(folders_of_runs: list[str], file: Path = ROWS) -> None:
    """Add the finished runs below the folders to `file`, in place of the same runs of before."""
    rows = {_identity(row): row for row in read(file)} if file.exists() else {}
    for folder in folders_of_runs:
        for run in map(Run, folders(Path(folder))):
            row = _row(run)
            if len(run.history) == int(row["epochs"]):
                rows[_identity(row)] = row
    ordered = sorted(rows.values(), key=lambda row: [_number(row[name]) for name in _IDENTITY])
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*_IDENTITY, "val/elbo"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


def _row(run: Run) -> dict[str, str]:
    config = OmegaConf.to_container(saved_config(run.path), resolve=True)
    trainer = config["trainer"]
    row = {"latent_dim": config["latent_dim"], "model": chosen(config, "model")}
    row |= {"epochs": trainer["max_epochs"], "seed": config["seed"]}
    row |= {name: trainer[name] for name in ("warmup_epochs", *_OPTIONS)}
    return {name: str(value) for name, value in row.items()} | {
        "val/elbo": f"{run.best('val/elbo'):.2f}"
    }


def _identity(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in _IDENTITY)


def _number(text: str) -> tuple[float, str]:
    return (float(text), "") if text.replace(".", "").isdigit() else (0.0, text)


if __name__ == "__main__":
    collect(sys.argv[1:])
