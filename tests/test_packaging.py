"""The configuration is found wherever the program runs from: wheel, editable install, checkout."""

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parent.parent
LINE = ("trainer.max_epochs=1", "evaluation.importance_samples=2", "logger.mode=disabled")


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    # two builds at once would write into the same folder of the checkout
    with FileLock(Path(tempfile.gettempdir()) / "svae-tests-build.lock"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    return next(folder.glob("*.whl"))


def _environment(folder: Path) -> Path:
    """Make a virtual environment that sees the packages of this one, but not this project."""
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in sys.path:
        if path.endswith("site-packages"):
            for entry in Path(path).iterdir():
                if "svae" not in entry.name:
                    (site / entry.name).symlink_to(entry)
    return folder / "bin"


def _run(command: list, cwd: Path) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_code_configuration_and_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "svae/cli/main.py",
        "svae/cli/plugins/hydra_plugins/svae_sweeper.py",
        "svae/conf/config.yaml",
        "svae/conf/model/vmf.yaml",
        "svae/conf/experiment/table1.yaml",
        "svae/data/mnist_files/train-images-idx3-ubyte.gz",
        "svae/data/mnist_files/README.md",
        "svae/report/page.css",
        "svae/report/page.html.j2",
    ):
        assert name in names
    packed = {name.removeprefix("svae/conf/") for name in names if name.startswith("svae/conf/")}
    files = (path for path in ROOT.glob("conf/**/*") if path.suffix in (".yaml", ".csv"))
    assert packed == {str(path.relative_to(ROOT / "conf")) for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_an_installed_command_runs_from_an_empty_folder(wheel, tmp_path, kind):
    binaries = _environment(tmp_path / "environment")
    what = [wheel] if kind == "wheel" else ["--no-build-isolation", "-e", ROOT]
    _pip("--python", binaries / "python", "install", "--no-deps", *what)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = _run([binaries / "svae-train", *LINE], empty)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in empty.iterdir()] == ["outputs"]
    assert "latent_dim" in _run([binaries / "svae-train", "--help"], empty).stdout
    assert re.match(r"svae \d+\.", _run([binaries / "svae-train", "--version"], empty).stdout)


@pytest.mark.slow
def test_an_uninstalled_checkout_runs_as_a_module():
    done = _run([sys.executable, "-m", "svae", "--cfg", "job"], ROOT)
    assert done.returncode == 0, done.stderr
    assert "latent_dim: 10" in done.stdout
