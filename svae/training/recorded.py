"""A training step as a CUDA graph: the CPU launches one thing where it launched hundreds.

Reference: the notes "CUDA graphs" of PyTorch's documentation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from svae.objectives import Elbo

# steps that make what is made once: workspaces, Adam's moments, tables of coefficients
WARM_UP = 3
Outcome = tuple[Elbo, Tensor]


class CapturedStep:
    """Does what `step` does with a batch, from the fourth one on by a graph that is recorded then.

    A batch of another shape, as the last of an epoch, is left to `step` itself. All calls belong
    into one `side_stream`.

    Args:
        step: what to do with a batch, a tensor; reads nothing from the device.
        generators: those that `step` draws from, on the device, beside torch's own.

    Raises:
        ValueError: when the step cannot be recorded, or would repeat its random numbers.
    """

    def __init__(self, step: Callable[[Tensor], Outcome], generators: Sequence[torch.Generator]):
        self._step, self._generators = step, generators
        self._calls = 0
        self._batch = self._replay = self._outcome = None

    def __call__(self, batch: Tensor) -> Outcome:
        self._calls += 1
        if self._calls <= WARM_UP or (self._replay and batch.shape != self._batch.shape):
            return self._step(batch)
        if self._replay is None:
            self._batch = batch.clone()
            self._replay, self._outcome = _record(self._step, self._batch, self._generators)
        self._batch.copy_(batch)
        self._replay()
        # the next replay writes to the same memory
        bound, noted = self._outcome
        return bound.map(Tensor.clone), noted.clone()


def _record(
    step: Callable[[Tensor], Outcome], batch: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Callable[[], None], Outcome]:
    """Return a function that does `step` with what lies in `batch`, and where its outcome lies."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        # other threads may use the device meanwhile
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            outcome = step(batch)
        finally:
            graph.capture_end()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"trainer.cuda_graph: this step cannot be recorded, expected false ({reason})"
        ) from error
    # torch's own is always recorded; a compiled step draws from it alone
    drawn = [*generators, torch.cuda.default_generators[torch.cuda.current_device()]]
    before = [generator.get_offset() for generator in drawn]

    def replay() -> None:
        graph.replay()
        if before and [generator.get_offset() for generator in drawn] == before:
            raise ValueError("trainer.cuda_graph: random numbers repeat themselves, expected false")
        before.clear()

    return replay, outcome


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """Let everything run on a stream of its own, as recording wants it, in order with the rest."""
    main, side = torch.cuda.current_stream(device), _side(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        yield
    main.wait_stream(side)


@cache
def _side(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
