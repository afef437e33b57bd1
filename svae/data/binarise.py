"""Dynamic binarisation: a Bernoulli draw of every pixel."""

import torch
from torch import Tensor

_LARGEST = 2**15 - 1  # of int16
Generators = torch.Generator | tuple[torch.Generator, ...] | None


def bernoulli(intensities: Tensor, generator: Generators = None) -> Tensor:
    """Draw x ~ Bernoulli(p), float32, for probabilities of any shape: float p, or uint8 255 p.

    For uint8 a pixel is on when a uniform 16-bit number lies below 257 * intensity, so that 0 is
    never and 255 always on, and the probability is exact within 2^-16. One 64-bit random number
    serves four pixels: several times cheaper than a float for each. Of several generators each
    draws its row of the first axis, as it would alone.
    """
    if intensities.dtype != torch.uint8:
        if not isinstance(generator, tuple):
            return torch.bernoulli(intensities, generator=generator)
        rows = zip(intensities, generator, strict=True)
        return torch.stack([torch.bernoulli(row, generator=own) for row, own in rows])
    rows = intensities if isinstance(generator, tuple) else intensities.unsqueeze(0)
    count = rows[0].numel()
    words = rows.new_empty((len(rows), (count + 3) // 4), dtype=torch.int64)
    own = generator if isinstance(generator, tuple) else (generator,)
    for row, one in zip(words, own, strict=True):
        row.random_(-(2**63), None, generator=one)
    noise = words.view(torch.int16)[:, :count].view(intensities.shape)
    # both sides are shifted by -2^15 to fit int16, whose arithmetic wraps round as wanted
    threshold = intensities.to(torch.int16).mul_(257).sub_(2**15)
    # without the clamp a pixel of 255 would be off once in 65,536 draws
    # in place, since what makes booleans is not vectorised
    return noise.clamp_(max=_LARGEST - 1).lt_(threshold).float()
