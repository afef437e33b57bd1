"""That the sampler of the von Mises-Fisher law works, at the concentrations that a run learned."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.distributions import VonMisesFisher
from svae.distributions.height import log_density, log_proposal_density
from svae.plots.latent import globe
from svae.plots.style import COLOURS, figure, legend

_SAMPLES = 20_000
_QUANTILES = {"5 % lie below": 0.05, "median": 0.5, "95 % lie below": 0.95}


def sampler(latents: dict[str, np.ndarray], name: str) -> Figure:
    """Draw samples at the 5 %, 50 % and 95 % quantile of the concentrations of the posteriors.

    `name` is the sampler's. The histogram stands before the exact density and, where candidates are
    rejected, the density of what is proposed, scaled so that it touches.
    """
    m, learned = latents["loc"].shape[1], latents["concentration"].astype(float)
    generator = torch.Generator().manual_seed(0)
    kappas = np.quantile(learned, list(_QUANTILES.values()))
    title = f"{_SAMPLES:,} samples on S^{m - 1} at concentrations of the posteriors, by {name}"
    chart = figure(11, 6.8 if m == 3 else 3.8, title)
    cells = chart.subplots(2 if m == 3 else 1, 3, squeeze=False).T
    for column, kappa, words in zip(cells, kappas, _QUANTILES, strict=True):
        loc = torch.nn.functional.one_hot(torch.tensor(0), m).double()
        law = VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64), sampler=name)
        draw = law.draw((_SAMPLES,), generator)
        column[0].set_title(
            f"kappa = {kappa:.4g} ({words})\n{_rates(law, draw)}", fontsize="medium"
        )
        _heights(column[0], law, draw.value)
        if m == 3:
            globe(column[1], draw.value[:2000].numpy(), None)
    legend(chart, cells[0][0], 3)
    return chart


def _rates(law: VonMisesFisher, draw) -> str:
    """Return the acceptance rates in words: measured, with r sqrt((1 - r) / N), and expected."""
    measured, expected = 1 / draw.proposals.mean().item(), law.expected_acceptance_rate.item()
    error = measured * math.sqrt((1 - measured) / len(draw.value))
    return f"accepted {measured:.3f} ± {error:.3f}, expected {expected:.3f}"


def _heights(axes, law: VonMisesFisher, samples: torch.Tensor) -> None:
    """Draw histogram, density and proposal over what is not too rare to be seen.

    Of the height w, or on the circle, where its density g(w) has a pole at 1, of the angle.
    """
    m, kappa = law.event_shape[0], law.concentration.item()
    below = (samples - law.loc).square().sum(-1) / 2  # 1 - w
    if m == 2:
        half_chord, name = (below / 2).sqrt().clamp(max=1), "angle between mu and x (degrees)"
        x = torch.rad2deg(2 * half_chord.asin())
        low, high = 0.0, x.quantile(0.998).item()
    else:
        x, name = 1 - below, "w = mu.x"
        low, high = x.quantile(0.002).item(), 1.0 if m == 3 else x.quantile(0.9999).item()
    edges = torch.linspace(low, high, 51, dtype=torch.float64)
    counts = torch.histogram(x, edges).hist / len(x) / (edges[1] - edges[0])
    axes.stairs(counts, edges, fill=True, color=COLOURS[4], alpha=0.6, label="samples")
    grid = torch.linspace(low, high, 402, dtype=torch.float64)[1:-1]
    below = 1 - torch.deg2rad(grid).cos() if m == 2 else 1 - grid
    slope = torch.deg2rad(torch.deg2rad(grid).sin()) if m == 2 else 1.0  # |dw / dx|
    density = log_density(m, kappa, below).exp() * slope
    axes.plot(grid, density, color=COLOURS[7], lw=1.5, label="exact density")
    if law.sampler == "rejection":
        scaled = log_proposal_density(m, kappa, below).exp() * slope / law.expected_acceptance_rate
        style = {"color": COLOURS[5], "ls": "--", "lw": 1.5}
        axes.plot(grid, scaled, label="density of proposals / acceptance rate", **style)
    axes.set(xlabel=name, ylabel="density", ylim=(0, None))
    axes.locator_params(axis="x", nbins=4)
