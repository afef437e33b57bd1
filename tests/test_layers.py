"""The flow goes one way: which module may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "svae"
MODULES = sorted(PACKAGE.rglob("*.py"))
# outside package -> the rooms that may import it
ONLY_IN = {
    "hydra": {"cli", "configuration", "multirun", "grid", "refusals", "job", "build"},
    "omegaconf": {
        "studies",
        "study",
        "cli",
        "compose",
        "configuration",
        "multirun",
        "refusals",
        "job",
        "sweep",
        "build",
        "run",
        "record",
        "experiment",
        "replicas",
    },
    "wandb": {"tracking"},
    "rich": {"tracking", "overview", "report"},
    "matplotlib": {"plots"},
    "scipy": set(),
    "sklearn": {"data"},
    "pooch": {"data"},
    "torch_geometric": {"data", "models"},
}
# room -> the rooms of svae that it may import, besides its own
MAY_IMPORT = {
    "special": set(),
    "distributions": {"special"},
    "models": {"distributions"},
    "data": set(),
    "streams": set(),
    "files": set(),
    "ranking": set(),
    "neighbours": set(),
    "objectives": {"ranking"},
    "guard": set(),
    "averaging": set(),
    "adam": set(),
    "signal_to_noise": {"data", "objectives"},
    "capture": {"objectives"},
    "compiled": set(),
    "train": {
        "adam",
        "averaging",
        "capture",
        "compiled",
        "objectives",
        "data",
        "guard",
        "signal_to_noise",
        "streams",
    },
    "together": {
        "train",
        "averaging",
        "objectives",
        "data",
        "guard",
        "models",
        "signal_to_noise",
        "streams",
    },
    "recovery": set(),
    "evaluate": {"objectives", "data", "recovery"},
    "checkpoint": {"train", "averaging", "files"},
    "run": {"files"},
    "record": set(),
    "signals": set(),
    "failures": set(),
    "progress": {"checkpoint", "averaging", "run", "tracking", "train"},
    "plots": {"data", "distributions", "ranking", "recovery"},
    "tracking": {"files"},
    "studies": {
        "build",
        "data",
        "distributions",
        "naming",
        "plots",
        "record",
        "run",
        "signal_to_noise",
        "streams",
        "train",
    },
    "settings": set(),
    "naming": {"record"},
    "overview": {"compose", "configuration", "naming", "record", "report", "run", "sweep"},
    "comparison": {"naming", "record", "run", "settings", "sweep"},
    "page": {"comparison", "distributions", "plots", "run", "sweep"},
    "report": {"comparison", "files", "page"},
    "sweep": {"settings", "record", "run"},
    "refusals": {"settings"},
    "grid": {"refusals"},
    "configuration": {"settings", "record", "refusals"},
    "multirun": {"configuration", "settings", "refusals", "run", "sweep", "grid"},
    "compose": {"configuration", "multirun", "settings", "record", "refusals", "sweep"},
}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_outside_packages_stay_in_their_rooms(path):
    for name in _imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or _room(path) in allowed, name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_what_lies_below(path):
    allowed = MAY_IMPORT.get(_room(path))
    if allowed is None:
        return
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "svae" and len(parts) > 1:
            assert parts[1] in allowed | {_room(path)}, name


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        (["--help"], 0, "--multirun"),
        (["--version"], 0, "svae "),
        (["--cfg", "job"], 0, "latent_dim: 10"),
        (["latent_dim=0"], 2, ""),
    ],
)
def test_questions_and_refusals_import_nothing_heavy(question, code, words, environment):
    heavy = ("torch", "wandb", "matplotlib", "sklearn", "numpy", "pooch")
    program = (
        "import sys, svae.cli\n"
        "try:\n    svae.cli.main()\n"
        f"finally:\n    print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *question]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr.strip().endswith("[]")
    assert done.returncode == code
    assert words in done.stdout
