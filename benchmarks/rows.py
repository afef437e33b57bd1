"""The rows of docs/results/mnist.csv, from finished runs; see `benchmarks.tables`.

A run that was made by another protocol than `experiment=table1`, `experiment=fast`,
`experiment=conv`, or in whole or in part that of `experiment=importance_weighted`, is left out,
saying in what it differs.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from svae.configuration import CONF
from svae.configuration.compare import come_since
from svae.configuration.schema import flatten
from svae.recording.folder import FINISHED
from svae.recording.naming import chosen
from svae.recording.saved import saved_config
from svae.run import Run, folders

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "docs" / "results" / "mnist.csv"
START = "1.6931471805599454"  # the published initial concentration
# what tells one run from another, in the order of the rows
IDENTITY = (
    *("protocol", "model", "isotropic", "latent_dim", "gradient", "initial_concentration"),
    *("link", "factors"),
    *("bound", "schedule", "unit_variance", "seed"),
)
_ABOUT = (*IDENTITY, "epochs", "best_epoch", "seconds", "device", "collapse")
# what runs of one protocol may differ in
_FREE = (
    "model.",
    "latent_dim",
    "seed",
    "sampler.gradient",
    "network.unit_variance",
    "device",
    "threads",
    "plots",
    "resume",
    "evaluate",
    "logger.",
    "dataset.root",
    "evaluation.batch_size",
    "trainer.replicas",
    "trainer.compile",
    "trainer.cuda_graph",
)

Row = dict[str, str]


def collect(folders: Iterable[Path], file: Path = ROWS) -> list[Row]:
    """Add the finished runs below `folders` to `file`, in place of the same runs of before."""
    return add(folders, file, finished, IDENTITY, _order, (_ABOUT, _is_of_test))


def _is_of_test(name: str) -> bool:
    return name.startswith("test/")


def add(
    folders: Iterable[Path],
    file: Path,
    found: Callable[[Path], Iterable[Row]],
    identity: Sequence[str],
    order: Callable[[Row], Any],
    columns: tuple[Sequence[str], Callable[[str], bool]],
) -> list[Row]:
    """Add the rows that are `found` below each folder to `file`; return all, in `order`.

    A row takes the place of an earlier one with the same values of `identity`. Written are the
    first `columns`, and after them those others that the second of `columns` wants.

    Raises:
        ValueError: for a folder that is none.
    """
    key = itemgetter(*identity)
    rows = {key(row): row for row in read(file)} if file.exists() else {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        rows |= {key(row): row for row in found(folder)}
    ordered, (first, is_wanted) = sorted(rows.values(), key=order), columns
    others = sorted({name for row in ordered for name in row if is_wanted(name)} - {*first})
    options = {"restval": "", "extrasaction": "ignore", "lineterminator": "\n"}
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*first, *others], **options)
        writer.writeheader()
        writer.writerows(ordered)
    return read(file)


def finished_runs(folder: Path) -> Iterator[tuple[Run, dict]]:
    """Yield every finished run below `folder`, and its configuration."""
    for run in map(Run, folders(folder)):
        if run.status.state == FINISHED:
            yield run, OmegaConf.to_container(saved_config(run.path), resolve=True)


def finished(folder: Path) -> Iterator[Row]:
    """Yield a row for every finished run of the protocol below `folder`."""
    for run, config in finished_runs(folder):
        flat = flatten(config)
        earlier = come_since(flat, protocol())
        is_vmf = chosen(config, "model") == "vmf"  # the protocol's model
        flat |= {k: v for k, v in earlier.items() if is_vmf or not k.startswith("model.")}
        preset = _preset(flat)
        if difference := _foreign(flat, preset):
            print(f"{run.path}: left out, {difference}", file=sys.stderr)
        else:
            about = {"protocol": preset, "model": chosen(config, "model")} | _about(flat)
            yield _row(about, run.results)


def _preset(config: dict) -> str:
    """Return the preset that a configuration may be of."""
    if config["trainer.optimizer"] != "muon":
        return "table1"
    return "conv" if "network.channels" in config else "fast"


@cache
def protocol(preset: str = "table1") -> dict:
    """Return the configuration of `experiment=preset`, by dotted keys."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"experiment={preset}"])
    return flatten(OmegaConf.to_container(config, resolve=True))


# what comes with a bound or a schedule that is not the paper's
_BOUND = ("trainer.bound", "trainer.samples", "objective")
_FALLING = {"trainer.schedule": "cosine", "trainer.max_epochs": 400}


def _foreign(config: dict, preset: str) -> str | None:
    """Return in what a configuration differs from the protocol of a preset, or None."""
    wanted = dict(protocol(preset))
    if config["trainer.bound"] != wanted["trainer.bound"]:
        wanted |= {name: protocol("importance_weighted")[name] for name in _BOUND}
    if preset == "table1" and config["trainer.schedule"] != wanted["trainer.schedule"]:
        wanted |= _FALLING
    for key, value in wanted.items():
        if not key.startswith(_FREE) and config.get(key, "missing") != value:
            return f"{key} is {config.get(key, 'missing')}, the protocol's is {value}"
    return None


def _about(config: dict) -> dict:
    """Return what tells a run from others, of its configuration by dotted keys."""
    options = ("isotropic", "gradient", "initial_concentration", "link", "factors")
    about = {name: config.get(f"model.{name}", "") for name in options}
    if about["initial_concentration"] is None and not config.get("model.scales"):
        about["initial_concentration"] = START
    about["factors"] = " ".join(about["factors"])
    if about["link"] == "softplus":  # which null stands for
        about["link"] = ""
    about = {name: "" if value is None else value for name, value in about.items()}
    about |= {name: config[name] for name in ("latent_dim", "seed")}
    # of the Gaussian's latent space nothing depends on it
    stretched = config.get("network.unit_variance", True) and "model.isotropic" not in config
    about |= {name: config[f"trainer.{name}"] for name in ("bound", "schedule")}
    return about | {"unit_variance": stretched}


def _row(about: dict, results: dict) -> Row:
    numbers = {k: v for k, v in results.items() if k.startswith("test/") or k in _ABOUT}
    numbers["seconds"] = round(results["seconds"], 1)
    return {name: str(value) for name, value in (about | numbers).items()}


def _order(row: Row) -> list:
    numbers = ("latent_dim", "seed")
    return [int(row[name]) if name in numbers else row[name] for name in IDENTITY]


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV file."""
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def choose(rows: list[Row], **wanted: str) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]
