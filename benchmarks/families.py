"""The table and the figure of docs/results-families.md."""

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cells import DIMENSIONS, Published, above, paired, spread, table
from benchmarks.rows import ROOT, Row, choose

FIGURE = ROOT / "docs" / "figures" / "families.png"
# numbers that the encoder gives for a posterior on a manifold of d dimensions
NUMBERS: dict[str, Callable[[int], int]] = {
    "normal": lambda d: 2 * d,
    "vmf": lambda d: d + 2,
    "scaled_vmf": lambda d: 2 * d + 3,
    "spherical_cauchy": lambda d: d + 2,
}
_LIKELIHOOD = "test/log_likelihood"


def families(rows: list[Row], paper: Published) -> str:
    """Log-likelihoods of all families beside the Gaussian's and the vMF's, and neighbours."""
    lines = []
    for d, name, runs, others in _cells(rows):
        cells = [d, name, _numbers(d, runs), spread(runs, _LIKELIHOOD)]
        cells += [paired(runs, own, _LIKELIHOOD) for own in others]
        cells += [spread(runs, f"test/{metric}") for metric in ("elbo", "kl")]
        for size in (100, 600, 1000):
            draws = (f"test/knn_accuracy_{size}{kind}" for kind in ("", "_balanced"))
            cells.append(", ".join(spread(runs, draw, 1, 100) for draw in draws))
        lines.append([*cells, str(len(runs)), spread(runs, "seconds", 1, 1 / 60)])
    sizes = " | ".join(f"{size} labels, balanced" for size in (100, 600, 1000))
    head = "d | posterior | numbers | log-likelihood | less Gaussian | less vMF | ELBO | KL"
    return table(f"{head} | {sizes} | runs | minutes", lines)


def _cells(rows: list[Row]) -> Iterator[tuple[str, str, list[Row], list[list[Row]]]]:
    """Yield d, the name of a family, its runs by the short protocol, and Gaussian's and vMF's.

    The Gaussian's are not given beside themselves, nor the vMF's.
    """
    short = choose(rows, protocol="fast", bound="elbo", link="")
    for d in DIMENSIONS:
        here = [row for row in choose(short, latent_dim=d) if row["isotropic"] != "True"]
        names = {(row["model"], row["factors"]) for row in here}
        for model, factors in sorted(names, key=lambda name: (_rank(name[0]), name[1])):
            others = [choose(here, model=own) if own != model else [] for own in ("normal", "vmf")]
            runs = choose(here, model=model, factors=factors)
            yield d, f"{model} {factors}".strip(), runs, others


def _rank(model: str) -> int:
    return [*NUMBERS, model].index(model)


def _numbers(d: str, runs: list[Row]) -> str:
    """Return how many numbers a posterior has; of a product the sum over its factors."""
    kinds = {"S": "vmf", "R": "normal"}
    factors = [(kinds[name[0]], int(name[1:])) for name in runs[0]["factors"].split()]
    return str(sum(NUMBERS[model](k) for model, k in factors or [(runs[0]["model"], int(d))]))


def _series(rows: list[Row]) -> dict[str, list[tuple[int, float, float]]]:
    """Return for each family (d, how far it is above the Gaussian, its standard error)."""
    series: dict[str, list[tuple[int, float, float]]] = {}
    for d, name, runs, (gaussian, _) in _cells(rows):
        if found := above(runs, gaussian, _LIKELIHOOD):
            mean, error = found
            series.setdefault(name.split()[0], []).append((int(d), mean, error or 0.0))
    return series


def draw(rows: list[Row], axes: Axes) -> None:
    """Draw how far the log-likelihood of each family is above the Gaussian's, against d."""
    series = _series(rows)
    for name, points in series.items():
        x, y, error = zip(*points, strict=True)
        axes.errorbar(x, y, error, label=name, marker="o", capsize=3)
    axes.axhline(0, color="gray", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks([int(d) for d in DIMENSIONS], DIMENSIONS)
    axes.set_xlabel("latent dimension d")
    axes.set_ylabel("log-likelihood less that of the Gaussian, nats")
    if series:
        axes.legend()


def figure(rows: list[Row]) -> None:
    """Draw the figure of the page, as soon as there is a line to draw."""
    if all(len(points) < 2 for points in _series(rows).values()):
        return
    made = Figure(figsize=(6, 4), layout="constrained")
    draw(rows, made.subplots())
    made.savefig(FIGURE, dpi=120)
