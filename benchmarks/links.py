"""The rows of docs/results/graphs.csv and the tables of docs/results-graphs.md, from finished runs.

    python -m benchmarks.links FOLDER ...    adds a row for each finished run below the folders
    python -m benchmarks.links               writes the tables again

A run becomes a row if it was made by `experiment=link_prediction` or `experiment=linear_encoder`
with another model, seed, spread, start of the concentration or weight of the KL at most.
"""

import math
import statistics
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from benchmarks.cells import PUBLISHED, render, spread, table
from benchmarks.rows import ROOT, Row, add, choose, finished_runs, read
from svae.configuration import CONF
from svae.configuration.schema import flatten
from svae.recording.files import write_text
from svae.recording.naming import chosen

ROWS = ROOT / "docs" / "results" / "graphs.csv"
PAGE = ROOT / "docs" / "results-graphs.md"
DATASETS = ("cora", "citeseer", "pubmed.npz")
_POSTERIOR = ("kl_weight", "spread", "initial_concentration")
IDENTITY = ("protocol", "dataset", "model", *_POSTERIOR, "seed")
_ABOUT = (*IDENTITY, "epochs", "best_epoch", "seconds", "device", "collapse")
# what runs of one protocol may differ in
_FREE = ("model.", "seed", "dataset.root", "dataset.file", "dataset.split_seed", "device")
_FREE += ("trainer.kl_weight", "dataset._target_", "threads", "plots", "resume", "evaluate")
_FREE += ("logger.", "sampler.", "evaluation.", "network.spread")
_SCORES = ("auc", "average_precision")
_PAPER = ("test/auc", "test/average_precision")
_FIRST, _FRESH = range(10), range(30, 40)
# what is compared on fresh splits: where the concentration of the posterior comes from
_NEW = dict.fromkeys(_POSTERIOR[1:], "") | {"protocol": "linear_encoder", "kl_weight": "1.0"}
_BEFORE = _NEW | {"protocol": "link_prediction"}
_EQUAL = _NEW | {"spread": "linear", "initial_concentration": "1000"}
_POINT = _EQUAL | {"kl_weight": "0.0", "initial_concentration": "1000000.0"}
_POSTERIORS = {
    "link_prediction": _BEFORE,
    "linear_encoder": _NEW,
    "linear_encoder, 1000 at first": _EQUAL,
    "linear_encoder, a point": _POINT,
}


def collect(places: Iterable[Path], file: Path = ROWS) -> list[Row]:
    """Add the finished runs below `places` to `file`, in place of the same runs of before."""
    return add(places, file, finished, IDENTITY, _order, (_ABOUT, lambda name: True))


def _order(row: Row) -> tuple:
    return *(row[name] for name in IDENTITY[:-1]), int(row["seed"])


def finished(place: Path) -> Iterator[Row]:
    """Yield a row for every finished run of a protocol below `place`."""
    for run, config in finished_runs(place):
        flat, name = flatten(config), chosen(config, "dataset")
        preset = "linear_encoder" if "network.hops" in flat else "link_prediction"
        if difference := _foreign(flat, preset, name):
            print(f"{run.path}: left out, {difference}", file=sys.stderr)
            continue
        posterior = {
            "kl_weight": float(flat["trainer.kl_weight"]),
            "spread": flat.get("network.spread"),
            "initial_concentration": flat.get("model.initial_concentration"),
        }
        about = {
            "protocol": preset,
            "dataset": Path(flat["dataset.file"]).name if name == "graph" else name,
            "model": chosen(config, "model"),
            **{name: "" if value is None else value for name, value in posterior.items()},
            "seed": flat["seed"],
        }
        yield _row(about, run.results)


@cache
def protocol(preset: str, dataset: str) -> dict:
    """Return the configuration of `experiment=preset dataset=NAME`, by dotted keys."""
    file = ["dataset.file=x"] if dataset == "graph" else []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        words = [f"experiment={preset}", f"dataset={dataset}", *file]
        config = hydra.compose("config", words)
    return flatten(OmegaConf.to_container(config, resolve=True))


def _foreign(config: dict, preset: str, dataset: str) -> str | None:
    """Return in what a configuration differs from the protocol of a preset, or None."""
    if config["dataset.split_seed"] != config["seed"]:
        return f"dataset.split_seed is {config['dataset.split_seed']}, the seed {config['seed']}"
    for key, value in protocol(preset, dataset).items():
        if not key.startswith(_FREE) and config.get(key, "missing") != value:
            return f"{key} is {config.get(key, 'missing')}, the protocol's is {value}"
    return None


def _row(about: dict, results: dict) -> Row:
    numbers = {k: v for k, v in results.items() if k.startswith(("test/", "val/")) or k in _ABOUT}
    numbers["seconds"] = round(results["seconds"], 1)
    return {name: str(value) for name, value in (about | numbers).items()}


def of_seeds(rows: list[Row], seeds: Iterable[int], **wanted: str) -> dict[str, Row]:
    """Return the rows that have these values and seeds, by their seeds."""
    numbers = {str(seed) for seed in seeds}
    return {row["seed"]: row for row in choose(rows, **wanted) if row["seed"] in numbers}


def paired(first: dict[str, Row], second: dict[str, Row], name: str) -> list[float]:
    """Return the differences of a column, in per cent, on the seeds that both have."""
    both = sorted(first.keys() & second.keys(), key=int)
    return [100 * (float(first[seed][name]) - float(second[seed][name])) for seed in both]


def gain(differences: list[float]) -> list[str]:
    """Return the mean difference ± its standard error, z and the number of pairs, as cells."""
    if len(differences) < 2:
        return ["", "", str(len(differences))]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    z = f"{mean / error:.1f}" if error else ""
    return [f"{mean:+.2f} ± {error:.2f}", z, str(len(differences))]


def error(runs: Iterable[Row], name: str) -> str:
    """Return mean ± standard error of a column over runs, in per cent."""
    values = [100 * float(row[name]) for row in runs]
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    mistake = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.2f} ± {mistake:.2f}"


def _published(dataset: str, model: str) -> list[str]:
    rows = choose(read(PUBLISHED), dataset=dataset.removesuffix(".npz"), model=model)
    means = {row["metric"]: row["mean"] for row in rows}
    return [f"{100 * float(means[name]):.1f}" for name in _PAPER]


def table4(rows: list[Row], _) -> str:
    """Both models on every graph beside the paper's, and the other protocol."""
    lines = []
    for dataset in DATASETS:
        for model in ("normal", "vmf"):
            runs = of_seeds(rows, _FIRST, dataset=dataset, model=model, **_NEW)
            if runs:
                cells = [error(runs.values(), name) for name in _PAPER]
                paper = _published(dataset, model)
                others = [f"test/{name}_validation_messages" for name in _SCORES]
                own = list(runs.values())
                lines.append(
                    [
                        *(dataset, model, cells[0], paper[0], cells[1], paper[1]),
                        *(error(own, name) for name in others),
                        *(str(len(own)), spread(own, "epochs", 0), spread(own, "seconds", 0)),
                    ]
                )
    head = "graph | model | AUC | paper | AP | paper | AUC, validation edges seen | AP, the same "
    return table(f"{head}| runs | epochs | seconds", lines)


def differences(rows: list[Row], _) -> str:
    """What the sphere, the linear encoder and the noise of the posterior add, pair by pair."""
    lines = []
    for dataset in DATASETS:
        sphere, gauss = (
            of_seeds(rows, _FIRST, dataset=dataset, model=model, **_NEW)
            for model in ("vmf", "normal")
        )
        new, before, equal, point = (
            of_seeds(rows, _FRESH, dataset=dataset, model="vmf", **wanted)
            for wanted in (_NEW, _BEFORE, _EQUAL, _POINT)
        )
        pairs = {
            "the sphere above the Gaussian, seeds 0 to 9": (sphere, gauss),
            "the linear encoder above the GCN, seeds 30 to 39": (new, before),
            "the fitted concentration above 1000, seeds 30 to 39": (new, equal),
            "the posterior above a point, seeds 30 to 39": (new, point),
        }
        for words, both in pairs.items():
            found = [gain(paired(*both, name)) for name in _PAPER]
            if found[0][0]:
                (auc, z, _count), (precision, other, count) = found
                lines.append([dataset, words, auc, z, precision, other, count])
    return table("graph | what | AUC | z | AP | z | pairs", lines)


def fresh(rows: list[Row], _) -> str:
    """What was found on splits that nothing had seen."""
    lines = []
    for dataset in DATASETS:
        for name, wanted in _POSTERIORS.items():
            runs = of_seeds(rows, _FRESH, dataset=dataset, model="vmf", **wanted).values()
            if runs:
                cells = [error(runs, score) for score in _PAPER]
                lines.append([dataset, name, *cells, str(len(runs))])
    return table("graph | posterior | AUC | AP | runs", lines)


def labels(rows: list[Row], _) -> str:
    """How labels are told apart by what was learned from edges."""
    names = ("knn_accuracy_1000", "probe_accuracy", "cluster_accuracy", "nmi", "ari")
    lines = []
    for dataset in DATASETS:
        for model in ("normal", "vmf"):
            runs = of_seeds(rows, _FIRST, dataset=dataset, model=model, **_NEW)
            if runs:
                cells = [error(runs.values(), f"test/{name}") for name in names]
                lines.append([dataset, model, *cells, str(len(runs))])
    head = "graph | model | 5-NN, 1000 labels | linear probe | accuracy of clusters | NMI | ARI"
    return table(f"{head} | runs", lines)


TABLES = (table4, differences, fresh, labels)


def main() -> None:
    """Add the rows of the folders that were given and write the tables."""
    try:
        rows = collect(map(Path, sys.argv[1:]))
        write_text(PAGE, render(PAGE.read_text(), rows, TABLES))
    except ValueError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
