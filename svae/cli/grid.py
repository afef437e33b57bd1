"""The grid of a sweep: the values of each key, and the combinations that are worth a check."""

import itertools
import math

from hydra.core.override_parser.types import Override

from svae.configuration.messages import Refused, one_line

NAMES = ("grid", "basic")  # the sweepers whose runs are known beforehand: ours, and Hydra's
_MOST = 10_000  # runs of a sweep
_CHECKED_JOBS = 256  # beyond, every value is checked once instead of every combination


def choices(swept: list[Override], searches: bool) -> list[list[str]]:
    """Return the values of each key that is swept, as overrides."""
    found = {}
    for o in swept:
        key = o.get_key_element()
        found.pop(key, None)  # what is typed replaces what a preset sweeps
        if o.is_sweep_override() and o.is_discrete_sweep():
            found[key] = [f"{key}={value}" for value in _values(o)]
        elif o.is_sweep_override() and not searches:
            raise Refused(
                f"{o.input_line}: an interval needs a sweeper that draws from it, expected values "
                "such as a,b or range(1,5)"
            )
    runs = math.prod(map(len, found.values()))
    if runs > _MOST and not searches:
        raise Refused(f"--multirun: {runs} runs, expected at most {_MOST}")
    return list(found.values())


def _values(override: Override) -> list[str]:
    try:
        values = list(itertools.islice(override.sweep_string_iterator(), _MOST + 1))
    except (ValueError, TypeError) as error:  # such as a step of 0
        raise Refused(f"{override.input_line}: {one_line(error)}") from error
    if not 1 <= len(values) <= _MOST:
        count = f"more than {_MOST} values" if values else "no value"
        raise Refused(f"{override.input_line}: {count}, expected 1 to {_MOST}")
    return values


def jobs(overrides: list[Override]) -> list[list[str]]:
    """Return the overrides of each job of a grid; the values that were typed last vary fastest."""
    lines = {}
    for o in overrides:
        key = o.get_key_element()
        swept = o.is_sweep_override()
        values = o.sweep_string_iterator() if swept else [o.get_value_element_as_str()]
        lines[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*lines.values())]


def combinations(choices: list[list[str]]) -> list[tuple[str, ...]]:
    """Return the jobs of a grid; of a large one, so many that every value occurs."""
    product = itertools.islice(itertools.product(*choices), _CHECKED_JOBS + 1)
    jobs = list(product)
    if len(jobs) <= _CHECKED_JOBS:
        return jobs
    first = [options[0] for options in choices]
    return [
        (*first[:i], option, *first[i + 1 :])
        for i, options in enumerate(choices)
        for option in options
    ]
