"""What every benchmark gives, rows of one table, and how their times are taken."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

Times = dict[str, list[float]]


class Row(NamedTuple):
    """One line of the table: `ours` and `theirs` in `unit`, `theirs` being that of `beside`.

    Where both were measured in turns, `ratio` is the median over the turns; else it is the ratio of
    the two numbers.
    """

    what: str
    unit: str
    ours: float
    beside: str = ""
    theirs: float | None = None
    ratio: float | None = None


def turns(calls: dict[str, Callable], repetitions: int, clock=time.perf_counter) -> Times:
    """Return the times of each call in seconds, the first of each left out.

    The calls take turns, so that what else happens on the machine meets all of them.
    """
    times = {name: [] for name in calls}
    for repetition in range(repetitions + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if repetition:
                times[name].append(clock() - start)
    return times


def row(what: str, unit: str, times: Times, ours: str, beside: str, *, per: float = 1.0) -> Row:
    """Return the row of two calls of `times`: medians in units of 1 / `per` s, median ratio."""
    ratio = statistics.median(a / b for a, b in zip(times[ours], times[beside], strict=True))
    medians = (per * statistics.median(times[name]) for name in (ours, beside))
    return Row(what, unit, next(medians), beside, next(medians), ratio)


def thread_clock() -> Callable[[], float]:
    """Return the processor's time where one thread works: other programs do not lengthen it."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
