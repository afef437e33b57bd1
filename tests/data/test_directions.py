"""Directional data: read with clear errors, and measured in the area of the sphere."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch.nn.functional import normalize

from svae.data import directions
from svae.data.units import Units
from svae.models.likelihoods import LIKELIHOODS, RealVectors, UnitVectors


def _write(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    return str(tmp_path / "x.csv")


def test_angles_become_points_of_circles(tmp_path):
    file = _write(tmp_path, "phi,psi,label\n" + "90,180,1\n-90,0,7\n" * 20)
    data = directions.load(file, unit="degrees")
    assert (data.likelihood, data.spec.features, data.test.directions) == ("von_mises", 4, 2)
    expected = torch.tensor([[0.0, 1, -1, 0], [0, -1, 1, 0]])
    torch.testing.assert_close(data.train.values[:2], expected)
    assert data.train.labels[:2].tolist() == [1, 7]
    assert [len(s) for s in (data.train, data.validation, data.test)] == [28, 6, 6]
    radians = directions.load(_write(tmp_path, f"{math.pi / 2}\n" * 40), unit="radians")
    torch.testing.assert_close(radians.train.values[0], torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"unit": "degrees"}, "0,359\n", {"angles": "degrees", "first": 0.0}),
        ({"unit": "degrees"}, "-1,90\n", {"angles": "degrees", "first": -180.0}),
        ({"unit": "radians", "unwrapped": False}, "0,3\n", {"angles": "radians"}),
        ({"unit": "degrees"}, "-350,-1\n", {"angles": "degrees", "first": -360.0}),
        ({"unit": "degrees"}, "-10,340\n", {"angles": "degrees", "first": -10.0}),
        ({"unit": "degrees"}, "-1e-13,340\n", {"angles": "degrees"}),
        ({"unit": "radians"}, "4,9\n", {"angles": "unwrapped", "first": 4.0}),
        ({"unit": "radians"}, "1,9\n", {"angles": "unwrapped"}),
        ({"unit": "vectors"}, ".6,.8\n", {"is_direction": True}),
        ({"unit": "vectors", "likelihood": "gaussian"}, ".6,.8\n", {"is_direction": True}),
    ],
)
def test_a_person_s_units_are_those_of_the_file(tmp_path, options, text, expected):
    data = directions.load(_write(tmp_path, text * 30), **options)
    assert data.units == Units((2,), {"float64": 1}, **expected)
    given = np.array([[float(cell) for cell in text.split(",")]])
    torch.testing.assert_close(data.units.rows(given), data.train.values[:1])


def test_labels_that_are_no_whole_numbers_are_called_by_them(tmp_path):
    data = directions.load(_write(tmp_path, "phi,label\n" + "1,.5\n2,1.5\n" * 20), unit="radians")
    assert (data.classes, data.class_names) == ([0, 1], ["0.5", "1.5"])


def test_unit_vectors_are_read_and_rounding_is_mended(tmp_path):
    data = directions.load(_write(tmp_path, "0.577,0.577,0.577\n" * 30), unit="vectors")
    assert (data.likelihood, data.spec.features, data.test.directions) == ("vmf", 3, 3)
    torch.testing.assert_close(data.train.values.norm(dim=-1), torch.ones(21))


@pytest.mark.parametrize(
    ("text", "unit", "words"),
    [
        ("1,2\n", None, "dataset.unit=null: expected one of degrees"),
        ("1,2\n", "turns", "dataset.unit=turns"),
        ("", "degrees", "found none"),
        ("phi,psi\n", "degrees", "found none"),
        ("phi,psi\n1,2\n3,NA\n", "degrees", "line 3, column psi: expected a number, got 'NA'"),
        ("1,2\n3,inf\n", "degrees", "line 2, column 2: expected a number, got 'inf'"),
        ("1,2\n3\n", "degrees", "line 2: expected 2 columns, got 1"),
        ("0,1\n1,1\n", "vectors", "line 2: expected a unit vector of two numbers or more, got 2"),
        ("1\n1\n", "vectors", "got 1 of length 1"),
        ("phi,psi\n1,2\n,\n", "degrees", "line 3, column phi: expected a number, got ''"),
        (",\n1,2\n", "degrees", "line 1, column 1: expected a number, got ''"),
        ("phi,label\n1,2\n,\n", "degrees", "line 3, column phi: expected a number, got ''"),
        ("1,2\n3,4\n", "degrees", "leave a split of 2 directions empty"),
    ],
)
def test_refused(tmp_path, text, unit, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        directions.load(_write(tmp_path, text), unit=unit)


def test_lines_without_a_cell_are_passed_over(tmp_path):
    data = directions.load(_write(tmp_path, "\nphi\n\n" + "1\n\n" * 20), unit="degrees")
    assert sum(len(split) for split in (data.train, data.validation, data.test)) == 20


@pytest.mark.parametrize("angle", [90.0, -7.0, 360.0])
def test_degrees_are_not_taken_for_radians(tmp_path, angle):
    file = _write(tmp_path, f"label,phi\n1,3.1\n2,-6.28\n1,{angle}\n" + "2,0\n" * 37)
    with pytest.raises(ValueError, match=f"line 4, column phi: {angle:g} radians .*degrees"):
        directions.load(file, unit="radians", unwrapped=False)
    kept = directions.load(file, unit="radians", unwrapped=True)
    assert float(kept.train.values[2, 0]) == pytest.approx(math.cos(angle), abs=1e-6)
    assert len(directions.load(file, unit="degrees", unwrapped=False).train) == 28


def test_of_a_long_cell_the_beginning_is_shown(tmp_path):
    with pytest.raises(ValueError, match="line 2, column phi") as refused:
        directions.load(_write(tmp_path, f"phi\n{'secret ' * 1000}\n"), unit="degrees")
    assert str(refused.value).endswith(f"got {repr('secret ' * 1000)[:40]}")


def test_what_is_missing_or_unknown_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected a readable CSV file"):
        directions.load(str(tmp_path / "none.csv"), unit="degrees")
    with pytest.raises(ValueError, match=r"dataset\.likelihood=poisson"):
        directions.load(likelihood="poisson")


@pytest.mark.parametrize("likelihood", ["vmf", "gaussian"])
def test_both_densities_integrate_to_one_over_the_circle(likelihood):
    mean, turn = torch.tensor([[0.9, -0.4]]), np.linspace(-np.pi, np.pi, 2001)
    x = torch.from_numpy(np.column_stack([np.cos(turn), np.sin(turn)])).float()
    law = RealVectors(mean, torch.tensor([[0.7, 0.3]])) if likelihood == "gaussian" else None
    law = law or UnitVectors(5 * mean[:, None])
    density = law.log_density_on_spheres(x, 2).double().exp()
    assert integrate.trapezoid(density, turn) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("p", [2, 3, 6])
def test_the_projected_normal_is_the_integral_along_the_ray(p):
    generator = torch.Generator().manual_seed(p)
    mean, scale = (
        torch.randn(1, 2 * p, generator=generator),
        torch.rand(1, 2 * p, generator=generator),
    )
    law = RealVectors(mean, scale + 0.2)
    x = normalize(torch.randn(2, p, generator=generator), dim=-1)
    expected = 0.0
    for k in range(2):
        mu, sigma = (v[0, k * p : (k + 1) * p].double().numpy() for v in (law.loc, law.scale))

        def density(r, mu=mu, sigma=sigma, k=k):
            z = (r * x[k].double().numpy() - mu) / sigma
            return r ** (p - 1) * np.exp(-(z @ z) / 2 - np.log(sigma).sum())

        whole = integrate.quad(density, 0, 20, epsabs=0, epsrel=1e-10, limit=300)[0]
        expected += np.log(whole) - p / 2 * np.log(2 * np.pi)
    found = law.log_density_on_spheres(x.reshape(1, -1), p).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_row_of_circles_has_the_density_of_von_mises():
    natural = torch.tensor([[[3.0, 4.0], [0.0, -2.0]]], dtype=torch.float64)
    angles = torch.tensor([0.3, -1.0], dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin()], -1).reshape(1, -1)
    expected = 0.0
    for eta, angle in zip(natural[0], angles, strict=True):
        kappa, mode = eta.norm().item(), math.atan2(eta[1], eta[0])
        expected += kappa * math.cos(angle - mode) - math.log(2 * math.pi * special.i0(kappa))
    assert UnitVectors(natural).log_prob(x).item() == pytest.approx(expected)


def test_the_decoder_of_directions_learns_from_nothing():
    decoded = torch.zeros(3, 6, requires_grad=True)
    law = LIKELIHOODS["von_mises"](6)(decoded)
    x = normalize(torch.randn(3, 3, 2), dim=-1).flatten(-2)
    log_prob = law.log_prob(x)
    torch.testing.assert_close(log_prob, torch.full((3,), -3 * math.log(2 * math.pi)))
    log_prob.sum().backward()
    assert decoded.grad.isfinite().all()
    assert law.sample().shape == (3, 6)
    assert law.mean.shape == (3, 6)


def test_the_deviations_of_the_heteroscedastic_likelihood_are_the_decoder_s():
    decoded = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    family = LIKELIHOODS["heteroscedastic"](4)
    x = torch.randn(5, 4)
    scale = torch.log1p(decoded[:, 4:].exp())
    expected = torch.distributions.Normal(decoded[:, :4], scale).log_prob(x).sum(-1)
    assert family.width == 8
    torch.testing.assert_close(family(decoded).log_prob(x), expected)
    assert directions.load(likelihood="heteroscedastic").likelihood == "heteroscedastic"
