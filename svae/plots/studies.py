"""Figures of studies, from the rows of their tables."""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.distributions import VonMisesFisher
from svae.metrics.catalogue import of
from svae.plots.style import COLOURS, figure, label, legend, shades

_MARKS = "osD^vP*X"
# what is drawn against the latent dimension, beside what is known of it
_MEASURED = ("test/log_likelihood", "test/kl", "test/concentration_mean", "test/acceptance_rate")
_BIAS_AND_NOISE = {
    "mean": {"ylabel": "mean / exact\n(bars: 2 standard errors)", "ylim": (0.4, 1.4)},
    "noise": {"ylabel": "std of one sample / exact", "yscale": "log"},
}
_VAGUE = 0.3  # a bias that is not known so well says nothing, and would cover the others


def sampler_statistics(rows: list[dict]) -> Figure:
    """Draw acceptance rates against kappa, and the p-values and scores of all settings."""
    chart = figure(10.5, 4)
    left, middle, right = chart.subplots(1, 3)
    dimensions = sorted({row["m"] for row in rows})
    for m, colour, mark in zip(dimensions, shades(len(dimensions)), _MARKS * 9, strict=False):
        mine = [row for row in rows if row["m"] == m]
        kappa, style = [row["concentration"] for row in mine], {"color": colour, "lw": 1, "ms": 5}
        left.plot(*_expected_rates(m, kappa), **style)
        left.plot(kappa, [row["acceptance_rate"] for row in mine], mark, label=f"m = {m}", **style)
    label(left, "measured (marks), expected (lines)", xscale="log")
    left.set(xlabel="concentration kappa", ylabel="acceptance rate")
    legend(chart, left, 8)
    p_values = np.sort([row["ks_p_value"] for row in rows])
    share = (np.arange(len(rows)) + 0.5) / len(rows)
    _quantiles(middle, share, p_values, "Kolmogorov-Smirnov p-value")
    scores = np.sort([row["mean_score"] for row in rows])
    expected = np.array([NormalDist().inv_cdf(quantile) for quantile in share])
    _quantiles(right, expected, scores, "standard score of the mean of w")
    return chart


def _expected_rates(m: int, kappa: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return concentrations from the least to the greatest, and their acceptance rates."""
    grid = np.geomspace(min(kappa), max(kappa), 100)
    pole = torch.eye(m, dtype=torch.float64)[0]
    law = VonMisesFisher(pole.expand(len(grid), m), torch.from_numpy(grid))
    return grid, law.expected_acceptance_rate.numpy()


def _quantiles(axes, expected: np.ndarray, found: np.ndarray, name: str) -> None:
    """Draw what was found against what an exact sampler would give on average."""
    ends = [min(expected[0], found[0]), max(expected[-1], found[-1])]
    axes.plot(ends, ends, color=COLOURS[8], lw=1)
    axes.plot(expected, found, "o", color=COLOURS[0], ms=4)
    title = f"{len(found)} settings, sorted"
    label(axes, title, xlabel="expected of an exact sampler", ylabel=name)


def estimator_gradients(rows: list[dict], most: int = 4) -> Figure:
    """Draw mean over exact gradient, and the standard deviation of one sample, against kappa.

    Of `most` dimensions. A mean with a standard error above 15 % is left out.
    """
    dimensions = sorted({row["m"] for row in rows})
    shown = {dimensions[i] for i in np.linspace(0, len(dimensions) - 1, most).astype(int)}
    drawn = [
        {
            **row,
            "mean": row["mean"] / row["exact"],
            "mean_error": 2 * row["standard_error"] / row["exact"],
            "noise": row["standard_deviation"] / row["exact"],
        }
        for row in rows
        if row["m"] in shown
    ]
    x = {"xscale": "log", "xlabel": "concentration kappa"}
    chart = _by_estimator(drawn, ("m", "concentration"), _BIAS_AND_NOISE, x)
    chart.suptitle("gradient of E[20 w - 100] in kappa, by the ambient dimension m")
    return chart


def gradient_bias_and_noise(rows: list[dict]) -> Figure:
    """Draw the same of a model's own loss, at the measured epochs, by latent dimension."""
    drawn = [
        {
            **row,
            "mean": 1 + row["relative_bias"],
            "mean_error": 2 * row["standard_error"],
            "noise": row["relative_noise"],
        }
        for row in rows
    ]
    chart = _by_estimator(drawn, ("latent_dim", "epoch"), _BIAS_AND_NOISE, {"xlabel": "epoch"})
    chart.suptitle("gradient of E[log p(x|z)] in kappa, on the model's own loss")
    return chart


def training_curves(rows: list[dict]) -> Figure:
    """Draw the validation ELBO and kappa while training under each estimator."""
    names = ("val/elbo", "val/concentration_mean")
    panels = {name: {"ylabel": f"validation {of(name).title}"} for name in names}
    chart = _by_estimator(rows, ("latent_dim", "epoch"), panels, {"xlabel": "epoch"}, False)
    chart.suptitle("training under each estimator")
    return chart


def _by_estimator(
    rows: list[dict], keys: tuple[str, str], panels: dict[str, dict], x: dict, sharey="row"
) -> Figure:
    """Draw a column of panels for each value of the first key, against the second one.

    A panel shows what the rows have under its name, with bars of NAME_error where they have that,
    and a line for each estimator, each of them a little beside the others.
    """
    name, along = keys
    columns = list(dict.fromkeys(row[name] for row in rows))
    chart = figure(2.6 * len(columns) + 0.8, 5.4)
    cells = chart.subplots(len(panels), len(columns), sharex=True, sharey=sharey, squeeze=False)
    for column, value in zip(cells.T, columns, strict=True):
        estimators = list(_estimators([row for row in rows if row[name] == value]))
        for axes, (shown, settings) in zip(column, panels.items(), strict=True):
            for i, (style, mine) in enumerate(estimators):
                places = np.array([row[along] for row in mine])
                places = places * 1.04 ** (i - 2) if "xscale" in x else places + 0.04 * (i - 2)
                y = np.array([row[shown] for row in mine])
                error = np.array([row.get(f"{shown}_error", 0.0) for row in mine])
                axes.errorbar(places, np.where(error < _VAGUE, y, np.nan), error, **style)
            label(axes, **settings)
        column[0].set_title(f"{'m' if name == 'm' else 'd'} = {value}", fontsize="medium")
        column[-1].set(**x)
    for axes in cells[:, 1:].flat:
        axes.set_ylabel(None)
    legend(chart, cells[0, 0], 3)
    return chart


def _estimators(rows: list[dict]) -> Iterator[tuple[dict, list[dict]]]:
    """Yield the style and the rows of each estimator."""
    estimators = list(dict.fromkeys((row["gradient"], row["baseline"]) for row in rows))
    for i, (gradient, baseline) in enumerate(estimators):
        colour = COLOURS[(0, 5, 1, 2, 4, 7)[i % 6]]
        style = {"color": colour, "marker": _MARKS[i % 8], "ms": 4, "lw": 1}
        label = gradient if baseline == "none" else f"{gradient}, {baseline} baseline"
        mine = [r for r in rows if (r["gradient"], r["baseline"]) == (gradient, baseline)]
        yield style | {"label": label}, mine


def dimensions(rows: list[dict]) -> Figure:
    """Draw what is known and what was measured of each latent dimension, every model in one."""
    chart = figure(10.5, 6.3)
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
    cells[0, 1].set(
        ylabel="length of a Gaussian vector\n(mean, band: 2 deviations)", ylim=(0, None)
    )
    models = list(dict.fromkeys(row["model"] for row in rows))
    for axes, name in zip(cells.flat[2:], _MEASURED, strict=True):
        for i, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model and row.get(name, "") != ""]
            if {row[name] for row in mine} <= {of(name).trivial}:
                continue
            style = {"color": COLOURS[(0, 5, 2)[i % 3]], "marker": _MARKS[i % 8], "ms": 5, "lw": 1}
            error = [row[f"{name}_std"] or 0 for row in mine]
            x, y = [row["latent_dim"] for row in mine], [row[name] for row in mine]
            axes.errorbar(x, y, error, label=model, capsize=2, **style)
        axes.set(ylabel=f"test {of(name).title}")
    for axes in cells.flat:
        label(axes, xlabel="latent dimension d", xscale="log")
        axes.set_xticks(d, [str(k) for k in d])
        axes.minorticks_off()
    legend(chart, cells[0, 2], 4)
    return chart
