"""Whether this checkout gives the numbers of an earlier one, bit for bit.

    python -m benchmarks.unchanged EARLIER [NAME ...]      all of CASES, or those named

EARLIER is another checkout, such as `git worktree add EARLIER COMMIT` makes. Tiny runs are made by
the command line with the code of both, and their tables, results, checkpoints and latent vectors
compared. Each run gets a line: equal, or what differs first and both values; [n] of metrics.csv is
epoch n. A number that only today's run has is named, but is no difference. Exits with 1 if any run
differs, with 0 if none does.

The runs of EARLIER are kept, by its commit, so that a second call makes only those of today.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np

from benchmarks.bits import compare

HERE = Path(__file__).resolve().parent.parent

# what the first word of a command stands for; "interrupt" trains and is ended after an epoch,
# "load" reads the run from Python
ALWAYS = "logger.mode=disabled plots=false threads=1 device=cpu"
VERBS = {
    "train": f"hydra.run.dir={{run}} {ALWAYS}",
    "interrupt": f"hydra.run.dir={{run}} {ALWAYS}",
    "sweep": f"-m hydra.sweep.dir={{run}} {ALWAYS}",
    "resume": "resume={run}",
    "evaluate": "evaluate={run}",
}
LOAD = """
import sys, svae, torch
model, _ = svae.load(sys.argv[1])
with torch.no_grad():
    mean = model.posterior(torch.linspace(0, 1, 8 * 64).reshape(8, 64)).mean
torch.save({"mean": mean}, sys.argv[1] + "/loaded.pt")
"""
IMAGES = (
    "dataset=array dataset.file={images} trainer.warmup_epochs=2 trainer.learning_rate=1e-2 "
    "evaluation.importance_samples=5"
)
SHORT = f"train {IMAGES} trainer.max_epochs=3"
GRAPH = "train dataset=sphere_graph dataset.nodes=60 dataset.edges=200 dataset.features=8"
GRAPH += " latent_dim=2 trainer.max_epochs=5"
GENERATED = "trainer.max_epochs=2 trainer.warmup_epochs=1 evaluation.importance_samples=5"


@dataclass(frozen=True)
class Case:
    """A run that both checkouts make.

    Args:
        command: what is typed, see VERBS.
        today: other commands by which today's code has to arrive at the numbers of `command`.
        start: another case; `command` works on a copy of the folder that EARLIER made of it.
        compiles: whether a C++ compiler is needed.
    """

    command: str
    today: tuple[str, ...] = ()
    start: str | None = None
    compiles: bool = False


CASES = {
    "compiled": Case(f"{SHORT} trainer.compile=true", compiles=True),  # the longest is first
    "vmf": Case(f"{SHORT} model=vmf"),
    "normal": Case(f"{SHORT} model=normal"),
    "power_spherical": Case(f"{SHORT} model=power_spherical"),
    "inversion": Case(f"{SHORT} latent_dim=2 sampler=inversion"),
    "corrected": Case(f"{SHORT} sampler.gradient=corrected sampler.baseline=mean"),
    "iwae": Case(f"{SHORT} trainer.bound=iwae trainer.samples=3"),
    "options": Case(
        f"{SHORT} sampler.gradient=score sampler.baseline=leave_one_out trainer.samples=2 "
        "trainer.schedule=cosine trainer.averaging=false network.unit_variance=true"
    ),
    "circle": Case(f"train dataset=circle {GENERATED}"),
    "directions": Case(f"train dataset=directions {GENERATED}"),
    "replicas": Case(f"{SHORT} trainer.replicas=2"),
    "graph": Case(GRAPH),
    "graph-sampled": Case(f"{GRAPH} trainer.negatives=sampled"),
    "sweep": Case(f"sweep {IMAGES} trainer.max_epochs=2 model=vmf,normal seed=0,1"),
    "sampler_check": Case(
        "train experiment=sampler_check study.dimensions=[2,5] study.concentrations=[1,20] "
        "study.samples=500"
    ),
    "gradient_study": Case(
        "train experiment=gradient_study dataset=array dataset.file={images} study.latent_dims=[2] "
        "study.epochs=[1] study.observations=4 study.repeats=16 trainer.max_epochs=1"
    ),
    "longer": Case(
        f"train {IMAGES} trainer.max_epochs=4",
        today=(f"train {IMAGES} trainer.max_epochs=2", "resume trainer.max_epochs=4"),
    ),
    "interrupted": Case(
        f"train {IMAGES} trainer.max_epochs=20",
        today=(f"interrupt {IMAGES} trainer.max_epochs=20", "resume"),
    ),
    # the folder of an earlier version, reopened
    "vmf-resumed": Case("resume trainer.max_epochs=5", start="vmf"),
    "vmf-evaluated": Case("evaluate evaluation.importance_samples=7", start="vmf"),
    "vmf-loaded": Case("load", start="vmf"),
    "normal-resumed": Case("resume trainer.max_epochs=5", start="normal"),
    "replicas-resumed": Case("resume trainer.max_epochs=5", start="replicas"),
    "graph-resumed": Case("resume trainer.max_epochs=8", start="graph"),
    "graph-evaluated": Case("evaluate evaluation.samples=7", start="graph"),
}


class Failed(Exception):
    """A command did not end as it should; says which and its last words."""


def execute(checkout: Path, command: str, run: Path, images: Path) -> None:
    """Let the code of `checkout` do a command on the folder `run`.

    Raises:
        Failed: when it ends otherwise than expected.
    """
    verb, *keys = command.split()
    if verb == "load":
        line = ["-c", LOAD, str(run)]
    else:
        words = [*VERBS[verb].split(), *keys]
        line = ["-m", "svae", *(word.format(run=run, images=images) for word in words)]
    process = _start(checkout, line, run.parent)
    expected = 0
    if verb == "interrupt":
        while process.poll() is None and not (run / "metrics.csv").exists():
            time.sleep(0.01)
        process.terminate()
        expected = 143
    output = process.communicate()[0]
    if process.returncode != expected:
        last = (output.strip().splitlines() or [""])[-1]
        raise Failed(f"{verb} with {checkout}: exit code {process.returncode}: {last}")


def _start(checkout: Path, line: list[str], folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # -P: no code from the folder that it starts in
    return subprocess.Popen([sys.executable, "-P", *line], cwd=folder, env=environment, **options)


class Earlier:
    """The runs of the earlier checkout, each made when first wanted and kept in a folder."""

    def __init__(self, checkout: Path, keep: Path):
        self.checkout, self.keep, self.images = checkout, keep, keep / "splits.npz"
        self._locks = {name: Lock() for name in CASES}
        keep.mkdir(parents=True, exist_ok=True)
        if not self.images.exists():
            _write_images(self.images)

    def run(self, name: str) -> Path:
        """Return the folder of a run, never to be written into."""
        folder = self.keep / f"{name}-{_digest(name)}"
        with self._locks[name]:
            if not folder.exists():
                self._make(name, folder)
        return folder

    def copy_start(self, name: str, run: Path) -> None:
        if start := CASES[name].start:
            shutil.copytree(self.run(start), run)

    def _make(self, name: str, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.keep) as scratch:
            run = Path(scratch) / name
            self.copy_start(name, run)
            execute(self.checkout, CASES[name].command, run, self.images)
            with suppress(OSError):  # another call was faster
                run.rename(folder)


def _digest(name: str) -> str:
    """Return what a kept run is known by: with an altered case or another torch it is made anew."""
    case = CASES[name]
    how = VERBS.get(case.command.split()[0], LOAD)
    start = _digest(case.start) if case.start else ""
    text = " ".join([how, case.command, start, version("torch")])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _write_images(path: Path) -> None:
    """Write 600 noisy pictures (8, 8) of ten kinds, with labels; no split is left to be drawn."""
    rng, labels = np.random.default_rng(0), np.arange(600) % 10
    pictures = rng.uniform(0, 255, (10, 8, 8))[labels] + rng.normal(0, 40, (600, 8, 8))
    pictures = pictures.clip(0, 255).astype(np.uint8)
    arrays = {}
    for name, own in (
        ("train", slice(480)),
        ("test", slice(480, 540)),
        ("validation", slice(540, None)),
    ):
        arrays |= {name: pictures[own], f"{name}_labels": labels[own]}
    part = path.with_name(f"{os.getpid()}.npz")
    np.savez(part, **arrays)
    part.replace(path)


def check(name: str, earlier: Earlier, work: Path) -> tuple[bool, str]:
    """Make a run with today's code; return whether it equals the earlier one, and the words."""
    case, run = CASES[name], work / name
    try:
        before = earlier.run(name)
        earlier.copy_start(name, run)
        for command in case.today or (case.command,):
            execute(HERE, command, run, earlier.images)
    except Failed as failure:
        return False, f"failed: {failure}"
    return compare(before, run)


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, by which its runs are kept.

    Raises:
        ValueError: when it is none, or has altered files.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    found = subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.strip()
    if not found or found.endswith("-dirty"):
        state = "has altered files" if found else "is no git checkout"
        raise ValueError(f"{checkout} {state}, expected one of a commit")
    return found


def check_import(checkout: Path) -> None:
    """Raise ValueError unless Python finds the package in `checkout`."""
    line = ["-c", "import svae; print(svae.__file__)"]
    found = _start(checkout, line, Path(tempfile.gettempdir())).communicate()[0].strip()
    if Path(found).parent.parent != checkout:
        raise ValueError(f"expected svae of {checkout}, Python finds {found}")


def has_compiler() -> bool:
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "c++")))


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.unchanged", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("earlier", type=Path, help="another checkout")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    kept = Path(tempfile.gettempdir()) / "svae-unchanged"
    parser.add_argument("--keep", type=Path, default=kept, help="where EARLIER's runs are kept")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.names if name not in CASES]:
        parser.error(f"no run is called {unknown[0]}, expected some of {', '.join(CASES)}")
    return arguments


def main(arguments: argparse.Namespace) -> int:
    checkout, started = arguments.earlier.resolve(), time.perf_counter()
    keep = arguments.keep.resolve() / f"{checkout.name}-{commit(checkout)}"
    for code in (checkout, HERE):
        check_import(code)
    earlier = Earlier(checkout, keep)
    work, wrong = Path(tempfile.mkdtemp(prefix="svae-today-")), 0
    names = arguments.names or list(CASES)
    if not has_compiler() and (skipped := [name for name in names if CASES[name].compiles]):
        names = [name for name in names if name not in skipped]
        print(f"skipped, as there is no C++ compiler: {', '.join(skipped)}")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(check, name, earlier, work): name for name in names}
        for future in as_completed(futures):
            equal, words = future.result()
            wrong += not equal
            print(f"{futures[future]:18}{words}", flush=True)
    seconds = time.perf_counter() - started
    print(f"{len(names) - wrong} of {len(names)} equal, {seconds:.0f} s; before: {earlier.keep}")
    if wrong:
        print(f"now: {work}")
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(parse(sys.argv[1:])))
    except ValueError as error:
        print(f"benchmarks.unchanged: {error}", file=sys.stderr)
        sys.exit(2)
