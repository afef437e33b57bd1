"""What a trained model does with observations of a person's own: encode, decode, sample, score."""

import numpy as np
import pytest
import torch

import svae
from svae.codec import Codec, units_of
from svae.data.units import Units
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.training.streams import seeded

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (23, 4, 3), np.uint8)
BYTES = Units((4, 3), {"uint8": 255}, highest=1)
NUMBERS = RANDOM.normal(size=(9, 5))


def _codec(units=BYTES, likelihood="bernoulli", family=VonMisesFisherFamily, batch_size=4096):
    with seeded("cpu", 0, "test"):
        model = AutoEncoder(units.features, family(2), likelihood, hidden=(8,)).eval()
    return Codec(model, units, likelihood == "bernoulli", batch_size)


CODEC = _codec()
REAL = _codec(Units((5,), {"float64": 1}), "gaussian", NormalFamily)


def test_rows_are_encoded_in_their_order_whatever_the_batches():
    loc, concentration = CODEC.encode(PICTURES)
    assert (loc.shape, concentration.shape) == ((23, 3), (23,))
    assert CODEC.spread == "concentration"
    posterior = CODEC.model.posterior(torch.from_numpy(PICTURES.reshape(23, -1) / np.float32(255)))
    np.testing.assert_array_equal(loc, posterior.loc.detach())
    np.testing.assert_array_equal(concentration, posterior.concentration.detach())
    for size in (1, 7):
        again = _codec(batch_size=size).encode(PICTURES)
        np.testing.assert_allclose(again.loc, loc, rtol=0, atol=1e-6)
        np.testing.assert_allclose(again.spread, concentration, rtol=1e-5)


def test_a_gaussian_has_a_deviation_for_each_dimension():
    loc, scale = REAL.encode(NUMBERS)
    assert (loc.shape, scale.shape, REAL.spread) == ((9, 2), (9, 2), "scale")


def test_what_is_decoded_has_the_units_of_the_data():
    loc, _ = CODEC.encode(PICTURES)
    decoded = CODEC.decode(loc)
    probabilities = CODEC.model.likelihood(torch.from_numpy(loc)).mean.detach()
    assert (decoded.shape, decoded.dtype) == (PICTURES.shape, np.float32)
    np.testing.assert_allclose(decoded.reshape(23, -1), 255 * probabilities, rtol=1e-6)
    assert decoded.max() > 2


@pytest.mark.parametrize("batch_size", [4096, 5])
def test_samples_are_those_of_a_seed(batch_size):
    codec = _codec(batch_size=batch_size)
    first = codec.sample(12)
    np.testing.assert_array_equal(first, codec.sample(12, seed=0))
    assert first.shape == (12, 4, 3)
    assert not np.array_equal(first, codec.sample(12, seed=1))
    assert codec.sample(0).shape == (0, 4, 3)


def test_a_walk_goes_from_one_end_to_the_other_along_the_geodesic():
    a, b = PICTURES[:2], PICTURES[2:4]
    walks = CODEC.interpolate(a, b, 5)
    assert walks.shape == (2, 5, 4, 3)
    np.testing.assert_allclose(walks[:, 0], CODEC.decode(CODEC.encode(a).loc), rtol=1e-4)
    np.testing.assert_allclose(walks[:, -1], CODEC.decode(CODEC.encode(b).loc), rtol=1e-4)
    middle = CODEC.encode(a).loc + CODEC.encode(b).loc  # of a great circle
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    np.testing.assert_allclose(walks[:, 2], CODEC.decode(middle), rtol=1e-4)
    np.testing.assert_allclose(CODEC.interpolate(a[0], b[0], 5), walks[0], rtol=1e-5)


def test_scores_are_bounds_of_the_likelihood_by_quadrature():
    """p(x) = int p(x | z) N(z) dz on a grid of the plane."""
    side = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(side, side)
    log_prior = -z.square().sum(-1) / 2 - np.log(2 * np.pi) + 2 * np.log(12 / 240)
    with torch.no_grad():
        log_prob = REAL.model.likelihood(z[:, None]).log_prob(torch.from_numpy(NUMBERS).float())
    truth = torch.logsumexp(log_prob + log_prior[:, None], 0).numpy()
    elbo = REAL.score(NUMBERS, importance_samples=2000)
    iwae = REAL.score(NUMBERS, "iwae", importance_samples=4000)
    assert (elbo < truth + 0.05).all()
    assert (elbo <= iwae + 0.05).all()
    np.testing.assert_allclose(iwae, truth, atol=0.15)
    np.testing.assert_array_equal(elbo, REAL.score(NUMBERS, importance_samples=2000))


def test_grey_levels_are_drawn_before_they_are_scored():
    scores = CODEC.score(PICTURES, importance_samples=3)
    assert scores.shape == (23,)
    assert np.isfinite(scores).all()
    black = np.where(PICTURES > 127, 255, 0).astype(np.uint8)  # nothing to draw
    one, other = (CODEC.score(black, importance_samples=50, seed=s) for s in (0, 1))
    np.testing.assert_allclose(one, other, atol=2)


@pytest.mark.parametrize("make", [CODEC.encode, CODEC.score])
def test_no_rows_are_no_error(make):
    found = make(PICTURES[:0])
    assert len(found.loc if isinstance(found, tuple) else found) == 0


OTHER = np.array(["a"] * 5)
WRONG = [
    (lambda: CODEC.encode(PICTURES[0]), r"expected shape \(N, 4, 3\), got \(4, 3\); one alone is"),
    (lambda: CODEC.encode(PICTURES[:, :3]), r"expected shape \(N, 4, 3\), got \(23, 3, 3\)"),
    (lambda: CODEC.encode(PICTURES.reshape(23, 12)), r"got \(23, 12\)"),
    (lambda: CODEC.encode(3), r"got \(\)"),
    (lambda: CODEC.encode(None), "expected an array of numbers or booleans, got NoneType None"),
    (lambda: CODEC.encode(PICTURES / 255.0), "expected uint8, as this run was trained on, got fl"),
    (lambda: CODEC.encode(PICTURES > 9), "expected uint8, as this run was trained on, got bool"),
    (lambda: CODEC.encode(300 * PICTURES.astype(int)), "expected numbers from 0 to 255, as this"),
    (lambda: CODEC.encode(-PICTURES.astype(int)), "expected numbers from 0 to 255"),
    (lambda: CODEC.encode([["a"]]), "expected an array of numbers or booleans"),
    (lambda: REAL.encode(np.full((2, 5), np.nan)), "expected finite numbers, got nan"),
    (lambda: REAL.encode(np.full((2, 5), 1e300)), r"expected finite numbers, got 1e\+300"),
    (lambda: REAL.encode(NUMBERS[:, :4]), r"expected shape \(N, 5\), got \(9, 4\)"),
    (lambda: REAL.encode(NUMBERS.astype(complex)), "got complex128"),
    (lambda: CODEC.decode(np.ones((2, 4))), r"expected latent vectors of shape \(N, 3\), got \(2,"),
    (lambda: CODEC.decode(np.ones(3)), r"of shape \(N, 3\), got \(3,\)"),
    (lambda: CODEC.decode(np.ones((2, 3))), "z: expected points of S^2".replace("^", r"\^")),
    (lambda: REAL.decode([[np.inf, 0]]), "z: expected finite numbers"),
    (lambda: CODEC.sample(-1), "n=-1: expected a whole number from 0 up"),
    (lambda: CODEC.sample(2.5), "n=2.5: expected a whole number from 0 up"),
    (lambda: CODEC.interpolate(PICTURES, PICTURES[:2]), "a has 23 observations and b 2"),
    (lambda: CODEC.interpolate(PICTURES, PICTURES, 1), "steps=1: expected a whole number from 2"),
    (lambda: CODEC.interpolate(PICTURES, NUMBERS), r"b: expected shape \(N, 4, 3\)"),
    (lambda: CODEC.score(PICTURES, "auc"), "bound=auc: expected one of elbo, iwae"),
    (lambda: CODEC.score(PICTURES, importance_samples=0), "importance_samples=0: expected a whole"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_observation_is_refused_in_one_sentence(call, words):
    with pytest.raises(ValueError, match=words) as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("units", "given", "rows"),
    [
        (Units((2,), {"float32": 1}), np.array([[1, 2]]), [[1, 2]]),
        (Units((2,), {"bool": 1}, 1), np.array([[0, 1]], np.uint8), [[0, 1]]),
        (Units((2,), {"uint8": 1}, 1), np.array([[0.0, 1.0]]), [[0, 1]]),
        (Units((2,), {"int64": 8}, 1), np.array([[2, 8]], np.uint8), [[0.25, 1]]),
        (Units((2,), {"float64": 1}, is_direction=True), [[0.6004, 0.8]], [[0.6, 0.8]]),
        (Units((2,), {"uint8": 255, "bool": 1}, 1), np.array([[True, False]]), [[1, 0]]),
    ],
)
def test_units_take_what_means_the_same(units, given, rows):
    found = units.rows(np.asarray(given))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, rows, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_stand_where_they_stood(channels):
    images = np.moveaxis(RANDOM.integers(0, 256, (5, 3, 4, 6), np.uint8), 1, channels)
    units = Units(images.shape[1:], {"uint8": 255}, 1, channels=channels)
    rows = units.rows(images)
    red = images[:, 0] if channels == 1 else images[..., 0]
    np.testing.assert_allclose(rows[:, :24], red.reshape(5, -1) / np.float32(255))
    np.testing.assert_allclose(units.observations(rows), images, rtol=1e-6)


@pytest.mark.parametrize(
    ("units", "angles"),
    [
        (Units((2,), {"float64": 1}, angles="degrees"), [[0, 90], [359, 181]]),
        (Units((2,), {"float64": 1}, angles="degrees", first=-180.0), [[-179, 90], [45, -1]]),
        (Units((2,), {"float64": 1}, angles="radians", first=-np.pi), [[-3, 3], [0, 1.5]]),
        (Units((1, 2), {"float64": 1}, angles="degrees"), [[[0, 90]], [[359, 181]]]),
    ],
)
def test_angles_are_points_of_circles_in_rows_and_angles_again(units, angles):
    rows = units.rows(np.array(angles))
    assert (rows.shape, units.features) == ((2, 4), 4)
    turns = np.array(angles) * (np.pi / 180 if units.angles == "degrees" else 1)
    expected = np.stack([np.cos(turns), np.sin(turns)], -1).reshape(2, 4)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(units.observations(0.3 * rows), angles, atol=1e-3)
    assert Units.restored(units.saved()) == units


@pytest.mark.parametrize("angle", [[[90.0]], np.array([[-128]], np.int8)])
def test_degrees_are_not_taken_for_the_radians_of_a_run(angle):
    with pytest.raises(ValueError, match="angles in radians, as this run was trained on, got"):
        Units((1,), {"float64": 1}, angles="radians").rows(np.array(angle))
    unwrapped = Units((1,), {"float64": 1}, angles="unwrapped")
    np.testing.assert_allclose(unwrapped.rows(np.array([[2.5 * np.pi]])), [[0, 1]], atol=1e-6)


def test_units_are_saved_as_plain_values_and_those_of_before_follow():
    state = {"features": 12, "likelihood": "bernoulli", "units": BYTES.saved()}
    assert units_of(state) == BYTES
    old = units_of({"features": 12, "likelihood": "bernoulli", "image_shape": [4, 3]})
    np.testing.assert_array_equal(old.rows(PICTURES), BYTES.rows(PICTURES))
    assert units_of({"features": 5, "likelihood": "gaussian"}).shape == (5,)
    with pytest.raises(ValueError, match="are not the 11 numbers of a row"):
        units_of({**state, "features": 11})


def test_a_run_that_is_no_model_of_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a run folder"):
        svae.Run(tmp_path)
