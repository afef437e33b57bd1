"""benchmarks.bits sees the change of a single bit, wherever a run keeps a number."""

import csv
import json

import numpy as np
import pytest
import torch

from benchmarks.bits import compare

WEIGHT = torch.tensor([[1.0, -0.0], [float("nan"), 4.0]])
NEXT = torch.nextafter(WEIGHT, torch.tensor(float("inf")))


def write(run, rows=3, elbo=-1.5, seconds=1.0, weight=WEIGHT, loc=WEIGHT, **more):
    """Write the files of a run folder."""
    (run / "checkpoints").mkdir(parents=True)
    table = [{"epoch": n, "val/elbo": elbo - n, "seconds": seconds} for n in range(1, rows + 1)]
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    results = {"test/elbo": -2.5, "seconds": seconds, "versions": {"torch": seconds}, **more}
    (run / "results.json").write_text(json.dumps(results))
    content = {"model": {"weight": weight}, "history": table, "epoch": {"number": rows}}
    torch.save(content, run / "checkpoints" / "last.pt")
    np.savez(run / "latents.npz", loc=loc.numpy())
    return run


@pytest.fixture
def before(tmp_path):
    return write(tmp_path / "before")


def test_only_the_time_differs(before, tmp_path):
    assert compare(before, write(tmp_path / "now", seconds=2.0)) == (True, "equal")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"elbo": -1.5000000000000004}, "metrics.csv [1] val/elbo: -2.5 before, -2.500000000000"),
        ({"rows": 4}, "metrics.csv length: 3 before, 4 now"),
        ({"test/elbo": -2.5000000000000004}, "results.json test/elbo: -2.5 before, -2.5000000000"),
        ({"weight": NEXT}, "checkpoints/last.pt model weight: [0, 0] 1.0 before, 1.00000011"),
        ({"weight": WEIGHT + 0}, "checkpoints/last.pt model weight: [0, 1] -0.0 before, 0.0 now"),
        (
            {"weight": WEIGHT.double()},
            "last.pt model weight: float32 (2, 2) before, float64 (2, 2)",
        ),
        ({"loc": NEXT}, "latents.npz loc: [0, 0] 1.0 before, 1.00000011"),
    ],
)
def test_a_number_differs(before, tmp_path, changed, words):
    equal, found = compare(before, write(tmp_path / "now", **changed))
    assert not equal
    assert words in found


def test_a_file_is_missing(before, tmp_path):
    now = write(tmp_path / "now")
    (now / "latents.npz").unlink()
    assert compare(before, now) == (False, "differs: latents.npz loc: missing now")


def test_a_new_number_is_named(before, tmp_path):
    now = write(tmp_path / "now", **{"test/new": 1.0})
    assert compare(before, now) == (True, "equal (new: results.json test/new, 1 in all)")


def test_an_empty_folder_equals_nothing(tmp_path):
    assert not compare(tmp_path, tmp_path)[0]
