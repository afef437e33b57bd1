"""Random streams named by what they are for, so that no run depends on where it was interrupted."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from svae.noise import undisturbed


def stream(device: torch.device | str, seed: int, *names: str | int) -> torch.Generator:
    """Return a generator on `device` seeded by (seed, *names), such as (0, "train", epoch).

    The same words always give the same stream, and different words independent ones: 64 bits of
    BLAKE2 over their text.
    """
    text = "/".join(str(word) for word in (seed, *names)).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return torch.Generator(device).manual_seed(number)


@contextmanager
def seeded(device: torch.device | str, seed: int, *names: str | int) -> Iterator[None]:
    """Let torch's own random numbers, such as dropout's, come from the stream (seed, *names).

    Afterwards torch's generators are as they were, see `undisturbed`.
    """
    with undisturbed(device):
        torch.manual_seed(stream("cpu", seed, *names).initial_seed())
        yield
