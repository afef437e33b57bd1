"""The table of `python -m benchmarks`: what its cells hold."""

import pytest

from benchmarks.__main__ import line, parts
from benchmarks.timing import Row, row, turns


def test_a_row_has_medians_in_its_unit_and_the_median_ratio():
    times = {"ours": [2.0, 3.0, 9.0], "theirs": [4.0, 5.0, 6.0]}
    assert row("a step", "ms", times, "ours", "theirs", per=1e3) == Row(
        "a step", "ms", 3000.0, "theirs", 5000.0, 0.6
    )


@pytest.mark.parametrize(
    ("given", "cells"),
    [
        (Row("a", "s", 2.0, "b", 4.0, 0.25), "a | s | 2 | 2 | b | 4 | 0.25"),
        (Row("a", "s", 2.0, "b", 4.0), "a | s | 2 | 2 | b | 4 | 0.5"),
        (Row("a", "", 1e-9, "b", 0.0), "a |  | 2 | 1e-09 | b | 0 | "),
        (Row("a", "GiB", 0.5), "a | GiB | 2 | 0.5 |  |  | "),
    ],
)
def test_a_line_has_what_is_known(given, cells):
    assert line(given, 2) == f"| {cells} |"


def test_calls_take_turns_and_the_first_turn_is_left_out():
    called, clock = [], iter(range(100))
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    assert turns(calls, 2, lambda: next(clock)) == {"a": [1, 1], "b": [1, 1]}
    assert called == list("ababab")


def test_every_part_is_measured_by_a_function():
    assert all(callable(rows) for part in parts(None).values() for _, rows in part)
