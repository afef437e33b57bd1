"""Learning curves, and how well held-out links are ranked."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.metrics.catalogue import CURVES, Metric, shown
from svae.metrics.ranking import auc, average_precision
from svae.plots.style import COLOURS, figure, label, legend, show_ends

_ACROSS = 3


def curves(rows: list[dict[str, float]]) -> Figure:
    """Draw every metric against the epoch, training and validation together, of a row per epoch."""
    drawn = [metric for metric in shown(CURVES) if _is_drawn(metric, rows)]
    across, down = min(len(drawn), _ACROSS), -(-len(drawn) // _ACROSS)
    chart = figure(3.3 * across, 2.7 * down + 0.3)
    cells = chart.subplots(down, across, squeeze=False).ravel()
    for axes, metric in zip(cells, drawn, strict=False):
        _curve(axes, rows, metric)
    for axes in cells[len(drawn) :]:
        axes.axis("off")
    fullest = max(cells, key=lambda axes: len(axes.lines))
    legend(chart, fullest, 2)
    return chart


def _is_drawn(metric: Metric, rows: list[dict]) -> bool:
    values = [row.get(f"{split}/{metric.name}") for row in rows for split in ("train", "val")]
    return bool({*values} - {None, metric.trivial})


def _curve(axes, rows: list[dict], metric: Metric) -> None:
    """Draw a metric of both splits."""
    for split, words, colour in (("train", "training", 0), ("val", "validation", 5)):
        column = f"{split}/{metric.name}"
        known = [row for row in rows if not math.isnan(row.get(column, math.nan))]
        points = [(int(row["epoch"]), row[column]) for row in known]
        if points:
            style = {"marker": "o"} if len(points) < 10 else {}
            axes.plot(*zip(*points, strict=True), color=COLOURS[colour], label=words, **style)
    if metric.better == "higher":
        show_ends(axes, [line.get_ydata() for line in axes.lines])
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    label(axes, metric.title, xlabel="epoch")


def link_curves(latents: dict[str, np.ndarray]) -> Figure:
    """Draw the ROC and the precision-recall curve of the held-out links, with their areas."""
    scores, is_edge = (torch.from_numpy(latents[name]) for name in ("scores", "is_edge"))
    hits = is_edge[scores.argsort(descending=True)].double().cumsum(0)
    false = torch.arange(1, len(hits) + 1) - hits
    recall, fall_out = hits / hits[-1], false / false[-1]
    precision = hits / (hits + false)
    area, mean = auc(scores, is_edge).item(), average_precision(scores, is_edge).item()
    chart = figure(8, 4, "held-out links of the test set")
    left, right = chart.subplots(1, 2)
    left.plot(fall_out, recall, color=COLOURS[0])
    left.plot([0, 1], [0, 1], color=COLOURS[9], ls="--")
    left.set(xlabel="false positive rate", ylabel="true positive rate", title=f"AUC {area:.3f}")
    right.plot(recall, precision, color=COLOURS[0])
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"AP {mean:.3f}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return chart
