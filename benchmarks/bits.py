"""Whether two run folders hold the same numbers, bit for bit."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILES = ("*.csv", "results.json", "*.pt", "*.npz")  # that which tells most is first
# at any depth: what may differ between equal runs, words, settings that last.pt holds, and what it
# says of the rows of metrics.csv (their hash, of which the seconds are a part; once all of them)
IGNORED = {"seconds", "versions", "device", "commit", "split", "verdict", "param_groups"}
IGNORED |= {"table", "history"}


def compare(before: Path, now: Path) -> tuple[bool, str]:
    """Return whether `now` has every number of the run folder `before`, and if not, what differs.

    A number that only `now` has is named, but is no difference.
    """
    old, new = numbers(before), numbers(now)
    if not old:
        return False, f"no numbers in {before}"
    for name in (name for name in old if name in new):
        if words := difference(old[name], new[name]):
            return False, f"differs: {name}: {words}"
    if missing := [name for name in old if name not in new]:
        return False, f"differs: {missing[0]}: missing now"
    added = [name for name in new if name not in old]
    return True, f"equal (new: {added[0]}, {len(added)} in all)" if added else "equal"


def numbers(run: Path) -> dict[str, np.ndarray | str]:
    """Return every number in the files of a run folder, by file and place.

    Those of tables and results are text, which has all their digits.
    """
    found = {}
    for pattern in FILES:
        for path in sorted(run.rglob(pattern)):
            found |= dict(_leaves(_read(path), f"{path.relative_to(run)}"))
    return found


def _read(path: Path) -> Any:
    match path.suffix:
        case ".csv":
            with path.open(newline="") as file:
                return list(csv.DictReader(file))
        case ".json":
            return json.loads(path.read_text())
        case ".pt":
            return torch.load(path, map_location="cpu", weights_only=True)
        case ".npz":
            return dict(np.load(path))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield the arrays in nested containers, and as text everything else."""
    if isinstance(value, list):
        value = {"length": len(value)} | {f"[{n}]": child for n, child in enumerate(value, 1)}
    if isinstance(value, dict):
        for key, child in value.items():
            if key not in IGNORED:
                yield from _leaves(child, f"{name} {key}")
    elif isinstance(value, torch.Tensor):
        yield name, value.numpy()
    else:
        yield name, value if isinstance(value, np.ndarray) else str(value)


def difference(old: np.ndarray | str, new: np.ndarray | str) -> str | None:
    """Return in words how two of them differ, None where their bits are the same."""
    if isinstance(old, str) or isinstance(new, str):
        return None if str(old) == str(new) else f"{old} before, {new} now"
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype} {old.shape} before, {new.dtype} {new.shape} now"
    # of their bytes: nan equals nan, and -0.0 is not 0.0
    old_bytes, new_bytes = (np.frombuffer(array.tobytes(), np.uint8) for array in (old, new))
    if not (unequal := np.flatnonzero(old_bytes != new_bytes)).size:
        return None
    place = np.unravel_index(unequal[0] // old.itemsize, old.shape)
    return f"[{', '.join(map(str, place))}] {old[place]} before, {new[place]} now"
