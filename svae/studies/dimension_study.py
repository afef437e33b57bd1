"""Where does the sphere stop helping: what changes with the dimension, from the runs of a sweep."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev

from svae.configuration.compose import expanded
from svae.distributions.sphere import log_sphere_area
from svae.metrics.catalogue import REPORT, number, shown
from svae.plots.studies import dimensions
from svae.recording.folder import FINISHED
from svae.recording.naming import chosen
from svae.run import folders, readable
from svae.studies import Findings


@dataclass(frozen=True)
class DimensionStudy:
    """Gathers finished runs below the folder `sweep` by model and latent dimension.

    `dimensions.csv` has a row per model and dimension d: how many runs, the mean and the standard
    deviation over them of what the report shows, and what is known of d: the log area of S^d, and
    mean and standard deviation of the length of a standard Gaussian vector in R^d.
    """

    sweep: str

    def __post_init__(self):
        if not self.runs():
            raise ValueError(
                f"study.sweep={self.sweep}: expected a folder with finished runs of vectors below"
            )

    def runs(self) -> dict[tuple[str, int], list[dict]]:
        """Return the results of finished runs by model and latent dimension."""
        found = defaultdict(list)
        for run in readable(folders(expanded(self.sweep))):
            results = run.results
            score = number(results.get("test/log_likelihood"))
            if run.status.state == FINISHED and score is not None:
                config = run.config
                found[chosen(config, "model"), config["latent_dim"]].append(results)
        return dict(sorted(found.items()))

    def __call__(self, config, device, progress) -> Findings:
        found = self.runs()
        measured = {name for runs in found.values() for run in runs for name in run}
        names = [m.final for m in shown(REPORT) if m.final in measured]
        rows = [_row(model, d, runs, names) for (model, d), runs in found.items()]
        best = max(rows, key=lambda row: row["test/log_likelihood"])
        results = {"runs": sum(row["runs"] for row in rows), "best_latent_dim": best["latent_dim"]}
        figures = {"dimensions": partial(dimensions, rows)}
        return Findings({"dimensions": rows}, figures, results, verdict(rows))


def verdict(rows: list[dict]) -> str:
    """Return which model has the best log-likelihood at which of the latent dimensions."""
    won = defaultdict(list)
    for d in sorted({row["latent_dim"] for row in rows}):
        mine = [row for row in rows if row["latent_dim"] == d]
        best = max(mine, key=lambda row: row["test/log_likelihood"])
        won[best["model"]].append(str(d))
    shares = [f"{model} at d = {', '.join(where)}" for model, where in won.items()]
    has = "has" if len(shares) == 1 else "have"
    return f"{'; '.join(shares)} {has} the best log-likelihood"


def _row(model: str, d: int, runs: list[dict], names: list[str]) -> dict:
    row = {"model": model, "latent_dim": d, "runs": len(runs)}
    for name in names:
        values = [value for run in runs if (value := number(run.get(name))) is not None]
        row[name] = mean(values) if values else ""
        row[f"{name}_std"] = stdev(values) if len(values) > 1 else ""
    length = gaussian_length(d)
    return {
        **row,
        "log_area": log_sphere_area(d + 1),
        "gaussian_length": length,
        "gaussian_length_std": math.sqrt(d - length**2),
    }


def gaussian_length(d: int) -> float:
    """Return E|z| = sqrt(2) Gamma((d+1)/2) / Gamma(d/2) of a standard Gaussian vector in R^d."""
    return math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
