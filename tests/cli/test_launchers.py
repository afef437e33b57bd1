"""The same sweep by every launcher gives the same numbers; a stopped search is continued."""

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

import svae
from tests.conftest import ROOT, run_folders
from tests.support import slurm
from tests.support.forked import once

# `pytest -m launchers`, where the extras are installed
pytestmark = [pytest.mark.launchers, pytest.mark.xdist_group("launchers")]
# long enough that the start of a process is not what is timed
LONG = ("trainer.max_epochs=200", "trainer.patience=200")
SWEEP = ("-m", "model=normal,vmf", "latent_dim=2,5,10", "seed=0,1", *LONG)
TINY = (
    "dataset=array",
    "trainer.warmup_epochs=1",
    "evaluation.importance_samples=20",
    "threads=1",
    "device=cpu",
    "logger.mode=disabled",
    "plots=false",
)


def _needs(module):
    has = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{module}")
    return pytest.mark.skipif(not has, reason=f"{module} is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("launchers")


@pytest.fixture(scope="module")
def start(tiny, folder):
    """Return what starts the program on the small data set, as a process of a group of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    environment["RAY_AUTH_MODE"] = "disabled"

    def run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.Popen:
        command = [sys.executable, "-m", "svae", *once([f"dataset.file={tiny}", *TINY, *arguments])]
        options = {"cwd": folder, "start_new_session": True, "text": True}
        options["env"] = {**environment, "PATH": path}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    run.environment = environment
    return run


def _finish(process: subprocess.Popen) -> None:
    error = process.communicate(timeout=1800)[1]
    assert process.returncode == 0, error


def _numbers(path):
    rows = list(csv.DictReader((path / "summary.csv").read_text().splitlines()))
    varying = ("seconds", "commit", "cluster")
    return [{k: v for k, v in row.items() if k not in varying} for row in rows]


@pytest.fixture(scope="module")
def basic(start, folder):
    """The sweep by the launcher that runs it here, one after the other, and how long that took."""
    began = time.monotonic()
    _finish(start(*SWEEP, "hydra.sweep.dir=basic"))
    assert len(run_folders(folder / "basic")) == 12
    return _numbers(folder / "basic"), time.monotonic() - began


@_needs("hydra_joblib_launcher")
def test_joblib(start, folder, basic):
    """Two at once take at most 0.7 of the time, where two cores are free."""
    numbers, seconds = basic
    began = time.monotonic()
    two = ("cluster=local", "hydra.launcher.n_jobs=2")
    _finish(start(*SWEEP, *two, "hydra.sweep.dir=joblib"))
    took = time.monotonic() - began
    assert _numbers(folder / "joblib") == numbers
    print(f"basic {seconds:.1f} s, joblib {took:.1f} s")
    if os.getloadavg()[0] < 2.5:  # of these two runs alone
        assert took <= 0.7 * seconds


@_needs("hydra_submitit_launcher")
def test_submitit_local(start, folder, basic):
    options = ("hydra/launcher=submitit_local", "hydra.sweep.dir=submitit")
    _finish(start(*SWEEP, *options))
    assert _numbers(folder / "submitit") == basic[0]


@_needs("hydra_submitit_launcher")
def test_slurm_queues_a_preempted_job_again(start, folder, tmp_path):
    """By commands that do what Slurm's do: a task has to make room, and ends at the same bits."""
    slurm.install(tmp_path)
    line = ("-m", "model=normal,vmf", "latent_dim=2", "trainer.max_epochs=300", "threads=1")
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = start(*line, "cluster=slurm", "hydra.sweep.dir=slurm", path=path)
    deadline = time.monotonic() + 300
    while not (folder / "slurm" / "1" / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        os.kill(int((tmp_path / "7_1.pid").read_text()), number)
    _finish(process)
    assert (tmp_path / "7_0.starts").read_text() == "x"
    assert (tmp_path / "7_1.starts").read_text() == "xx"
    _finish(start(*line, "hydra.sweep.dir=slurmless"))
    assert _numbers(folder / "slurm") == _numbers(folder / "slurmless")


@_needs("hydra_ray_launcher")
def test_ray(start, folder, basic):
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = [*ray, "start", "--head", "--num-cpus=2", "--include-dashboard=false", "--port=0"]
    options = {"env": start.environment, "check": True, "capture_output": True, "text": True}
    subprocess.run(head, cwd=folder, **options)
    try:
        _finish(start(*SWEEP, "cluster=ray", "hydra.sweep.dir=rays"))
    finally:
        subprocess.run([*ray, "stop"], **options)
    assert _numbers(folder / "rays") == basic[0]


@_needs("hydra_optuna_sweeper")
@pytest.mark.parametrize("storage", ["sqlite:///study.db", "null"], ids=["sqlite", "memory"])
def test_a_search_is_stopped_and_continued(start, folder, storage):
    name = "memory" if storage == "null" else "sqlite"
    space = ("latent_dim=2,3,5", "trainer.learning_rate=tag(log,interval(1e-4,1e-2))")
    line = (
        "-m",
        "search=optuna",
        "model=vmf",
        *space,
        "hydra.sweeper.n_trials=8",
        "trainer.max_epochs=5",
    )
    line = (*line, f"hydra.sweep.dir={name}", f"hydra.sweeper.storage={storage}")
    path = folder / name
    process = start(*line)
    deadline = time.monotonic() + 120
    while not (path / "3" / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {p: p.stat().st_mtime_ns for n in "012" for p in (path / n).rglob("*")}
    _finish(start(*line))
    assert {p: p.stat().st_mtime_ns for n in "012" for p in (path / n).rglob("*")} == before
    rows = _numbers(path)
    assert sum(row["state"] == "finished" for row in rows) == 8
    assert len({row["trainer.learning_rate"] for row in rows if row["state"] == "finished"}) == 8
    assert (path / "optimization_results.yaml").is_file()


@_needs("hydra_optuna_sweeper")
def test_a_search_tries_texts_as_they_were_typed(start, folder):
    words = ("-m", "search=optuna", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=texts")
    texts = """logger.name=choice('a,b','é, it\\'s')"""
    _finish(start(*words, texts, "latent_dim=2", "trainer.max_epochs=1"))
    found = [svae.Run(path).config["logger"]["name"] for path in run_folders(folder / "texts")]
    assert len(found) == 3
    assert {*found} <= {"a,b", "é, it's"}
