"""A sweep: what becomes of each job's folder, and the same command again."""

import csv
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from svae import compose, configuration, job, overview, report, sweep
from svae.multirun import Multirun
from svae.run import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder, read_status
from tests.conftest import run_folders

CONFIG = OmegaConf.create(
    {
        "model": {"_target_": "svae.models.latent.VonMisesFisherFamily"},
        "latent_dim": 3,
        "seed": 0,
        "device": "auto",
        "trainer": {"max_epochs": 2},
    }
)


def _config(**changes):
    return OmegaConf.merge(CONFIG, changes)


def _begin(path, state, metrics="epoch,val/elbo,seconds\n1,-5,0.5\n2,-3.25,0.25\n"):
    with RunFolder.claim(path, CONFIG, ["latent_dim=3"]) as folder:
        (path / "metrics.csv").write_text(metrics)
        folder.checkpoints.joinpath("last.pt").write_text("state")
        folder.status(state, 2, "it broke" if state == FAILED else None)


def _files(path):
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}


def test_a_job_without_a_run_begins_one(tmp_path):
    folder, state = sweep.claim(tmp_path / "0", CONFIG, ["latent_dim=3"], searches=False)
    with folder:
        assert state is None
        assert read_status(tmp_path / "0")["state"] == RUNNING


@pytest.mark.parametrize("searches", [False, True])
def test_a_finished_run_is_not_touched(tmp_path, searches):
    _begin(tmp_path / "0", FINISHED)
    before = _files(tmp_path)
    assert sweep.claim(tmp_path / "0", _config(device="cpu"), [], searches) == (None, FINISHED)
    assert sweep.best_value(tmp_path / "0", "val/elbo") == -3.25
    assert _files(tmp_path) == before


def test_an_interrupted_run_is_continued(tmp_path):
    for state in (INTERRUPTED, RUNNING):  # RUNNING without a process: it was killed
        _begin(tmp_path / state, state)
        folder, found = sweep.claim(tmp_path / state, CONFIG, [], searches=False)
        with folder:
            assert found == INTERRUPTED
            assert (folder.path / "checkpoints" / "last.pt").exists()


def test_a_failed_run_begins_again_and_keeps_its_log(tmp_path):
    _begin(tmp_path / "0", FAILED)
    (tmp_path / "0" / "svae-train.log").write_text("Traceback")
    (tmp_path / "0" / "mine.txt").write_text("a person's own")
    folder, state = sweep.claim(tmp_path / "0", CONFIG, ["latent_dim=3"], searches=False)
    with folder:
        assert state == FAILED
        left = {file.name for file in folder.path.iterdir()}
        wanted = {".hydra", ".lock", "config.yaml", "status.json", "svae-train.log", "mine.txt"}
        assert left == wanted
        assert read_status(folder.path) == {"state": RUNNING, "epoch": 0, "error": None}
        assert (folder.path / "svae-train.log").read_text() == "Traceback"


def test_a_run_in_use_is_left_alone(tmp_path):
    with RunFolder.claim(tmp_path / "0", CONFIG, []):
        assert sweep.claim(tmp_path / "0", CONFIG, [], searches=False) == (None, RUNNING)


def test_another_configuration_is_refused_and_in_a_search_takes_the_next_folder(tmp_path):
    _begin(tmp_path / "0", FINISHED)
    before = _files(tmp_path)
    changed = _config(trainer={"max_epochs": 5})
    with pytest.raises(ValueError, match=r"trainer\.max_epochs was 2 .* and is 5 now"):
        sweep.claim(tmp_path / "0", changed, [], searches=False)
    assert _files(tmp_path) == before
    folder, state = sweep.claim(tmp_path / "0", changed, [], searches=True)
    with folder:
        assert (folder.path.name, state) == ("0-1", None)


def test_folders_are_counted_as_people_count(tmp_path):
    for name in ("10", "2", "0-1", "0"):
        _begin(tmp_path / name, FINISHED)
    assert [path.name for path in sweep.folders(tmp_path)] == ["0", "0-1", "2", "10"]


def _plan(line):
    return compose.plan(get_args_parser().parse_intermixed_args(shlex.split(line)))


def test_a_begun_sweep_is_refused_in_what_differs_before_anything_is_touched(tmp_path):
    line = f"-m model=normal,vmf latent_dim=2,3 hydra.sweep.dir={tmp_path}"
    assert _plan(line).runs == 4
    config = configuration.checked(
        get_args_parser().parse_args([]), ["model=vmf", "latent_dim=2"], strict=True
    )
    with RunFolder.claim(tmp_path / "2", configuration.task(config), []) as folder:
        folder.status(FINISHED)
    assert _plan(line).folder == tmp_path
    with pytest.raises(compose.Refused, match="latent_dim was 2 when the run began and is 5 now"):
        _plan(line.replace("2,3", "5,3"))


@pytest.mark.parametrize(
    ("subdir", "words"),
    [
        ("../${hydra.job.num}", "outside"),
        ("${seed}", "for runs 0 and 2"),
        (".", "outside"),
        ("/tmp/${hydra.job.num}", "outside"),
        ("x${latent_dim}", "for runs 0 and 1"),
        ("${now:%S}-${hydra.job.num}", "changes with time"),
        ("${hydra.job.id}", "expected a folder of its own"),
        ("${nothing}", "expected a folder of its own"),
    ],
)
def test_the_folders_of_jobs_are_their_own_and_below_the_sweep(tmp_path, subdir, words):
    line = f"-m latent_dim=2,3 seed=0,1 hydra.sweep.dir={tmp_path}/s 'hydra.sweep.subdir={subdir}'"
    with pytest.raises(compose.Refused, match=r"hydra\.sweep\.subdir") as refused:
        _plan(line)
    assert words in str(refused.value)
    assert not (tmp_path / "s").exists()


def test_a_folder_within_that_of_another_job_is_refused(tmp_path):
    line = (
        f"-m logger.name=a,a/b hydra.sweep.dir={tmp_path}/s 'hydra.sweep.subdir=${{logger.name}}'"
    )
    with pytest.raises(compose.Refused, match="run 1 would lie in that of run 0"):
        _plan(line)


def test_the_folders_of_others_are_refused_and_left_alone(tmp_path):
    line = f"-m seed=0,1 hydra.sweep.dir={tmp_path}"
    (tmp_path / "1").write_text("mine")
    with pytest.raises(compose.Refused, match="1: is a file, expected a folder"):
        _plan(line)
    (tmp_path / "1").unlink()
    (tmp_path / "1" / "plots").mkdir(parents=True)
    with pytest.raises(compose.Refused, match="1: holds plots and no run, expected a new or an em"):
        _plan(line)
    with pytest.raises(ValueError, match="holds plots and no run"):
        sweep.claim(tmp_path / "1", CONFIG, [], searches=False)
    assert (tmp_path / "1" / "plots").is_dir()


def test_folders_are_those_that_hydra_makes(tmp_path):
    """Whatever the name is made of."""
    subdir = "${model._target_}/${hydra.job.override_dirname}-${network.hidden}-${hydra.job.num}"
    line = "model=normal,vmf seed=1,0 network.hidden=[8],[16,4] trainer.max_epochs=3"
    plan = _plan(f"-m {line} hydra.sweep.dir={tmp_path} 'hydra.sweep.subdir={subdir}'")
    assert len(plan.paths) == 8
    words = "model=vmf,network.hidden=[16,4],seed=0,trainer.max_epochs=3-[16, 4]-7"
    assert tmp_path / "svae.models.latent.VonMisesFisherFamily" / words in plan.paths


def test_a_name_of_a_group_may_be_a_pattern(tmp_path):
    plan = _plan(f"-m 'model=glob([n*,v*])' seed=0,1 hydra.sweep.dir={tmp_path}")
    assert plan.runs == 4


def test_jobs_are_numbered_as_hydra_numbers_them(tmp_path):
    """What a preset sweeps keeps its place when it is typed, too."""
    arguments = ["experiment=table1", "latent_dim=2,5", "trainer.max_epochs=3", "seed=0,1"]
    jobs = Multirun(get_args_parser().parse_args(["-m", *arguments])).jobs
    varying = [[word for word in words if "experiment" not in word] for words in jobs]
    fixed = "trainer.max_epochs=3"
    assert len(jobs) == 8
    assert varying[1] == ["seed=0", "latent_dim=2", "model=vmf", fixed]
    assert varying[2] == ["seed=0", "latent_dim=5", "model=normal", fixed]
    assert varying[4] == ["seed=1", "latent_dim=2", "model=normal", fixed]


def test_the_command_that_goes_on_survives_a_shell(tmp_path):
    folder = tmp_path / "it's (mine)"
    words = ["-m", "network.hidden=[8],[16]", "seed=0,1", "logger.name='a b'"]
    command = compose.command(get_args_parser().parse_args(words), folder)
    plan = _plan(command.removeprefix("svae-train "))
    assert plan.folder == folder
    assert plan.runs == 4


@pytest.mark.parametrize(("launcher", "raises"), [("basic", True), ("joblib", False)])
def test_a_request_to_stop_ends_the_program_but_not_the_workers_sweep(
    tmp_path, monkeypatch, launcher, raises
):
    def stopped(*arguments):
        raise job.Interrupted(143, "terminated")

    choices = {"hydra/launcher": launcher, "hydra/sweeper": "basic"}
    runtime = {"choices": choices, "cwd": str(tmp_path), "output_dir": str(tmp_path / "0")}
    hydra = OmegaConf.create({"hydra": {"runtime": runtime, "job": {"num": 0}}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra.hydra)
    monkeypatch.setattr(job.signals, "install", lambda: None)
    monkeypatch.setattr(job, "_job", stopped)
    if raises:
        with pytest.raises(job.Interrupted):
            job.of_sweep(CONFIG)
    else:
        assert math.isnan(job.of_sweep(CONFIG))


def test_a_narrower_command_answers_for_its_own_runs_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "make", lambda folders: None)
    for number, state in enumerate((FINISHED, FINISHED, FAILED, INTERRUPTED)):
        _begin(tmp_path / str(number), state)
    paths = frozenset(tmp_path / str(number) for number in range(2))
    plan = compose.Plan([], tmp_path, is_sweep=True, paths=paths, runs=2)
    with overview.watching(plan):
        pass
    assert overview.close(plan, None, "the same again") == 0
    told = capsys.readouterr()
    assert "2 runs finished earlier" in told.out
    assert told.err == ""
    whole = compose.Plan([], tmp_path, is_sweep=True, runs=4)
    assert overview.close(whole, None, "the same again") == 1
    assert "of 4 runs 1 failed, 1 interrupted" in capsys.readouterr().err


def test_a_run_is_shown_with_what_is_swept_and_not_in_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = _plan("-m seed=0,1 trainer.learning_rate=1e-3,1e-2 plots=false hydra.sweep.dir=s")
    with overview.watching(plan):
        for number, rate in enumerate(("1e-3", "1e-2")):
            lines = ["seed=0", f"trainer.learning_rate={rate}", "plots=false"]
            config = configuration.checked(get_args_parser().parse_args([]), lines, strict=True)
            claimed = configuration.portable(config, lines)
            with RunFolder.claim(tmp_path / "s" / str(number), *claimed) as folder:
                folder.status(INTERRUPTED)
    told = capsys.readouterr().out
    for rate in ("1e-3", "1e-2"):
        assert f"vmf-d10-s0 trainer.learning_rate={rate} interrupted" in told


@pytest.mark.parametrize(
    "words",
    [
        ["logger.tags=[a,b],[c]", "threads=null,1", "logger.name='b c',null", "seed=0,1"],
        [
            "network.hidden=[8],[4,2]",
            "trainer.batch_size=7,'${latent_dim}'",
            "dataset=mnist,circle",
        ],
    ],
    ids=["values", "choices"],
)
def test_a_shared_composition_is_that_of_the_job_alone(words):
    multirun = Multirun(get_args_parser().parse_args(["-m", *words]))
    for line in multirun.jobs:
        shared = configuration.unresolved(multirun._config(line))
        alone = configuration.composed(get_args_parser().parse_args([]), line)
        assert shared == configuration.unresolved(alone)
    assert len(multirun._composed) < len(multirun.jobs)


def test_many_jobs_are_composed_once_where_they_make_the_same_choices(tmp_path, monkeypatch):
    count, composed = 0, configuration.composed

    def counted(*arguments):
        nonlocal count
        count += 1
        return composed(*arguments)

    monkeypatch.setattr(configuration, "composed", counted)
    values = "network.hidden=[8],[16] trainer.on_nan=stop,restart logger.name=a,'b c' seed=0,1,2,3"
    assert _plan(f"-m model=normal,vmf {values} hydra.sweep.dir={tmp_path}").runs == 64
    assert count == 3  # without what is swept, and for each model
    with pytest.raises(compose.Refused, match=r"trainer\.on_nan=never: expected one of stop, rest"):
        _plan(f"-m trainer.on_nan=stop,never seed=0,1 hydra.sweep.dir={tmp_path}")


def test_an_interrupted_job_leaves_it_to_the_sweep_to_say_how_to_go_on(tmp_path):
    def work():
        raise job.Interrupted(143, "terminated")

    with RunFolder.claim(tmp_path, CONFIG, []) as folder:
        with pytest.raises(job.Interrupted) as interrupted:
            job._guarded(folder, work, "svae-train resume=it")
        assert interrupted.value.text == "terminated"
        assert read_status(folder.path)["state"] == INTERRUPTED


def test_a_run_whose_time_on_slurm_is_up_is_interrupted_and_not_failed(tmp_path):
    class UncompletedJobError(RuntimeError):
        """As submitit raises it in the middle of whatever the job is doing."""

    def work():
        raise UncompletedJobError("timed-out too many times")

    with RunFolder.claim(tmp_path, CONFIG, []) as folder:
        with pytest.raises(UncompletedJobError):
            job._guarded(folder, work, "")
        assert read_status(folder.path)["state"] == INTERRUPTED


LINE = ("logger.mode=disabled", "plots=false")


def test_a_damaged_status_keeps_no_run_from_going_on(svae_train, tiny, tmp_path):
    line = ("-m", "seed=0,1", *LINE, "hydra.sweep.dir=s")
    assert svae_train(*line).returncode == 0
    whole = numbers(tmp_path / "s")
    for text in ("", "{", '{"state": "finished"}'):
        (tmp_path / "s" / "1" / "status.json").write_text(text)
        done = svae_train(*line)
        assert done.returncode == 0, done.stderr
        assert "[2/2]   1  vmf-d3-s1" in done.stdout
        assert numbers(tmp_path / "s") == whole
    (tmp_path / "s" / "1" / "status.json").write_text("")
    assert svae_train("resume=s/1", quick=False).returncode == 0
    assert read_status(tmp_path / "s" / "1")["state"] == FINISHED


def test_a_failed_and_a_diverged_run_stop_nothing(svae_train, tiny, tmp_path):
    files = f"dataset.file={tmp_path}/none.npz,{tiny}"
    (tmp_path / "none.npz").write_bytes(tiny.read_bytes())
    line = ("-m", files, "trainer.learning_rate=1e-3,1e30", *LINE, "hydra.sweep.dir=s")
    # it is there when the sweep is checked, and damaged when its job starts
    (tmp_path / "none.npz").write_text("damaged")
    done = svae_train(*line)
    assert done.returncode == 1, done.stderr
    states = [read_status(path)["state"] for path in run_folders(tmp_path / "s")]
    assert states == [FAILED, FAILED, FINISHED, FAILED]
    for number, cause in ((0, "none.npz"), (3, "nan in epoch 1")):
        (told,) = (row for row in done.stderr.splitlines() if f"s/{number} failed:" in row)
        assert cause in told
        assert "Traceback" in (tmp_path / "s" / str(number) / "svae-train.log").read_text()
    assert "of 4 runs 3 failed; go on with: svae-train --multirun" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "s" / "report.html").is_file()
    assert "[4/4]" in done.stdout
    finished = _files(tmp_path / "s" / "2")

    (tmp_path / "none.npz").write_bytes(tiny.read_bytes())
    done = svae_train(*line)
    states = [read_status(path)["state"] for path in run_folders(tmp_path / "s")]
    assert states == [FINISHED, FAILED, FINISHED, FAILED]
    assert "1 run finished earlier" in done.stdout
    assert _files(tmp_path / "s" / "2") == finished


@pytest.mark.slow
def test_of_twelve_runs_ten_finish_though_one_fails_and_one_diverges(svae_train, tmp_path):
    random = np.random.default_rng(0)
    files = [tmp_path / f"{number}.npz" for number in range(12)]
    for number, file in enumerate(files):
        np.savez(file, train=random.normal(size=(300, 6)) * (1e25 if number == 7 else 1))
    files[4].write_text("damaged")
    names = ",".join(map(str, files))
    line = ("-m", f"dataset.file={names}", "trainer.max_epochs=3", *LINE, "hydra.sweep.dir=s")
    done = svae_train(*line)
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader((tmp_path / "s" / "summary.csv").read_text().splitlines()))
    states = {int(row["run"]): row["state"] for row in rows}
    assert states == {n: FAILED if n in (4, 7) else FINISHED for n in range(12)}
    page = (tmp_path / "s" / "report.html").read_text()
    for number, cause in ((4, "4.npz: expected"), (7, "in epoch 1")):
        (told,) = (row for row in done.stderr.splitlines() if f"s/{number} failed:" in row)
        assert cause in told
        assert cause in rows[number]["error"]
        assert cause in page
    assert "of 12 runs 2 failed; go on with: svae-train --multirun" in done.stderr


@pytest.mark.slow
def test_a_killed_sweep_goes_on_to_the_same_numbers(svae_train, tiny, tmp_path, environment):
    line = ("-m", "model=normal,vmf", "latent_dim=2,3,5", "trainer.max_epochs=30", *LINE)
    command = [sys.executable, "-m", "svae", "dataset=array", f"dataset.file={tiny}"]
    command += ["trainer.warmup_epochs=1", "evaluation.importance_samples=20", "threads=1"]
    command += ["device=cpu", *line]
    options = {"cwd": tmp_path, "env": environment, "start_new_session": True}
    with subprocess.Popen(
        [*command, "hydra.sweep.dir=broken"], stdout=subprocess.DEVNULL, **options
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "broken" / "2" / "metrics.csv").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    finished = {n: _files(tmp_path / "broken" / n) for n in ("0", "1")}
    for name in ("broken", "whole"):
        done = subprocess.run(
            [*command, f"hydra.sweep.dir={name}"], check=False, capture_output=True, **options
        )
        assert done.returncode == 0, done.stderr
    for name, files in finished.items():
        assert _files(tmp_path / "broken" / name) == files
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")


def numbers(folder: Path) -> list[str]:
    """Return summary.csv without what differs between two times of the same."""
    rows = list(csv.DictReader((folder / "summary.csv").read_text().splitlines()))
    return [{k: v for k, v in row.items() if k not in ("seconds", "commit")} for row in rows]
