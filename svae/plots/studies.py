"""Figures of studies, from the rows of their tables."""

from typing import TYPE_CHECKING

import numpy as np

from svae.plots.style import COLOURS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKS = "osD^vP*X"


def sampler_statistics(rows: list[dict]) -> "Figure":
    """Draw acceptance rates against kappa, and the p-values and scores of all settings."""
    chart = figure(12, 4.2)
    left, middle, right = chart.subplots(1, 3)
    for i, m in enumerate(sorted({row["m"] for row in rows})):
        mine = [row for row in rows if row["m"] == m]
        kappa, colour = [row["concentration"] for row in mine], COLOURS[i % 8]
        left.plot(kappa, [row["expected_acceptance_rate"] for row in mine], color=colour, lw=1)
        measured = [row["acceptance_rate"] for row in mine]
        left.plot(kappa, measured, _MARKS[i % 8], color=colour, ms=5, label=f"m = {m}")
    left.set(xscale="log", xlabel="concentration kappa", ylabel="acceptance rate")
    left.set_title("measured (marks), expected (lines)", fontsize="medium")
    chart.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=8
    )
    p_values = np.sort([row["ks_p_value"] for row in rows])
    share = (np.arange(len(rows)) + 0.5) / len(rows)
    _quantiles(middle, share, p_values, "Kolmogorov-Smirnov p-value")
    scores = np.sort([row["mean_score"] for row in rows])
    _quantiles(right, normal_quantiles(share), scores, "standard score of the mean of w")
    return chart


def _quantiles(axes, expected: np.ndarray, found: np.ndarray, name: str) -> None:
    """Draw what was found against what an exact sampler would give on average."""
    ends = [min(expected[0], found[0]), max(expected[-1], found[-1])]
    axes.plot(ends, ends, color=COLOURS[8], lw=1)
    axes.plot(expected, found, "o", color=COLOURS[0], ms=4)
    axes.set(xlabel="expected of an exact sampler", ylabel=name)
    axes.set_title(f"{len(found)} settings, sorted", fontsize="medium")


def normal_quantiles(shares: np.ndarray) -> np.ndarray:
    """Return the standard normal quantiles."""
    from statistics import NormalDist

    return np.array([NormalDist().inv_cdf(share) for share in shares])


def estimator_gradients(rows: list[dict], most: int = 4) -> "Figure":
    """Draw mean over exact gradient, and the standard deviation of one sample, against kappa.

    A mean with a standard error above 15 % is left out.
    """
    dimensions = sorted({row["m"] for row in rows})
    shown = [
        dimensions[i] for i in np.unique(np.linspace(0, len(dimensions) - 1, most).astype(int))
    ]
    chart = figure(3 * len(shown), 6)
    cells = chart.subplots(2, len(shown), sharex=True, sharey="row", squeeze=False)
    for (above, below), m in zip(cells.T, shown, strict=True):
        for style, mine in _by_estimator([row for row in rows if row["m"] == m]):
            kappa = [row["concentration"] for row in mine]
            error = np.array([2 * row["standard_error"] / row["exact"] for row in mine])
            bias = np.array([row["mean"] / row["exact"] for row in mine])
            bias[error > 0.3] = np.nan  # says nothing, and would cover the others
            above.errorbar(kappa, bias, error, lw=1, **style)
            below.plot(kappa, [r["standard_deviation"] / r["exact"] for r in mine], lw=1, **style)
        above.axhline(1, color=COLOURS[8], lw=1, zorder=0)
        above.set(title=f"m = {m}", ylim=(0.4, 1.4))
        below.set(xscale="log", yscale="log", xlabel="concentration kappa")
    cells[0, 0].set_ylabel("mean gradient / exact\n(bars: 2 standard errors)")
    cells[1, 0].set_ylabel("standard deviation\nof one sample / exact")
    handles = cells[1, 0].get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", frameon=False, ncols=6)
    chart.suptitle("gradient of E[20 w - 100] in kappa")
    return chart


def gradient_bias_and_noise(rows: list[dict]) -> "Figure":
    """Draw bias and noise of each estimator at the measured epochs, one column per dimension."""
    dimensions = list(dict.fromkeys(row["latent_dim"] for row in rows))
    chart = figure(3.4 * len(dimensions) + 1, 6)
    cells = chart.subplots(2, len(dimensions), sharex=True, sharey="row", squeeze=False)
    for (above, below), d in zip(cells.T, dimensions, strict=True):
        for style, mine in _by_estimator([row for row in rows if row["latent_dim"] == d]):
            epochs = [row["epoch"] for row in mine]
            bias = np.array([row["relative_bias"] for row in mine])
            error = np.array([2 * row["standard_error"] for row in mine])
            bias[error > 0.3] = np.nan  # says nothing, and would cover the others
            above.errorbar(epochs, bias, error, lw=1, **style)
            below.plot(epochs, [row["relative_noise"] for row in mine], lw=1, **style)
        above.axhline(0, color=COLOURS[8], lw=1, zorder=0)
        above.set_title(f"d = {d}")
        below.set(xlabel="epoch", yscale="log")
        below.xaxis.get_major_locator().set_params(integer=True)
    cells[0, 0].set_ylabel("relative bias\n(bars: 2 standard errors)")
    cells[1, 0].set_ylabel("relative noise of one sample")
    handles = cells[1, 0].get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", frameon=False, ncols=3)
    chart.suptitle("gradient of E[log p(x|z)] in kappa, on the model's own loss")
    return chart


def training_curves(rows: list[dict]) -> "Figure":
    """Draw the validation ELBO and kappa while training under each estimator."""
    dimensions = list(dict.fromkeys(row["latent_dim"] for row in rows))
    chart = figure(3.4 * len(dimensions) + 1, 6)
    cells = chart.subplots(2, len(dimensions), sharex=True, squeeze=False)
    for (above, below), d in zip(cells.T, dimensions, strict=True):
        for style, mine in _by_estimator([row for row in rows if row["latent_dim"] == d]):
            epochs = [row["epoch"] for row in mine]
            above.plot(epochs, [row["val/elbo"] for row in mine], lw=1, **style)
            below.plot(epochs, [row["val/concentration_mean"] for row in mine], lw=1, **style)
        above.set_title(f"d = {d}")
        below.set(xlabel="epoch", yscale="log")
        below.xaxis.get_major_locator().set_params(integer=True)
    cells[0, 0].set_ylabel("validation ELBO (nats)")
    cells[1, 0].set_ylabel("mean concentration kappa")
    handles = cells[0, 0].get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", frameon=False, ncols=3)
    chart.suptitle("training under each estimator")
    return chart


def _by_estimator(rows: list[dict]):
    """Yield the style and the rows of each estimator."""
    estimators = list(dict.fromkeys((row["gradient"], row["baseline"]) for row in rows))
    for i, estimator in enumerate(estimators):
        colour = COLOURS[(0, 5, 1, 2, 3, 7)[i % 6]]
        style = {"color": colour, "marker": _MARKS[i % 8], "ms": 4, "label": label(*estimator)}
        yield style, [row for row in rows if (row["gradient"], row["baseline"]) == estimator]


def label(gradient: str, baseline: str) -> str:
    """Return how an estimator is called in a legend."""
    return gradient if baseline == "none" else f"{gradient}, {baseline} baseline"


def dimensions(rows: list[dict]) -> "Figure":
    """Draw what is known and what was measured of each latent dimension, every model in one."""
    chart = figure(12, 7)
    cells = chart.subplots(2, 3)
    d = np.unique([row["latent_dim"] for row in rows])
    known = {row["latent_dim"]: row for row in rows}
    line = {"color": COLOURS[7], "marker": "o", "ms": 4, "lw": 1}
    cells[0, 0].plot(d, [np.exp(known[k]["log_area"]) for k in d], **line)
    cells[0, 0].set(ylabel="surface area of S^d", yscale="log")
    lengths, spread = (
        np.array([known[k][name] for k in d]) for name in ("gaussian_length", "gaussian_length_std")
    )
    cells[0, 1].plot(d, lengths, **line)
    cells[0, 1].fill_between(d, lengths - 2 * spread, lengths + 2 * spread, color=COLOURS[9])
    cells[0, 1].set(ylabel="length of a standard Gaussian vector\n(mean, band: 2 deviations)")
    measured = {
        (0, 2): ("test/log_likelihood", "test log-likelihood (nats)"),
        (1, 0): ("test/kl", "test KL (nats)"),
        (1, 1): ("test/concentration_mean", "mean concentration kappa"),
        (1, 2): ("test/acceptance_rate", "acceptance rate of the sampler"),
    }
    models = list(dict.fromkeys(row["model"] for row in rows))
    for place, (name, words) in measured.items():
        for i, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model and row[name] != ""]
            style = {"color": COLOURS[(0, 5, 2)[i % 3]], "marker": _MARKS[i % 8], "ms": 5, "lw": 1}
            error = [row[f"{name}_std"] or 0 for row in mine]
            x, y = [row["latent_dim"] for row in mine], [row[name] for row in mine]
            cells[place].errorbar(x, y, error, label=model, capsize=2, **style)
        cells[place].set(ylabel=words)
    for axes in cells.flat:
        axes.set(xlabel="latent dimension d", xscale="log")
        axes.set_xticks(d, [str(k) for k in d])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    handles = cells[0, 2].get_legend_handles_labels()
    chart.legend(*handles, loc="outside lower center", frameon=False, ncols=4)
    return chart
