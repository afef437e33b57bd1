"""Random numbers for a batch, from one generator or from one for each of its rows.

With R generators a batch shape ends in (R, B), and row r holds exactly what generator r alone would
give a batch shape that ends in (B,): R models that train side by side draw as each would alone.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Size, Tensor


class Rows(tuple):
    """One torch.Generator for each row of a batch."""


Source = torch.Generator | Rows | None  # None: torch's own generator

_DRAWING = threading.RLock()


@contextmanager
def undisturbed(device: torch.device | str) -> Iterator[None]:
    """Leave torch's own generators, of the CPU and of `device`, afterwards as they were.

    A process has one of each, so threads that draw from them take turns.
    """
    device = torch.device(device)
    devices = [] if device.type == "cpu" else [device]
    with _DRAWING, torch.random.fork_rng(devices=devices, device_type=device.type):
        yield


def uniform(shape: Size, like: Tensor, generator: Source) -> Tensor:
    """Return uniform numbers in [0, 1), one for each element of a batch."""
    if isinstance(generator, Rows):
        return _by_row(Tensor.uniform_, shape, like, generator, -2)
    return torch.rand(shape, dtype=like.dtype, device=like.device, **_named(generator))


def normal(shape: Size, like: Tensor, generator: Source, event_dim: int = 1) -> Tensor:
    """Return standard normal numbers; behind the batch come `event_dim` axes."""
    if isinstance(generator, Rows):
        return _by_row(Tensor.normal_, shape, like, generator, -2 - event_dim)
    return torch.randn(shape, dtype=like.dtype, device=like.device, **_named(generator))


def gamma(alpha: Tensor, generator: Source) -> Tensor:
    """Return Gamma(alpha, 1) variables, one for each element of a batch."""
    if not isinstance(generator, Rows):
        return torch._standard_gamma(alpha, **_named(generator))
    draws = [torch._standard_gamma(row, generator=own) for own, row in rows(generator, alpha)]
    return torch.stack(draws, -2)


def row_count(generator: Source) -> int:
    """Return how many generators there are."""
    return len(generator) if isinstance(generator, Rows) else 1


def rows(generator: Source, *batches: Tensor, axis: int = -2) -> Iterable[tuple]:
    """Return each generator with its row of every batch; a single one has the whole."""
    if isinstance(generator, Rows):
        return zip(generator, *(batch.unbind(axis) for batch in batches), strict=True)
    return [(generator, *batches)]


def _named(generator: torch.Generator | None) -> dict[str, torch.Generator]:
    # torch.compile cannot trace the word `generator` where a size is not fixed, not even with None
    return {} if generator is None else {"generator": generator}


def _by_row(fill: Callable, shape: Size, like: Tensor, generators: Rows, axis: int) -> Tensor:
    # each row is contiguous: of other memory torch fills the elements in another order
    rest = list(shape)
    noise = like.new_empty((rest.pop(axis), *rest))
    for row, generator in zip(noise, generators, strict=True):
        fill(row, generator=generator)
    return noise.movedim(0, axis)
