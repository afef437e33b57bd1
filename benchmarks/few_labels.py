"""The tables of docs/few-labels.md, from the rows of docs/results/few_labels.csv.

    python -m benchmarks.few_labels FOLDER ...    adds a row for each finished run below the folders
    python -m benchmarks.few_labels               writes the tables again

A run that differs from `experiment=semi_supervised` in more than model, dimensions, seed and what
has no part in the numbers is left out, saying in what. That of S+S has `network.label_weight=10`.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.cells import PUBLISHED, paired, render, spread, table
from benchmarks.rows import ROOT, Row, add, choose, finished_runs, protocol, read
from svae.configuration.schema import KEYS, flatten, may_change
from svae.metrics.catalogue import METRICS
from svae.recording.files import write_text
from svae.recording.naming import chosen

PAGE = ROOT / "docs" / "few-labels.md"
ROWS = ROOT / "docs" / "results" / "few_labels.csv"
IDENTITY = ("latent_dim", "style", "model", "seed")
CELLS = [(z1, z2) for z1 in ("5", "10", "50") for z2 in ("5", "10", "50")]
VARIANTS = {"N+N": ("normal", "R"), "S+S": ("vmf", "S"), "S+N": ("vmf", "R")}
_ABOUT = (*IDENTITY, "epochs", "best_epoch", "seconds", "device", "collapse")
_FREE = {"latent_dim", "seed", "network.style", "dataset.split_seed", "evaluation.batch_size"}
_FREE |= {*may_change("sweep"), *(name for name, key in KEYS.items() if not key.alters)}


def collect(paths: Iterable[Path], file: Path = ROWS) -> list[Row]:
    """Add the finished runs below `paths` to `file`, in place of the same runs of before."""
    known = {metric.final for metric in METRICS if metric.has_split}
    return add(paths, file, finished, IDENTITY, _order, (_ABOUT, known.__contains__))


def finished(path: Path) -> Iterator[Row]:
    """Yield a row for every finished run of the protocol below a folder."""
    for run, config in finished_runs(path):
        flat = flatten(config)
        # `evaluate=` may have measured it again
        flat["evaluation.importance_samples"] = run.results.get("importance_samples")
        if difference := _foreign(flat):
            print(f"{run.path}: left out, {difference}", file=sys.stderr)
            continue
        about = {name: flat[name] for name in ("latent_dim", "seed")}
        about |= {"model": chosen(config, "model"), "style": flat["network.style"]}
        numbers = about | run.results | {"seconds": round(run.results["seconds"], 1)}
        yield {name: str(value) for name, value in numbers.items()}


def _foreign(config: dict) -> str | None:
    """Return in what a configuration, by dotted keys, differs from the protocol, or None."""
    wanted = dict(protocol("semi_supervised"))
    if config["network.style"].startswith("S"):
        wanted["network.label_weight"] = 10
    else:  # no sphere whose concentration could begin anywhere
        del wanted["network.style_concentration"]
    for key, value in wanted.items():
        if key not in _FREE and not key.startswith("model.") and config.get(key) != value:
            return f"{key} is {config.get(key)}, the protocol's is {value}"
    if config["dataset.split_seed"] != config["seed"]:
        return f"its labels are drawn by {config['dataset.split_seed']}, its seed is another"
    return None


def _order(row: Row) -> tuple:
    z1, z2, seed = (int(number) for number in (row["latent_dim"], row["style"][1:], row["seed"]))
    return z1, z2, row["model"], row["style"], seed


def table3(rows: list[Row], paper) -> str:
    """Accuracy in per cent beside the paper's, and S+N less N+N by the same labels."""
    accuracies = {
        (row["latent_dim"], row["style"], row["model"]): 100 * float(row["mean"])
        for row in choose(read(PUBLISHED), experiment="semi_supervised")
    }
    lines = []
    for z1, z2 in CELLS:
        cells, runs = [z1, z2], {}
        for name, (model, kind) in VARIANTS.items():
            runs[name] = choose(rows, model=model, latent_dim=z1, style=f"{kind}{z2}")
            cells += [_accuracy(runs[name]), f"{accuracies[z1, f'{kind}{z2}', model]:.1f}"]
        if any(runs.values()):
            lines.append([*cells, paired(runs["S+N"], runs["N+N"], "test/accuracy", 1, 100)])
    names = " | ".join(f"{name} | paper" for name in VARIANTS)
    return table(f"z1 | z2 | {names} | S+N less N+N, same labels", lines)


def _accuracy(runs: list[Row]) -> str:
    return f"{spread(runs, 'test/accuracy', 1, 100)} ({len(runs)})" if runs else ""


def bounds(rows: list[Row], paper) -> str:
    """What the models know, and what they took."""
    lines = []
    for z1, z2 in CELLS:
        for name, (model, kind) in VARIANTS.items():
            runs = choose(rows, model=model, latent_dim=z1, style=f"{kind}{z2}")
            if not runs:
                continue
            numbers = [spread(runs, f"test/{n}") for n in ("log_likelihood", "elbo", "kl")]
            numbers += [spread(runs, f"test/{n}") for n in ("style_kl", "class_kl")]
            rivals = [f"{n}_accuracy" for n in ("logistic", "svm")] + ["knn_accuracy_100"]
            numbers += [spread(runs, f"test/{n}", 1, 100) for n in rivals]
            lines.append([z1, z2, name, *numbers, spread(runs, "seconds", 1, 1 / 60)])
    head = "z1 | z2 | model | log-likelihood | ELBO | KL | KL of z2 | KL of y | logistic regression"
    return table(f"{head} | linear SVM | 5-NN | minutes", lines)


def main() -> None:
    """Add the rows of the folders that were given and write the tables."""
    try:
        rows = collect(map(Path, sys.argv[1:]))
        write_text(PAGE, render(PAGE.read_text(), rows, (table3, bounds)))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
