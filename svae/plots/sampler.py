"""That the sampler of the von Mises-Fisher law works, at the concentrations that a run learned."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from svae.distributions import VonMisesFisher
from svae.distributions.height import log_density, log_proposal_density
from svae.plots.latent import globe
from svae.plots.style import COLOURS, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAMPLES = 20_000
_QUANTILES = {"5 % lie below": 0.05, "median": 0.5, "95 % lie below": 0.95}


def sampler(latents: Path, name: str) -> "Figure":
    """Draw samples at the 5 %, 50 % and 95 % quantile of the concentrations of the test set.

    `name` is the sampler's. The histogram of the height w stands before its exact density and,
    where candidates are rejected, the density of what is proposed, scaled so that it touches.
    """
    with np.load(latents) as arrays:
        m, learned = arrays["loc"].shape[1], arrays["concentration"].astype(float)
    generator = torch.Generator().manual_seed(0)
    kappas = np.quantile(learned, list(_QUANTILES.values()))
    chart = figure(11, 7 if m == 3 else 3.9)
    chart.suptitle(
        f"{_SAMPLES:,} samples on S^{m - 1} at concentrations of the test set, by {name}"
    )
    cells = chart.subplots(2 if m == 3 else 1, 3, squeeze=False).T
    for column, kappa, words in zip(cells, kappas, _QUANTILES, strict=True):
        loc = torch.nn.functional.one_hot(torch.tensor(0), m).double()
        law = VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64), sampler=name)
        draw = law.draw((_SAMPLES,), generator)
        column[0].set_title(
            f"kappa = {kappa:.4g} ({words})\n{_rates(law, draw)}", fontsize="medium"
        )
        _heights(column[0], law, draw.value[:, 0])
        if m == 3:
            globe(column[1], draw.value[:2000].numpy(), None)
    handles, labels = cells[0][0].get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return chart


def _rates(law: VonMisesFisher, draw) -> str:
    measured, expected = 1 / draw.proposals.mean().item(), law.expected_acceptance_rate.item()
    return f"accepted: {measured:.4f}, expected {expected:.4f}"


def _heights(axes, law: VonMisesFisher, heights: torch.Tensor) -> None:
    """Draw histogram, density and proposal over the heights that are not too rare to be seen."""
    m, kappa = law.event_shape[0], law.concentration.item()
    low = heights.quantile(0.002).item()
    high = 1.0 if m <= 3 else heights.quantile(0.9999).item()
    edges = torch.linspace(low, high, 51, dtype=torch.float64)
    counts = torch.histogram(heights, edges).hist / len(heights) / (edges[1] - edges[0])
    axes.stairs(
        counts.numpy(), edges.numpy(), fill=True, color=COLOURS[4], alpha=0.6, label="samples"
    )
    below = 1 - torch.linspace(low, high, 400, dtype=torch.float64)[:-1]
    density = log_density(m, kappa, below).exp()
    axes.plot(
        (1 - below).numpy(), density.numpy(), color=COLOURS[7], lw=1.5, label="exact density g(w)"
    )
    if law.sampler == "rejection":
        scaled = log_proposal_density(m, kappa, below).exp() / law.expected_acceptance_rate
        label = "density of proposals / acceptance rate"
        axes.plot(
            (1 - below).numpy(), scaled.numpy(), color=COLOURS[5], ls="--", lw=1.5, label=label
        )
    # on the circle the density has a pole at w = 1
    axes.set(xlabel="w = mu.x", ylabel="density", ylim=(0, 1.6 * counts.max().item()))
    axes.locator_params(axis="x", nbins=4)
