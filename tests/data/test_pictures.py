"""Coloured images in a person's file: where their channels stand, and what their numbers are."""

import numpy as np
import pytest
import torch

from svae.data import array
from tests.support.shapes import coloured_shapes

IMAGES = coloured_shapes(40, 9, 12)[0]


def _load(folder, values, **options):
    np.savez(folder / "x.npz", train=values)
    return array.load(str(folder / "x.npz"), **{"levels": "auto", **options})


@pytest.mark.parametrize(
    ("moved", "place"), [(IMAGES, "last"), (np.moveaxis(IMAGES, 3, 1), "first")]
)
def test_channels_stand_first_or_last_and_become_planes(tmp_path, moved, place):
    data = _load(tmp_path, moved)
    assert data.source == f"uint8 from {IMAGES.min()} to {IMAGES.max()}, taken as 256 levels; " + (
        f"channels stand {place}"
    )
    assert (data.likelihood, data.image_shape) == ("discretised_logistic", (3, 9, 12))
    assert (data.train.values.dtype, data.train.has_levels) == (torch.uint8, True)
    planes = np.moveaxis(IMAGES, 3, 1)[: len(data.train)].reshape(-1, 324)
    assert np.array_equal(data.train.values.numpy(), planes)
    observed = data.train.observe(torch.tensor([[3], [0]]))
    assert torch.equal(observed[0, 0], torch.from_numpy(planes[3]).float() / 255)
    assert next(data.train.batches(7)).dtype == torch.float32


@pytest.mark.parametrize("axis", [1, 3])
def test_one_channel_is_a_grey_image(tmp_path, axis):
    grey = IMAGES[..., 0]
    data, plain = _load(tmp_path, np.expand_dims(grey, axis)), _load(tmp_path, grey)
    assert (data.image_shape, data.likelihood) == ((9, 12), "bernoulli")
    assert torch.equal(data.train.values, plain.train.values)


@pytest.mark.parametrize(
    ("values", "options", "likelihood", "source"),
    [
        (IMAGES / 255, {}, "gaussian", "taken as it is"),
        (IMAGES / 127.5 - 1, {}, "gaussian", "taken as it is"),
        (IMAGES > 99, {}, "bernoulli", "bool of 0 and 1, taken as it is"),
        (IMAGES, {"likelihood": "bernoulli"}, "bernoulli", "divided by 255"),
        (IMAGES, {"likelihood": "gaussian"}, "gaussian", "taken as it is"),
        (IMAGES, {"levels": 256}, "bernoulli", "divided by 255"),
        (IMAGES // 20, {"likelihood": "discretised_logistic"}, "discretised_logistic", "levels"),
        (IMAGES[..., 0], {"likelihood": "discretised_logistic"}, "discretised_logistic", "levels"),
    ],
)
def test_which_likelihood_suits_the_numbers(tmp_path, values, options, likelihood, source):
    data = _load(tmp_path, values, **options)
    assert data.likelihood == likelihood
    assert data.train.has_levels == (likelihood == "discretised_logistic")
    assert data.source.removesuffix("; channels stand last").endswith(source)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (IMAGES[..., :2], {}, r"expected 1 or 3 channels, .* got shape \(40, 9, 12, 2\)"),
        (np.zeros((4, 9, 9, 4), "u1"), {}, r"fourth of RGBA is left out by values\[\.\.\., :3\]"),
        (np.zeros((4, 3, 9, 3), "u1"), {}, "channels may stand first as well as last"),
        (np.zeros((4, 2, 9, 9, 3), "u1"), {}, r"or \(N, height, width, 3\), got \(4, 2, 9, 9, 3\)"),
        (IMAGES // 20, {}, r"dataset\.likelihood=discretised_logistic if 255 is"),
        (IMAGES.astype(int), {}, "int64 .* may be counts"),
        (IMAGES.astype(float), {}, "all of them whole: expected uint8"),
        (IMAGES / 255, {"likelihood": "discretised_logistic"}, "256 levels of uint8, got float64"),
        (IMAGES, {"likelihood": "discretised_logistic", "levels": 256}, "expected one of the two"),
        (IMAGES, {"likelihood": "poisson"}, "expected one of .*, discretised_logistic"),
    ],
)
def test_what_may_be_meant_otherwise_is_refused(tmp_path, values, options, words):
    with pytest.raises(ValueError, match=words):
        _load(tmp_path, values, **options)
