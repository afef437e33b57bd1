"""What the tables of docs are made of: cells of rows, the paper's numbers, pages with marks."""

import math
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.rows import START, Row, choose, read
from svae.configuration import CONF

PUBLISHED = CONF / "experiment" / "published.csv"
DIMENSIONS = ("2", "5", "10", "20", "40")
# of how a model was trained, as the paper has it
PLAIN = {"bound": "elbo", "schedule": "constant", "unit_variance": "False"}


def normal_runs(rows: list[Row], latent_dim: str, **more: str) -> list[Row]:
    """Return the runs of the Gaussian by the paper's protocol, or what differs from it."""
    names = {"protocol": "table1", "isotropic": "False", **PLAIN, **more}
    return choose(rows, model="normal", latent_dim=latent_dim, **names)


def vmf_runs(rows: list[Row], latent_dim: str, **more: str) -> list[Row]:
    """Return the runs of the von Mises-Fisher family by it, or what differs from it."""
    names = {"protocol": "table1", "gradient": "implicit", "initial_concentration": START}
    names["link"] = ""
    return choose(rows, model="vmf", latent_dim=latent_dim, **names | PLAIN | more)


def spread(rows: list[Row], name: str, digits: int = 2, unit: float = 1.0) -> str:
    """Return mean ± standard deviation of a column over runs."""
    values = [unit * float(row[name]) for row in rows if row.get(name)]
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def above(runs: list[Row], others: list[Row], name: str) -> tuple[float, float | None] | None:
    """Return how far a column is above that of others over equal seeds, and the standard error.

    None where no seed is in both, and no error of one alone.
    """
    ours, theirs = ({row["seed"]: float(row[name]) for row in rows} for rows in (runs, others))
    found = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not found:
        return None
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else None
    return statistics.mean(found), error


def paired(
    runs: list[Row], others: list[Row], name: str, digits: int = 2, unit: float = 1.0
) -> str:
    """Return what `above` does as a cell."""
    if (found := above(runs, others, name)) is None:
        return ""
    mean, error = found
    cell = f"{unit * mean:+.{digits}f}"
    return cell if error is None else f"{cell} ± {unit * error:.{digits}f}"


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


def gain(runs: list[Row], model: str, d: str, paper: Published) -> str:
    """Return how far the log-likelihood is above the paper's."""
    mean = statistics.mean(float(row["test/log_likelihood"]) for row in runs)
    return f"{mean - paper.mean(model, d, 'test/log_likelihood'):+.2f}"


def effort(runs: list[Row]) -> list[str]:
    """Return how many runs there are, their epochs and their minutes."""
    return [str(len(runs)), spread(runs, "epochs", 0), spread(runs, "seconds", 1, 1 / 60)]


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
