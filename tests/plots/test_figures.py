"""Figures: the geometry in them is right, each is drawn from what a run leaves, none warns."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from torch.nn.functional import normalize

from svae import evaluate, plots
from svae.data.splits import MISSING, DataSet, Split
from svae.manifolds import Euclidean, Product, Sphere
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.plots.classes import confusion
from svae.plots.directions import directions
from svae.plots.latent import globe, hammer, kl_by_dimension, latent_space, spreads
from svae.plots.sampler import sampler
from svae.plots.style import CLASS_COLOURS, Classes, figure, name_classes
from svae.plots.training import curves
from svae.tasks import task_of


def test_great_circles_go_the_short_way_at_a_constant_speed():
    first, last = (normalize(torch.randn(5, 4, dtype=torch.float64), dim=-1) for _ in range(2))
    points = Sphere(3).geodesic(first, last, torch.linspace(0, 1, 9, dtype=torch.float64))
    assert points.shape == (5, 9, 4)
    torch.testing.assert_close(points[:, 0], first)
    torch.testing.assert_close(points[:, -1], last)
    steps = (points[:, 1:] * points[:, :-1]).sum(-1).acos()
    total = (first * last).sum(-1).acos()
    torch.testing.assert_close(steps, (total / 8)[:, None].expand_as(steps))


def test_great_circles_stand_equal_ends():
    x = torch.eye(3)[:1]
    assert (Sphere(2).geodesic(x, x, torch.linspace(0, 1, 5)) - x).abs().max() < 1e-6


def test_the_grid_of_the_sphere_gives_every_area_its_share():
    points, rows, _ = Sphere(2).grid()
    assert len(points) == 200
    assert rows == 10
    # moments of the uniform law, which a grid of unequal areas does not have
    assert points.mean(0).abs().max() < 1e-6
    torch.testing.assert_close(points.square().mean(0), torch.full((3,), 1 / 3), atol=4e-3, rtol=0)


def _run(family, latent_dim):
    torch.manual_seed(0)
    model = AutoEncoder(16, family(latent_dim), "bernoulli", hidden=(8,))
    values, labels = torch.rand(60, 16), torch.randint(0, 3, (60,))
    split = Split(values, labels, binary=True)
    data = DataSet(split, split, split, likelihood="bernoulli", image_shape=(4, 4))
    posterior = model.posterior(values)
    kl = torch.distributions.kl_divergence(posterior, model.prior())
    names = [n for n in ("loc", "concentration", "scale") if hasattr(posterior, n)]
    arrays = {n: getattr(posterior, n).detach().numpy() for n in names}
    arrays |= {"kl": kl.detach().numpy(), "labels": labels.numpy()}
    names = ("epoch", "train/elbo", "val/elbo", "val/kl", "train/acceptance_rate", "seconds")
    rows = ((1.0, -3.0, -4.0, 0.5, 0.9, 1.0), (2.0, -2.0, -3.0, 0.6, 0.8, 1.0))
    return model, data, [dict(zip(names, row, strict=True)) for row in rows], arrays


def _figures(model, data, *saved):
    return task_of(data.spec.kind, model).figures(model, data, *saved)


@pytest.mark.parametrize("family", [VonMisesFisherFamily, NormalFamily])
@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_every_figure_of_a_run_is_drawn(family, latent_dim):
    drawings = _figures(*_run(family, latent_dim), torch.Generator().manual_seed(0))
    expected = {"curves", "latent", "spreads", "reconstructions", "samples", "interpolations"}
    expected |= {"walk"} if latent_dim <= 2 else set()
    expected |= {"sampler"} if family is VonMisesFisherFamily else set()
    assert set(drawings) == expected
    for draw in drawings.values():
        draw().canvas.draw()


@pytest.mark.parametrize(
    ("values", "binary", "expected"),
    [
        ((-3.0, 0.5, 7.0), False, (-3, 7)),
        ((0.2, 0.4, 0.6), False, (np.float32(0.2), np.float32(0.6))),
        ((0.2, 0.4, 0.6), True, (0, 1)),  # drawn as 0 or 1
        ((0, 90, 200), True, (0, 1)),
    ],
)
def test_images_are_drawn_in_the_range_of_the_data(values, binary, expected):
    kind = torch.uint8 if isinstance(values[0], int) else torch.float32
    split = Split(torch.tensor(values, dtype=kind).repeat(20, 16)[:, :16], binary=binary)
    likelihood = "bernoulli" if binary else "gaussian"
    data = DataSet(split, split, split, likelihood, image_shape=(4, 4))
    model = AutoEncoder(16, NormalFamily(2), likelihood, hidden=(8,))
    drawn = _figures(model, data, [], {}, torch.Generator().manual_seed(0))
    for name in ("reconstructions", "samples", "interpolations", "walk"):
        (image,) = drawn[name]().axes[0].images
        assert image.get_clim() == expected, name
        assert image.get_array()[0, 0] == expected[0]  # between the images it is white


def _decoded(data):
    """Return {figure: the picture in it} of what a model decodes of images."""
    features, likelihood = data.spec.features, data.likelihood
    model = AutoEncoder(features, NormalFamily(2), likelihood, hidden=(8,))
    drawn = _figures(model, data, [], {}, torch.Generator().manual_seed(0))
    names = ("reconstructions", "samples", "interpolations", "walk")
    return {name: drawn[name]().axes[0].images[0] for name in names}


@pytest.mark.parametrize("low", [None, -1.0])
def test_coloured_images_are_drawn_in_their_colours(low):
    """Bytes in 0 to 255, floats of a Gaussian likelihood in their range."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3)).astype(np.uint8)
    pixels[0, 0, :2] = ((0, 10, 20), (255, 250, 90))
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).flatten(1)
    split = Split(planes if low is None else low + planes / 127.5)
    likelihood = "gaussian" if low else "discretised_logistic"
    pictures = _decoded(DataSet(split, split, split, likelihood, (3, 5, 4)))
    for name, picture in pictures.items():
        array = picture.get_array()
        assert array.shape[-1] == 3, name
        assert (array[0, 0] == 1).all(), name  # between the images it is white
        assert array.min() >= 0
    first = pictures["reconstructions"].get_array()[1:6, 1:5]
    np.testing.assert_allclose(first, pixels[0] / 255, atol=1e-6)


def test_grey_levels_are_drawn_as_light():
    split = Split(torch.tensor((0, 90, 200), dtype=torch.uint8).repeat(20, 16)[:, :16])
    for picture in _decoded(DataSet(split, split, split, "discretised_logistic", (4, 4))).values():
        assert (picture.get_clim(), picture.get_cmap().name) == ((0, 1), "gray")
        assert picture.get_array()[0, 0] == 1


def test_a_figure_that_cannot_be_drawn_is_left_out(tmp_path):
    lines, path = [], tmp_path / "broken.png"
    path.write_text("of an earlier evaluation")
    drawings = {"broken": lambda: 1 / 0, "missing": _missing, "whole": lambda: figure(1, 1)}
    assert plots.write(drawings, tmp_path, lines.append) == [tmp_path / "whole.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["whole.png"]
    said = "a figure that cannot be drawn of this run is left out: "
    error, reason = (line.removeprefix(said) for line in lines)
    assert error.startswith(f"broken (ZeroDivisionError: division by zero ({__file__}:")
    assert reason == "missing (no `loc`)"


def _missing():
    raise plots.Missing("no `loc`")


def test_an_interrupt_ends_the_drawing(tmp_path):
    def draw():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plots.write({"curves": draw}, tmp_path)


@pytest.mark.parametrize("parts", [("loc",), ("concentration", "scale"), ()])
def test_a_family_of_ones_own_is_drawn_as_far_as_it_can_be(tmp_path, parts):
    model, data, history, arrays = _run(NormalFamily, 2)
    arrays = {name: arrays[name] for name in ("kl", "labels")}
    arrays |= {name: np.ones((60, 2)) for name in parts}
    model.latent = type("Own", (NormalFamily,), {})(2)
    model.latent.manifold = Product(Euclidean(1), Euclidean(1))
    lines = []
    drawings = _figures(model, data, history, arrays, torch.Generator().manual_seed(0))
    paths = plots.write(drawings, tmp_path, lines.append)
    expected = {"curves", "spreads", "reconstructions", "samples", "interpolations"}
    expected |= {"latent"} if "loc" in parts else set()
    assert {path.stem for path in paths} == expected
    assert len(lines) == len(drawings) - len(expected) == int("loc" not in parts)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (VonMisesFisherFamily, ["KL", "concentration"]),
        (partial(VonMisesFisherFamily, scales=True), ["KL", "concentration", "scale"]),
        (NormalFamily, ["KL", "standard", "dimension,"]),
    ],
)
def test_the_spreads_show_all_that_the_posteriors_differ_in(family, names):
    model = AutoEncoder(16, family(2), "bernoulli", hidden=(8,))
    split = Split(torch.rand(60, 16), binary=True)
    arrays = evaluate.latents(model, split, torch.Generator().manual_seed(0))
    chart = spreads({name: array.numpy() for name, array in arrays.items()}, "the test set")
    assert [axes.get_xlabel().split()[0] for axes in chart.axes] == names


@pytest.mark.parametrize(
    ("likelihood", "whose"), [("bernoulli", "the test set"), ("edges", "the nodes")]
)
def test_the_title_says_whose_posteriors_they_are(likelihood, whose):
    model, data, *saved = _run(VonMisesFisherFamily, 2)
    drawings = _figures(model, replace(data, likelihood=likelihood), *saved, None)
    for name in ("latent", "spreads"):
        assert whose in drawings[name]()._suptitle.get_text()


@pytest.mark.parametrize(
    ("likelihood", "features", "panels"),
    [
        ("von_mises", 2, 1),
        ("von_mises", 4, 2),
        ("von_mises", 14, 6),
        ("heteroscedastic", 3, 2),
        ("vmf", 4, 1),
    ],
)
def test_directions_of_every_size_are_drawn(likelihood, features, panels):
    torch.manual_seed(0)
    p = 2 if likelihood == "von_mises" else features
    values = normalize(torch.randn(30, features // p, p), dim=-1).flatten(1)
    model = AutoEncoder(features, VonMisesFisherFamily(1), likelihood, hidden=(8,))
    split = Split(values, directions=p)
    chart = directions(model, DataSet(split, split, split, likelihood), torch.Generator())
    chart.canvas.draw()
    assert len(chart.axes) == panels
    title = chart._suptitle.get_window_extent()
    assert chart.bbox.x0 <= title.x0 < title.x1 <= chart.bbox.x1


def test_a_class_has_its_colour_on_both_sides_of_the_globe():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    seen = points @ np.array([2.0, 0.0, 1.0]) >= 0
    labels = np.where(seen, rng.integers(3, 6, 60), rng.integers(0, 3, 60))
    axes = figure(4, 4).subplots()
    globe(axes, points, Classes(labels))
    found = {tuple(colour) for colour in axes.collections[0].get_facecolors()}
    assert found == {to_rgba(colour) for colour in CLASS_COLOURS[3:6]}


def test_points_are_as_large_on_both_sides_of_the_globe():
    points = np.random.default_rng(0).normal((0.5, 0, 0), size=(3000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    sizes = []
    for side in (1, -1):
        axes = figure(4, 4).subplots()
        globe(axes, points, None, side)
        sizes.append(axes.collections[0].get_sizes()[0])
    assert sizes[0] == sizes[1]


def test_a_class_is_named_where_its_points_are_also_across_the_date_line():
    turn = np.pi + np.linspace(-0.3, 0.4, 20)
    points = np.column_stack([np.cos(turn), np.sin(turn), np.full(20, 0.5)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    axes = figure(4, 4).add_subplot(projection="hammer")
    hammer(axes, points, Classes(np.full(20, 7)))
    (text,) = axes.texts
    assert text.get_text() == "7"
    assert text.xy == pytest.approx((0.05 - np.pi, np.arctan(0.5)), abs=0.02)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        ({}, ["no label", "0", "1"]),
        ({"class_names": np.array(["_cat", "a$b$"])}, ["no label", "_cat", r"a\$b\$"]),
        (
            {"class_names": np.array(["x" * 30, ""])},
            ["no label", f"{'x' * 12}…{'x' * 11}", "(empty)"],
        ),
        ({"class_names": np.array(["small", "large"])}, ["no label", "small", "large"]),
        ({"class_names": np.array(["one", "one"])}, ["no label", "one", "one"]),
        ({"class_names": np.array(["\ud800\n", "-1"])}, ["no label", "??", "-1"]),
    ],
)
def test_classes_are_called_as_they_were_in_the_data(names, called):
    loc, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, MISSING, 1])
    latents = {"loc": loc, "labels": labels, "predicted": np.array([1, 1, 0, 1])} | names
    chart = latent_space(latents, "some", Sphere(2))
    assert [text.get_text() for text in chart.legends[0].get_texts()] == called
    assert {text.get_text() for text in chart.axes[0].texts} == {*called[1:]}
    assert len(chart.axes[0].texts) == 2
    axes = confusion(latents).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == called[1:]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2"]
    chart.draw_without_rendering()


def test_a_class_in_two_parts_is_named_on_one_of_its_points():
    points = np.array([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [-1.1, 0.0]])
    axes = figure(4, 4).subplots()
    name_classes(axes, points, Classes(np.full(4, 7)))
    (text,) = axes.texts
    assert text.xy in [tuple(point) for point in points]


def test_the_kl_of_the_dimensions_is_that_of_the_posteriors():
    loc, scale = torch.randn(50, 6) * torch.arange(6), torch.rand(50, 6) + 0.1
    posterior = torch.distributions.Normal(loc, scale)
    whole = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    found = kl_by_dimension(loc.numpy(), scale.numpy())
    assert found.sum() == pytest.approx(whole.sum(-1).mean().item())
    assert found.tolist() == sorted(found, reverse=True)


def test_the_first_epochs_do_not_flatten_the_curves():
    rows = [(n, -1e6 if n == 1 else -100 - 10 / n, 0.7, 0.5 / n) for n in range(1, 31)]
    names = ("epoch", "train/elbo", "train/acceptance_rate", "train/kappa_gradient_snr")
    axes = curves([dict(zip(names, row, strict=True)) for row in rows]).axes
    assert [a.get_title() for a in axes[:3]] == [
        "ELBO (nats)",
        "acceptance rate",
        "signal to noise of the kappa-gradient",
    ]
    assert axes[0].get_ylim()[0] > -110
    assert axes[0].get_ylim()[1] < -90


def test_one_epoch_has_one_tick():
    chart = curves([{"train/elbo": -3.0, "train/acceptance_rate": 1.0, "epoch": 1.0}])
    chart.canvas.draw()
    axes = chart.axes[0]
    assert [t for t in axes.get_xticks() if 0.9 < t < 1.1] == [1]


@pytest.mark.parametrize("m", [2, 3, 11])
def test_the_exact_density_is_that_of_the_samples(m):
    latents = {"loc": np.zeros((9, m)), "concentration": np.full(9, 20.0)}
    axes = sampler(latents, "rejection").axes[0]
    found, edges, _ = axes.patches[0].get_data()
    expected = np.interp((edges[1:] + edges[:-1]) / 2, *axes.lines[0].get_data())
    scores = (found - expected) * np.sqrt(20_000 * np.diff(edges) / expected)
    assert np.abs(scores).max() < 5
    assert 0.4 < scores.var() < 1.9
