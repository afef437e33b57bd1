"""Manifolds: what they say of points agrees with what is known, and a product with its factors."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from svae.manifolds import Euclidean, Product, Sphere

SHARES = torch.linspace(0, 1, 5, dtype=torch.float64)
TORUS = Product(Sphere(1), Sphere(1))
MANIFOLDS = [Euclidean(3), Sphere(2), TORUS, Product(Sphere(2), Product(Euclidean(2), Sphere(1)))]


def _points(manifold, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, manifold.ambient_dim, generator=generator, dtype=torch.float64)
    return _onto(manifold, points)


def _onto(manifold, points):
    if isinstance(manifold, Product):
        parts = zip(manifold.factors, manifold.split(points), strict=True)
        return torch.cat([_onto(*part) for part in parts], -1)
    return normalize(points, dim=-1) if isinstance(manifold, Sphere) else points


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_a_geodesic_is_the_shortest_way_at_a_constant_speed(manifold):
    first, last = _points(manifold, 7, 1), _points(manifold, 7, 2)
    way = manifold.geodesic(first, last, SHARES)
    assert way.shape == (7, 5, manifold.ambient_dim)
    assert manifold.contains(way)
    torch.testing.assert_close(way[:, 0], first)
    torch.testing.assert_close(way[:, -1], last)
    whole = manifold.distances(first, last).diagonal()
    for k, share in enumerate(SHARES):
        part = manifold.distances(first, way[:, k]).diagonal()
        torch.testing.assert_close(part, share * whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_distances_are_those_of_a_metric(manifold):
    x, y, z = (_points(manifold, 20, seed) for seed in range(3))
    torch.testing.assert_close(manifold.distances(x, y), manifold.distances(y, x).T)
    detour = manifold.distances(x, z)[:, :, None] + manifold.distances(z, y)[None]
    assert (manifold.distances(x, y) <= detour.amin(1) + 1e-9).all()


def test_the_distance_of_a_torus_is_that_of_its_angles():
    angles = torch.tensor([[0.0, 0.0], [0.3, -0.4], [math.pi, 1.0]], dtype=torch.float64)
    points = torch.stack([angles.cos(), angles.sin()], -1).flatten(-2)
    expected = torch.tensor([0.0, 0.5, math.hypot(math.pi, 1.0)], dtype=torch.float64)
    torch.testing.assert_close(TORUS.distances(points[:1], points)[0], expected)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_a_centre_lies_in_the_manifold_and_is_nearest_to_its_points(manifold):
    points = _points(manifold, 1, 3) + 0.1 * _points(manifold, 30, 4)
    points = _onto(manifold, points)
    (centre,) = manifold.centres(points, points.new_ones(30, 1))
    assert manifold.contains(centre[None])
    cost = (points - centre).square().sum()
    for seed in range(5, 25):
        other = _onto(manifold, centre[None] + 0.05 * _points(manifold, 1, seed))
        assert (points - other).square().sum() > cost


@pytest.mark.parametrize("manifold", [Sphere(1), Sphere(7), TORUS], ids=repr)
def test_standardised_coordinates_have_variance_one(manifold):
    points = manifold.standardised(_points(manifold, 40_000))
    z = (points.square().mean(0) - 1) / (points.square().std(0) / 200)
    assert z.abs().max() < 5


def test_what_does_not_lie_there_is_not_contained():
    assert not Sphere(2).contains(torch.tensor([[0.0, 0.0, 1.1]]))
    assert not TORUS.contains(torch.tensor([[1.0, 0.0, 0.5, 0.5]]))
    assert Euclidean(2).contains(torch.full((1, 2), 9.0))


def test_only_small_manifolds_have_a_grid():
    assert [m.grid() is None for m in (Sphere(3), Euclidean(3), TORUS)] == [True] * 3
    for manifold in (Sphere(1), Sphere(2), Euclidean(1), Euclidean(2)):
        points, rows, _ = manifold.grid()
        assert points.shape[-1] == manifold.ambient_dim
        assert len(points) % rows == 0
        assert manifold.contains(points)
