"""The convolutional auto-encoder, for images."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svae.models.autoencoder import EncoderDecoder
from svae.models.dense import mlp
from svae.models.likelihoods import likelihood_family
from svae.models.stack import stack

SMALLEST = 8  # side of an image


class ConvolutionalAutoEncoder(EncoderDecoder):
    """Convolutions that make an image small, an MLP, a latent family, and the mirror of all.

    Height and width are halved `depth` times, rounded down: twice by the first layer, with kernels
    of 8 x 8 at every fourth pixel, and once by each further one, with kernels of 4 x 4 at every
    second. (Images that are halved once have one layer of the second kind.) The first layer has
    `channels` channels, each further one twice as many. On what is left work dense layers of the
    widths `hidden`. The decoder has transposed convolutions, each to the size that its mirror
    image had, an odd one too. ReLU between all. The decoder reads vectors with components of
    variance 1, see `EncoderDecoder`.

    Args:
        features: D, the length of an observation.
        latent: a family from `svae.models.latent`.
        likelihood: one of `LIKELIHOODS`, or a class of that kind.
        image_shape: (height, width) or (channels, height, width) of an observation.
        channels: of the first layer.
        depth: how often the image is halved; None halves until the shorter side has 4 to 7 pixels.
        hidden: widths of the dense layers, the encoder's first one first.
        half: see `EncoderDecoder`.

    Raises:
        ValueError: for observations that are no images, or too small ones.
    """

    def __init__(
        self,
        features: int,
        latent,
        likelihood: str | type[nn.Module],
        image_shape: tuple[int, ...] | None,
        channels: int = 32,
        depth: int | None = None,
        hidden: Sequence[int] = (256,),
        half: bool = False,
    ):
        super().__init__(latent, half, unit_variance=True)
        planes, *sides = _shape_of(image_shape, features)
        strides = _strides(_depth_of(sides, depth))
        sizes = [tuple(sides)]
        for stride in strides:
            sizes.append(tuple(side // stride for side in sizes[-1]))
        widths = [channels * 2**number for number in range(len(strides))]
        smallest = (widths[-1], *sizes[-1])
        family = likelihood_family(likelihood, features)
        down = zip(pairwise((planes, *widths)), sizes, strides, strict=False)
        self.encoder = nn.Sequential(
            nn.Unflatten(-1, (planes, *sides)),
            *(part for pair, *rest in down for part in (Shrinking(*pair, *rest), nn.ReLU())),
            nn.Flatten(-3),
            *mlp(prod(smallest), *hidden, latent.parameters),
        )
        up = zip(pairwise((_planes_of(family, sides), *widths)), sizes, strides, strict=False)
        layers = [(Growing(*reversed(pair), *rest), nn.ReLU()) for pair, *rest in up]
        self.decoder = nn.Sequential(
            *mlp(latent.manifold.ambient_dim, *reversed(hidden), prod(smallest)),
            nn.Unflatten(-1, smallest),
            *(part for layer in reversed(layers) for part in reversed(layer)),
            nn.Flatten(-3),
        )
        self.likelihood_family = family


def _shape_of(image_shape: tuple[int, ...] | None, features: int) -> tuple[int, ...]:
    """Return (channels, height, width)."""
    if image_shape is None:
        raise ValueError(
            f"network=conv: convolves images, and an observation is {features} numbers without a "
            "height and a width, expected network=mlp"
        )
    if min(image_shape[-2:]) < SMALLEST:
        found = " x ".join(map(str, image_shape[-2:]))
        raise ValueError(
            f"network=conv: expected images of {SMALLEST} x {SMALLEST} pixels or more, got {found}"
        )
    return image_shape if len(image_shape) == 3 else (1, *image_shape)


def _depth_of(sides: Sequence[int], depth: int | None) -> int:
    """Return how often both sides are halved."""
    most = min(sides).bit_length() - 1  # which leaves one pixel
    if depth is not None and depth > most:
        raise ValueError(
            f"network.depth={depth}: halves images of {sides[0]} x {sides[1]} pixels too often, "
            f"expected at most {most}"
        )
    return depth or most - 2


def _strides(depth: int) -> list[int]:
    return [2] if depth == 1 else [4] + [2] * (depth - 2)


def _planes_of(family: nn.Module, sides: Sequence[int]) -> int:
    """Return how many numbers the decoder gives for each pixel."""
    planes, rest = divmod(family.width, prod(sides))
    if rest:
        raise ValueError(
            f"network=conv: gives each of {prod(sides)} pixels as many numbers, which "
            f"{family.width} are not; expected another likelihood, or network=mlp"
        )
    return planes


class _Convolution(nn.Module):
    """A convolution with windows of twice its stride, over any number of leading axes.

    A window for each whole stride within the side, in the middle: so every pixel is in one.

    Args:
        shape: of the kernels, without their height and width.
        outputs: how many channels it gives.
        fan_in: how many numbers each of its outputs is made of.
        convolve: what it does with (images, weight, bias).
    """

    def __init__(
        self, shape: tuple[int, int], outputs: int, stride: int, fan_in: int, convolve: Callable
    ):
        super().__init__()
        bound = fan_in**-0.5  # as `nn.Linear` and `nn.Conv2d` have it
        self.weight = nn.Parameter(torch.empty(*shape, 2 * stride, 2 * stride))
        self.bias = nn.Parameter(torch.empty(outputs))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        self.convolve = convolve

    def forward(self, images: Tensor) -> Tensor:
        return _over(images, partial(self.convolve, weight=self.weight, bias=self.bias))

    @staticmethod
    def stacked(layers: Sequence["_Convolution"]) -> "StackedConvolution":
        """Return the layers of several models as one, see `svae.models.stack`."""
        return StackedConvolution(layers)


class Shrinking(_Convolution):
    """From images (..., C, H, W) of a `size` (H, W) to (..., outputs, H // stride, W // stride)."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int):
        convolve = partial(F.conv2d, stride=stride, padding=_padding(size, stride))
        fan_in = inputs * 4 * stride**2
        super().__init__((outputs, inputs), outputs, stride, fan_in, convolve)


class Growing(_Convolution):
    """The transposed convolution that has the sizes of `Shrinking` the other way round."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int):
        convolve = partial(_grow, size=size, stride=stride)
        super().__init__((inputs, outputs), outputs, stride, inputs * 4, convolve)


def _padding(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return how far the first windows begin before the first pixel."""
    height, width = (stride // 2 - side % stride // 2 for side in size)
    return height, width


def _grow(
    images: Tensor, weight: Tensor, bias: Tensor, size: tuple[int, int], stride: int
) -> Tensor:
    """Return the transposed convolution of images (N, C, h, w), to (N, outputs, *size).

    One of stride 4 gives the four pixels of each cell of 2 x 2 as channels, by stride 2. It is the
    same sum: to one channel alone torch takes four times as long on a processor.
    """
    cell = stride // 2
    kernels = weight.unflatten(-1, (4, cell)).unflatten(-3, (4, cell)).permute(0, 1, 3, 5, 2, 4)
    # whole cells before the first pixel are not computed, others cut off; so it is at the end
    before = [divmod(padding, cell) for padding in _padding(size, stride)]
    cells = [-(-(rest + side) // cell) for (_, rest), side in zip(before, size, strict=True)]
    padding = [whole for whole, _ in before]
    computed = zip(images.shape[-2:], padding, cells, strict=True)
    more = [wanted - 2 * (small + 1 - whole) for small, whole, wanted in computed]
    grown = F.conv_transpose2d(
        images, kernels.flatten(1, 3), bias.repeat_interleave(cell**2), 2, padding, more
    )
    (_, top), (_, left) = before
    return F.pixel_shuffle(grown, cell)[..., top : top + size[0], left : left + size[1]]


class StackedConvolution(nn.Module):
    """A layer of R models, each for its own row: images (..., R, batch, C, H, W).

    One after the other, to the bits of each alone: what a stack saves is not here but around it.
    """

    def __init__(self, layers: Sequence[_Convolution]):
        super().__init__()
        self.weight = nn.Parameter(stack([layer.weight for layer in layers]))
        self.bias = nn.Parameter(stack([layer.bias for layer in layers]))
        self.convolve = layers[0].convolve

    def forward(self, images: Tensor) -> Tensor:
        rows = zip(images.unbind(-5), self.weight, self.bias, strict=True)
        made = [_over(own, partial(self.convolve, weight=W, bias=b[0])) for own, W, b in rows]
        return torch.stack(made, -5)


def _over(images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a function of (N, C, H, W) makes of images with other leading axes."""
    made = function(images.reshape(-1, *images.shape[-3:]))
    return made.unflatten(0, images.shape[:-3])
