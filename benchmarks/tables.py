"""The tables of docs/results*.md, from the rows of docs/results/mnist.csv.

    python -m benchmarks.tables FOLDER ...    adds a row for each finished run below the folders
    python -m benchmarks.tables               writes the tables again

Which runs become rows is said in `benchmarks.rows`. Rows that no table asks for, as those of
`model=power_spherical`, stand in the file alone. Between `<!-- NAME -->` and `<!-- end -->` those
pages are written here, the rest by people.
"""

import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

from benchmarks.rows import ROOT, START, Row, choose, collect, read
from svae.configuration import CONF
from svae.recording.files import write_text

PUBLISHED = CONF / "experiment" / "published.csv"
DIMENSIONS = ("2", "5", "10", "20", "40")

# of how a model was trained, as the paper has it
_PLAIN = {"bound": "elbo", "schedule": "constant", "unit_variance": "False"}
_FAST = {"protocol": "fast", "schedule": "cosine"}


def _normal(rows: list[Row], latent_dim: str, **more: str) -> list[Row]:
    names = {"protocol": "table1", "isotropic": "False", **_PLAIN, **more}
    return choose(rows, model="normal", latent_dim=latent_dim, **names)


def _vmf(rows: list[Row], latent_dim: str, **more: str) -> list[Row]:
    names = {"protocol": "table1", "gradient": "implicit", "initial_concentration": START}
    names["link"] = ""
    return choose(rows, model="vmf", latent_dim=latent_dim, **names | _PLAIN | more)


def spread(rows: list[Row], name: str, digits: int = 2, unit: float = 1.0) -> str:
    """Return mean ± standard deviation of a column over runs."""
    values = [unit * float(row[name]) for row in rows if row.get(name)]
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


class Published:
    """The paper's numbers."""

    def __init__(self, file: Path = PUBLISHED):
        keys = ("model", "latent_dim", "metric")
        rows = choose(read(file), dataset="mnist")
        self._rows = {tuple(row[key] for key in keys): row for row in rows}

    def mean(self, model: str, latent_dim: str, metric: str) -> float:
        return float(self._rows[model, latent_dim, metric]["mean"])

    def text(self, model: str, latent_dim: str, metric: str, digits: int = 2, unit=1.0) -> str:
        row = self._rows[model, latent_dim, metric]
        mean = f"{unit * float(row['mean']):.{digits}f}"
        return f"{mean} ± {row['std']}" if row["std"] else mean


def table(head: str, lines: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown; `head` has the names of the columns, separated by bars."""
    columns = [name.strip() for name in head.split("|")]
    rows = (columns, ["---"] * len(columns), *lines)
    if len(rows) == 2:
        return "(no run yet)"
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table1(rows: list[Row], paper: Published) -> str:
    """Log-likelihood and what it is made of, beside the paper's."""
    lines = []
    for d, model, runs in _both(rows):
        cells = [d, model]
        for name in ("log_likelihood", "elbo", "reconstruction", "kl"):
            cells += [spread(runs, f"test/{name}"), paper.text(model, d, f"test/{name}")]
        cells.insert(4, _gain(runs, model, d, paper))
        lines.append([*cells, *_effort(runs)])
    head = (
        "d | model | log-likelihood | paper | difference | ELBO | paper | reconstruction | paper "
        "| KL | paper | runs | epochs | minutes"
    )
    return table(head, lines)


def table2(rows: list[Row], paper: Published) -> str:
    """Accuracy of the nearest neighbours in per cent beside the paper's, and clusters."""
    lines = []
    for d, model, runs in _both(rows):
        cells = [d, model]
        for size in (100, 600, 1000):
            name = f"test/knn_accuracy_{size}"
            cells += [spread(runs, name, 1, 100), paper.text(model, d, name, 1, 100)]
        cells += [spread(runs, "test/nmi", 3), spread(runs, "test/silhouette", 3), str(len(runs))]
        lines.append(cells)
    head = "d | model | 100 labels | paper | 600 | paper | 1000 | paper | NMI | silhouette | runs"
    return table(head, lines)


def _both(rows: list[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    for d in DIMENSIONS:
        for model, runs in (("normal", _normal(rows, d)), ("vmf", _vmf(rows, d))):
            if runs:
                yield d, model, runs


def fast1(rows: list[Row], paper: Published) -> str:
    """Table 1 by the short protocol, beside the long one's numbers and the paper's."""
    lines = []
    for d, model, runs, longer in _fast(rows):
        cells = [d, model]
        for name in ("log_likelihood", "elbo", "kl"):
            name = f"test/{name}"
            cells += [spread(runs, name), spread(longer, name), paper.text(model, d, name)]
        cells.insert(5, _above(runs, longer))
        lines.append([*cells, *_effort(runs)])
    head = (
        "d | model | log-likelihood | long | paper | difference to long | ELBO | long | paper | KL "
        "| long | paper | runs | epochs | minutes"
    )
    return table(head, lines)


def fast2(rows: list[Row], paper: Published) -> str:
    """Table 2 by the short protocol, beside the long one's numbers and the paper's."""
    lines = []
    for d, model, runs, longer in _fast(rows):
        cells = [d, model]
        for size in (100, 600, 1000):
            name = f"test/knn_accuracy_{size}"
            cells += [spread(own, name, 1, 100) for own in (runs, longer)]
            cells.append(paper.text(model, d, name, 1, 100))
        lines.append([*cells, str(len(runs))])
    return table(
        f"d | model | {' | '.join(f'{n} labels | long | paper' for n in (100, 600, 1000))} | runs",
        lines,
    )


def _fast(rows: list[Row]) -> Iterator[tuple[str, str, list[Row], list[Row]]]:
    """Yield d, model, and the runs by the short and by the long protocol."""
    for d in DIMENSIONS:
        runs = _normal(rows, d, **_FAST)
        if runs:
            yield d, "normal", runs, _normal(rows, d)
        runs = _vmf(rows, d, **_FAST, unit_variance="True")
        if runs:
            yield d, "vmf", runs, _vmf(rows, d)


def _above(runs: list[Row], others: list[Row]) -> str:
    """Return how far the mean log-likelihood is above that of others."""
    means = [
        statistics.mean(float(row["test/log_likelihood"]) for row in own)
        for own in (runs, others)
        if own
    ]
    return f"{means[0] - means[1]:+.2f}" if others else ""


def surface(rows: list[Row], paper: Published) -> str:
    """The gradient of the sampler crossed with the initial concentration, beside the Gaussian."""
    lines = []
    for d in ("20", "40"):
        cases = [("normal", "", _normal(rows, d))]
        for start, word in ((START, "1.69"), ("m", f"m = {int(d) + 1}")):
            for gradient in ("implicit", "corrected", "pathwise"):
                runs = _vmf(rows, d, gradient=gradient, initial_concentration=start)
                cases.append((f"vmf, {gradient}", word, runs))
        lines += [[d, *_study(*case)] for case in cases if case[-1]]
    return table(f"d | model | initial concentration | {_STUDIED}", lines)


def isotropic(rows: list[Row], paper: Published) -> str:
    """The Gaussian with one variance between that with d of them and the sphere's."""
    lines = []
    for d in ("5", "10", "20"):
        cases = [
            ("normal", "d variances", _normal(rows, d)),
            ("normal", "one variance", _normal(rows, d, isotropic="True")),
            ("vmf", "one concentration", _vmf(rows, d)),
        ]
        lines += [[d, *_study(*case)] for case in cases if case[-1]]
    return table(f"d | model | spread | {_STUDIED}", lines)


def beyond(rows: list[Row], paper: Published) -> str:
    """Other bounds, schedules and decoders, beside the paper's way of training."""
    head = (
        "d | model | trained by | learning rate | decoder reads | log-likelihood | paper "
        "| difference | ELBO | 100 labels | 600 | 1000 | runs | epochs | minutes"
    )
    lines = [line for d in DIMENSIONS for line in _beyond(rows, d, paper)]
    return table(head, lines)


def _beyond(rows: list[Row], d: str, paper: Published) -> Iterator[list[str]]:
    """Yield a line for every way of training, where there is one beside the paper's."""
    ways = list(product(("elbo", "iwae"), ("constant", "cosine"), ("False", "True")))
    for model, select in (("normal", _normal), ("vmf", _vmf)):
        named = [dict(zip(_PLAIN, way, strict=True)) for way in ways]
        found = [(way, runs) for way in named if (runs := select(rows, d, **way))]
        if any(way != _PLAIN for way, _ in found):
            yield from (_way(d, model, way, runs, paper) for way, runs in found)


def _way(d: str, model: str, way: Row, runs: list[Row], paper: Published) -> list[str]:
    return [
        *(d, model, "ELBO" if way["bound"] == "elbo" else "5 importance weights"),
        way["schedule"],
        "sqrt(m) z" if way["unit_variance"] == "True" else "z",
        spread(runs, "test/log_likelihood"),
        paper.text(model, d, "test/log_likelihood"),
        _gain(runs, model, d, paper),
        spread(runs, "test/elbo"),
        *(spread(runs, f"test/knn_accuracy_{size}", 1, 100) for size in (100, 600, 1000)),
        *_effort(runs),
    ]


def _gain(runs: list[Row], model: str, d: str, paper: Published) -> str:
    """Return how far the log-likelihood is above the paper's."""
    mean = statistics.mean(float(row["test/log_likelihood"]) for row in runs)
    return f"{mean - paper.mean(model, d, 'test/log_likelihood'):+.2f}"


def _effort(runs: list[Row]) -> list[str]:
    return [str(len(runs)), spread(runs, "epochs", 0), spread(runs, "seconds", 1, 1 / 60)]


_STUDIED = "log-likelihood | ELBO | KL | mean concentration | 1000 labels | collapsed | runs"


def _study(model: str, variant: str, runs: list[Row]) -> list[str]:
    collapsed = sum(row["collapse"] in ("posterior", "dimensions") for row in runs)
    return [
        model,
        variant,
        *(spread(runs, f"test/{name}") for name in ("log_likelihood", "elbo", "kl")),
        spread(runs, "test/concentration_mean", 0),
        spread(runs, "test/knn_accuracy_1000", 1, 100),
        str(collapsed),
        str(len(runs)),
    ]


PAGES = {
    ROOT / "docs" / "results.md": (table1, table2, fast1, fast2, beyond),
    ROOT / "docs" / "results-questions.md": (surface, isotropic),
}


def render(text: str, rows: list[Row], tables: Iterable[Callable]) -> str:
    """Return `text` with `tables` made anew, each between its marks.

    Raises:
        ValueError: when the marks of a table are missing.
    """
    paper = Published()
    for make in tables:
        mark = f"<!-- {make.__name__} -->"
        block = re.compile(rf"{mark}\n.*?<!-- end -->", re.DOTALL)
        if not block.search(text):
            raise ValueError(f"expected {mark} and <!-- end --> after it")
        made = f"{mark}\n\n{make(rows, paper)}\n\n<!-- end -->"
        text = block.sub(lambda _, made=made: made, text)
    return text


def main() -> None:
    """Add the rows of the folders that were given and write the tables."""
    try:
        rows = collect(map(Path, sys.argv[1:]))
        for page, tables in PAGES.items():
            write_text(page, render(page.read_text(), rows, tables))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
