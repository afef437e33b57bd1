"""Time and accuracy beside public packages and beside the matrix products, as one table.

    python -m benchmarks [PART ...] [root=FOLDER]

Without a part it is the whole table, in some half an hour: for a quiet machine. Peers are the
packages power-spherical, hyperspherical_vae (s-vae-pytorch), scipy, mpmath and torch_geometric;
rows of those that are not installed are left out. FOLDER holds Cora's files, which are downloaded
otherwise. On a machine with a GPU there are rows of it, too.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import date
from functools import partial
from pathlib import Path

import torch

from benchmarks import command, distributions, graphs, replicas, steps
from benchmarks.timing import Row, threads

COLUMNS = ("what", "unit", "threads", "svae", "beside", "there", "svae / there")
PEERS = ("power-spherical", "hyperspherical-vae", "scipy", "mpmath", "torch-geometric")

Part = Callable[[], Iterator[Row]]


def parts(root: str | None) -> dict[str, list[tuple[int, Part]]]:
    """Return the parts by name: with how many threads, and what yields their rows."""
    cores = os.cpu_count() or 1
    both = sorted({1, cores})
    found = {
        "distributions": [(1, distributions.rows)],
        "steps": [(count, steps.steps) for count in both],
        "families": [(1, steps.families)],
        "networks": [(1, steps.networks)],
        "profile": [(count, steps.profile) for count in both],
        "epochs": [(count, steps.epochs) for count in both],
        "replicas": [(count, replicas.rows) for count in both],
        "evaluation": [(count, steps.evaluation) for count in both],
        "graphs": [(1, partial(graphs.rows, root))],
        "start": [(cores, command.start)],
        "memory": [(cores, command.memory)],
        "default": [(cores, command.default)],
    }
    return found | ({"gpu": [(cores, steps.recorded)]} if torch.cuda.is_available() else {})


def machine() -> str:
    """Return processor, device, versions and day."""
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    found = {name: _version(name) for name in ("torch", *PEERS)}
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    return f"{_processor()}, {os.cpu_count()} cores{device}; {versions}; {date.today()}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def line(row: Row, count: int) -> str:
    """Return a row as a line in Markdown."""
    known = row.theirs is not None
    ratio = row.ratio if row.ratio is not None else row.ours / row.theirs if row.theirs else None
    cells = (row.what, row.unit, str(count), f"{row.ours:.4g}", row.beside)
    cells += (f"{row.theirs:.4g}" if known else "", f"{ratio:.2g}" if ratio is not None else "")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    root = next((word[5:] for word in sys.argv[1:] if word.startswith("root=")), None)
    table = parts(root)
    wanted = [word for word in sys.argv[1:] if not word.startswith("root=")] or list(table)
    if unknown := [word for word in wanted if word not in table]:
        sys.exit(f"{unknown[0]}: expected one of {', '.join(table)}")
    print(machine(), "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n")
    torch.manual_seed(0)
    for name in wanted:
        for count, rows in table[name]:
            # what svae says is no part of the table
            with threads(count), redirect_stdout(sys.stderr):
                for row in rows():
                    print(line(row, count), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
