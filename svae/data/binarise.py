"""Dynamic binarisation: a Bernoulli draw of every pixel."""

import torch
from torch import Tensor

from svae.noise import Source, row_count, rows

_LARGEST = 2**15 - 1  # of int16


def bernoulli(intensities: Tensor, generator: Source = None) -> Tensor:
    """Draw x ~ Bernoulli(p), float32, for probabilities of any shape: float p, or uint8 255 p.

    For uint8 a pixel is on when a uniform 16-bit number lies below 257 * intensity, so that 0 is
    never and 255 always on, and the probability is exact within 2^-16. One 64-bit random number
    serves four pixels: several times cheaper than a float for each. Of several generators each
    draws its row of the first axis, as it would alone.
    """
    if intensities.dtype != torch.uint8:
        drawn = torch.empty_like(intensities)
        for own, row, p in rows(generator, drawn, intensities, axis=0):
            torch.bernoulli(p, generator=own, out=row)
        return drawn
    models = row_count(generator)
    count = intensities.numel() // models
    words = intensities.new_empty((models, (count + 3) // 4), dtype=torch.int64)
    for own, row in rows(generator, words, axis=0):
        row.random_(-(2**63), None, generator=own)
    noise = words.view(torch.int16)[:, :count].reshape(intensities.shape)
    # both sides are shifted by -2^15 to fit int16, whose arithmetic wraps round as wanted
    threshold = intensities.to(torch.int16).mul_(257).sub_(2**15)
    # without the clamp a pixel of 255 would be off once in 65,536 draws
    # in place, since what makes booleans is not vectorised
    return noise.clamp_(max=_LARGEST - 1).lt_(threshold).float()
