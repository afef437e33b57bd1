"""The latent space of a run, from its posteriors: loc, concentration or scale, labels."""

import numpy as np
from matplotlib.figure import Figure

from svae.manifolds import Manifold, Product, Sphere
from svae.plots import Missing
from svae.plots.style import (
    COLOURS,
    Classes,
    class_legend,
    classes_of,
    figure,
    name_classes,
    scatter,
)

_PANELS = 12  # of a product


def latent_space(latents: dict[str, np.ndarray], whose: str, manifold: Manifold) -> Figure:
    """Draw the posterior means of the test set or of all nodes, coloured by class.

    A circle is drawn as rings, one per class. S^2 is drawn as an equal-area map and as a globe from
    both sides; S^d beyond as the map of the great sphere S^2 that lies nearest to the points (Jung,
    Dryden and Marron 2012, "Analysis of principal nested spheres"). R^d, and the
    space that holds any other manifold, by its first two principal components. The factors of a
    product are drawn side by side.

    Raises:
        Missing: for posteriors without means.
    """
    if "loc" not in latents:
        raise Missing("no `loc`")
    if isinstance(manifold, Product):
        return _factors(latents["loc"], classes_of(latents), whose, manifold)
    draw = _plane
    if isinstance(manifold, Sphere):
        draw = {1: _circle, 2: _sphere}.get(manifold.dim, _great_sphere)
    return draw(latents["loc"], classes_of(latents), whose)


def spreads(latents: dict[str, np.ndarray], whose: str, is_own: bool = True) -> Figure:
    """Draw histograms of what the posteriors differ in besides their means.

    The KL by dimension is that of the package's own Gaussian alone.
    """
    shown, kl = {"KL of the posterior to the prior (nats)": latents["kl"]}, None
    if "concentration" in latents:
        shown["concentration kappa"] = latents["concentration"].ravel()
    if "log_scales" in latents:
        shown["scale of every axis"] = np.exp(latents["log_scales"]).ravel()
    if "scale" in latents:
        shown["standard deviation, of every dimension"] = latents["scale"].ravel()
        kl = kl_by_dimension(latents["loc"], latents["scale"]) if is_own else None
    count = len(shown) + (kl is not None)
    chart = figure(2 + 3 * count, 3.2, f"posteriors of {whose}")
    cells = chart.subplots(1, count, squeeze=False)[0]
    for axes, (name, values) in zip(cells, shown.items(), strict=False):
        axes.hist(values, bins=60, color=COLOURS[0])
        axes.axvline(values.mean(), color=COLOURS[5], lw=2)
        axes.set(xlabel=name, ylabel="count")
        axes.set_title(f"mean {values.mean():.4g}", color=COLOURS[5], fontsize="medium")
    if kl is not None:
        cells[-1].bar(np.arange(1, len(kl) + 1), kl, color=COLOURS[0])
        cells[-1].set(xlabel="dimension, in order of its KL", ylabel="mean KL (nats)")
        cells[-1].xaxis.get_major_locator().set_params(integer=True)
    return chart


def kl_by_dimension(loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the mean KL (d,) of each dimension from the standard Gaussian, the largest first.

    Those near zero have collapsed: they tell nothing about an observation.
    """
    square = scale.astype(float) ** 2
    return np.sort((loc**2 + square - 1 - np.log(square)).mean(0) / 2)[::-1]


def hammer(axes, points: np.ndarray, classes: Classes | None) -> None:
    """Draw points of S^2 on axes made with `projection="hammer"`: equal areas stay equal."""
    scatter(axes, *_longitude_and_latitude(points), classes)
    name_classes(axes, points, classes, _longitude_and_latitude)
    axes.grid(alpha=0.4)
    axes.set(xticklabels=[], yticklabels=[])


def _longitude_and_latitude(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return those of vectors (..., 3) of any length, in radians."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


def _circle(loc: np.ndarray, classes: Classes | None, whose: str) -> Figure:
    """Draw one ring per class, the points spread over its width to be seen."""
    rings = "" if classes is None else ", one ring per class"
    chart = figure(6.8, 5.8, f"posterior means of {whose} on the circle{rings}")
    _rings(chart.subplots(subplot_kw={"projection": "polar"}), loc, classes)
    class_legend(chart, classes)
    return chart


def _rings(axes, loc: np.ndarray, classes: Classes | None) -> None:
    angle = np.arctan2(loc[:, 1], loc[:, 0])
    jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(loc))
    rank = np.zeros(len(loc)) if classes is None else classes.ranks
    scatter(axes, angle, 8 + rank + jitter, classes)
    axes.set(ylim=(0, 9 + rank.max()), yticks=[])
    axes.grid(alpha=0.4)


def _sphere(loc: np.ndarray, classes: Classes | None, whose: str) -> Figure:
    chart = figure(8.4, 8.2, f"posterior means of {whose} on the sphere")
    grid = chart.add_gridspec(2, 2)
    above = chart.add_subplot(grid[0, :], projection="hammer")
    hammer(above, loc, classes)
    above.set_title("Hammer's equal-area map (grid: 30 degrees east, 15 north)", fontsize="medium")
    sides = ((1, "the globe, seen from 0 east, 27 north"), (-1, "from 180 east, 27 south"))
    for column, (side, name) in enumerate(sides):
        axes = chart.add_subplot(grid[1, column])
        globe(axes, loc, classes, side)
        axes.set_title(name, fontsize="medium")
    class_legend(chart, classes)
    return chart


def globe(axes, points: np.ndarray, classes: Classes | None, side: int = 1) -> None:
    """Draw the half of S^2 that is seen from (2, 0, 1), or from the opposite with `side` -1."""
    towards = side * np.array([2.0, 0.0, 1.0]) / np.sqrt(5)
    right = np.array([-towards[1], towards[0], 0]) / np.hypot(towards[0], towards[1])
    basis = np.stack([right, np.cross(towards, right)], 1)
    for line in _graticule():
        seen = np.where((line @ towards >= 0)[:, None], line @ basis, np.nan)
        axes.plot(*seen.T, color=COLOURS[9], lw=0.6, zorder=0)
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color=COLOURS[8], lw=1)
    scatter(axes, *(points @ basis).T, classes, points @ towards >= 0)
    axes.set_aspect("equal")
    axes.axis("off")


def _graticule() -> list[np.ndarray]:
    """Return the meridians and parallels every 30 degrees, each (200, 3)."""
    turn, zero = np.linspace(-np.pi, np.pi, 200), np.zeros(200)
    up = np.linspace(-np.pi / 2, np.pi / 2, 200)
    meridians = [(zero + a, up) for a in np.arange(0, 2 * np.pi, np.pi / 6)]
    parallels = [(turn, zero + a) for a in np.arange(-np.pi / 3, np.pi / 2, np.pi / 6)]
    return [
        np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
        for lon, lat in meridians + parallels
    ]


def _great_sphere(loc: np.ndarray, classes: Classes | None, whose: str) -> Figure:
    nearest, share = _nearest_great_sphere(loc)
    chart = figure(8.4, 4.6)
    d = loc.shape[1] - 1
    chart.suptitle(
        f"posterior means of {whose}: S^{d} seen on its principal great sphere S^2\n"
        f"(holds {share:.0%} of the squared length; Hammer's equal-area map)",
        fontsize="medium",
    )
    hammer(chart.subplots(subplot_kw={"projection": "hammer"}), nearest, classes)
    class_legend(chart, classes)
    return chart


def _nearest_great_sphere(loc: np.ndarray) -> tuple[np.ndarray, float]:
    """Return points of S^2, and which share of the squared length of `loc` (N, m) they hold."""
    values, vectors = np.linalg.eigh(loc.T @ loc)
    nearest = loc @ vectors[:, :-4:-1]
    share = values[-3:].sum() / values.sum()
    return nearest / np.linalg.norm(nearest, axis=1, keepdims=True), share


def _factors(loc: np.ndarray, classes: Classes | None, whose: str, manifold: Product) -> Figure:
    """Draw a panel for each factor, of many for the first ones."""
    ends = np.cumsum([factor.ambient_dim for factor in manifold.factors])
    parts = list(zip(manifold.factors, np.split(loc, ends[:-1], axis=1), strict=True))[:_PANELS]
    columns = min(4, len(parts))
    rows = -(-len(parts) // columns)
    more = f", the first {_PANELS} factors" if len(manifold.factors) > _PANELS else ""
    chart = figure(3.2 * columns + 0.8, 3.2 * rows, f"posterior means of {whose}{more}")
    for place, (factor, points) in enumerate(parts, 1):
        round_ = {1: ("polar", _rings)}.get(factor.dim, ("hammer", hammer))
        projection, draw = round_ if isinstance(factor, Sphere) else (None, _axes_of_plane)
        axes = chart.add_subplot(rows, columns, place, projection=projection)
        if projection == "hammer" and factor.dim > 2:
            points, share = _nearest_great_sphere(points)
            axes.set_title(f"{factor} ({share:.0%} on a great S^2)", fontsize="medium")
        else:
            axes.set_title(str(factor), fontsize="medium")
        draw(axes, points, classes)
    class_legend(chart, classes)
    return chart


def _plane(loc: np.ndarray, classes: Classes | None, whose: str) -> Figure:
    chart = figure(6.8, 5.8, f"posterior means of {whose}")
    _axes_of_plane(chart.subplots(), loc, classes)
    class_legend(chart, classes)
    return chart


def _axes_of_plane(axes, loc: np.ndarray, classes: Classes | None) -> None:
    if loc.shape[1] == 1:
        ranks = np.zeros(len(loc)) if classes is None else classes.ranks
        jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(loc))
        scatter(axes, loc[:, 0], ranks + jitter, classes)
        axes.set(xlabel="z1", ylabel="" if classes is None else "one row per class", yticks=[])
    else:
        points, names = _principal(loc)
        scatter(axes, *points.T, classes)
        name_classes(axes, points, classes)
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set_aspect("equal", "datalim")
    axes.grid(alpha=0.3)


def _principal(loc: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    if loc.shape[1] == 2:
        return loc, ("z1", "z2")
    centred = loc - loc.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    shares = values[:-3:-1] / values.sum()
    names = ("first", "second")
    labels = [
        f"{n} principal component ({s:.0%} of the variance)"
        for n, s in zip(names, shares, strict=True)
    ]
    return centred @ vectors[:, :-3:-1], tuple(labels)
