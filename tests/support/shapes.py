"""Coloured shapes on coloured grounds: a small set of photographs."""

import numpy as np


def coloured_shapes(count, height=32, width=32, seed=0):
    """Draw a disc, a square or a triangle each: (count, height, width, 3) uint8, and which."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = random.integers(3, size=count)
    images = np.empty((count, height, width, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        centre = random.uniform(0.35, 0.65, 2) * (height, width)
        size = random.uniform(0.15, 0.32) * min(height, width)
        down, right = y - centre[0], x - centre[1]
        inside = (
            down**2 + right**2 < size**2,
            np.maximum(abs(down), abs(right)) < 0.9 * size,
            (down < 0.8 * size) & (abs(right) < 0.6 * (down + size)),
        )[label]
        ground, ink = random.integers(20, 236, (2, 3))
        noise = random.normal(0, 4, image.shape)
        image[:] = (np.where(inside[..., None], ink, ground) + noise).round().clip(0, 255)
    return images, labels
