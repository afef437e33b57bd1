"""Labelled points in a space or on a sphere, and their distances."""

import torch
import torch.nn.functional as F

from svae.manifolds import Euclidean, Sphere


def labelled_points(count, seed=0, geodesic=False):
    """Labelled points in R^4 or on S^3, of five overlapping groups, float64."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = torch.randint(5, (count,), generator=generator)
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    points = 2 * centres[labels] + noise
    return (F.normalize(points, dim=-1) if geodesic else points), labels


def manifold_of(geodesic):
    return Sphere(3) if geodesic else Euclidean(4)


def distances_of(points, others, geodesic):
    return (points @ others.T).clamp(-1, 1).acos() if geodesic else torch.cdist(points, others)
