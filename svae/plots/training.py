"""Learning curves, and how well held-out links are ranked."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from svae.plots.style import COLOURS, figure
from svae.ranking import auc, average_precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = (
    ("auc", "area under the ROC curve"),
    ("elbo", "ELBO (nats)"),
    ("kl", "KL (nats)"),
    ("acceptance_rate", "acceptance rate"),
    ("concentration_mean", "mean concentration"),
    ("scale_mean", "mean deviation"),
)


def curves(metrics: Path) -> "Figure":
    """Draw every metric against the epoch, training and validation together."""
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    shown = [(name, label) for name, label in _CURVES if f"val/{name}" in rows[0]]
    if all(float(row["train/acceptance_rate"]) == 1 for row in rows):
        shown = [curve for curve in shown if curve[0] != "acceptance_rate"]
    chart = figure(4 * len(shown), 3.2)
    for axes, (name, label) in zip(chart.subplots(1, len(shown)), shown, strict=True):
        for split, colour in (("train", COLOURS[0]), ("val", COLOURS[5])):
            if f"{split}/{name}" not in rows[0]:
                continue
            points = [(int(r["epoch"]), float(r[f"{split}/{name}"])) for r in rows]
            style = {"marker": "o"} if len(points) < 10 else {}
            axes.plot(*zip(*points, strict=True), color=colour, label=split, **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return chart


def link_curves(latents: Path) -> "Figure":
    """Draw the ROC and the precision-recall curve of the held-out links, with their areas."""
    with np.load(latents) as arrays:
        scores, is_edge = torch.from_numpy(arrays["scores"]), torch.from_numpy(arrays["is_edge"])
    hits = is_edge[scores.argsort(descending=True)].double().cumsum(0)
    false = torch.arange(1, len(hits) + 1) - hits
    recall, fall_out = hits / hits[-1], false / false[-1]
    precision = hits / (hits + false)
    area, mean = auc(scores, is_edge).item(), average_precision(scores, is_edge).item()
    chart = figure(8, 4)
    left, right = chart.subplots(1, 2)
    left.plot(fall_out, recall, color=COLOURS[0])
    left.plot([0, 1], [0, 1], color=COLOURS[9], ls="--")
    left.set(xlabel="false positive rate", ylabel="true positive rate", title=f"AUC {area:.3f}")
    right.plot(recall, precision, color=COLOURS[0])
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"AP {mean:.3f}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    chart.suptitle("held-out links of the test set")
    return chart
