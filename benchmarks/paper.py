"""The tables of docs/results.md: those of the paper, by its protocol, a short one and others."""

import statistics
from collections.abc import Iterator
from itertools import product

from benchmarks.cells import (
    DIMENSIONS,
    PLAIN,
    Published,
    effort,
    gain,
    normal_runs,
    spread,
    table,
    vmf_runs,
)
from benchmarks.rows import Row

_FAST = {"protocol": "fast", "schedule": "cosine"}


def table1(rows: list[Row], paper: Published) -> str:
    """Log-likelihood and what it is made of, beside the paper's."""
    lines = []
    for d, model, runs in _both(rows):
        cells = [d, model]
        for name in ("log_likelihood", "elbo", "reconstruction", "kl"):
            cells += [spread(runs, f"test/{name}"), paper.text(model, d, f"test/{name}")]
        cells.insert(4, gain(runs, model, d, paper))
        lines.append([*cells, *effort(runs)])
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
        for model, runs in (("normal", normal_runs(rows, d)), ("vmf", vmf_runs(rows, d))):
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
        lines.append([*cells, *effort(runs)])
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
        runs = normal_runs(rows, d, **_FAST)
        if runs:
            yield d, "normal", runs, normal_runs(rows, d)
        runs = vmf_runs(rows, d, **_FAST, unit_variance="True")
        if runs:
            yield d, "vmf", runs, vmf_runs(rows, d)


def _above(runs: list[Row], others: list[Row]) -> str:
    """Return how far the mean log-likelihood is above that of others."""
    means = [
        statistics.mean(float(row["test/log_likelihood"]) for row in own)
        for own in (runs, others)
        if own
    ]
    return f"{means[0] - means[1]:+.2f}" if others else ""


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
    for model, select in (("normal", normal_runs), ("vmf", vmf_runs)):
        named = [dict(zip(PLAIN, way, strict=True)) for way in ways]
        found = [(way, runs) for way in named if (runs := select(rows, d, **way))]
        if any(way != PLAIN for way, _ in found):
            yield from (_way(d, model, way, runs, paper) for way, runs in found)


def _way(d: str, model: str, way: Row, runs: list[Row], paper: Published) -> list[str]:
    return [
        *(d, model, "ELBO" if way["bound"] == "elbo" else "5 importance weights"),
        way["schedule"],
        "sqrt(m) z" if way["unit_variance"] == "True" else "z",
        spread(runs, "test/log_likelihood"),
        paper.text(model, d, "test/log_likelihood"),
        gain(runs, model, d, paper),
        spread(runs, "test/elbo"),
        *(spread(runs, f"test/knn_accuracy_{size}", 1, 100) for size in (100, 600, 1000)),
        *effort(runs),
    ]
