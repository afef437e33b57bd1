"""Whole sweeps, some of whose runs fail or are killed, and the same command again."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from svae.recording.folder import FAILED, FINISHED, read_status
from tests.conftest import run_folders
from tests.support.swept import stamps

LINE = ("logger.mode=disabled", "plots=false")


@pytest.mark.slow
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
    assert read_status(tmp_path / "s" / "1").state == FINISHED


@pytest.mark.slow
def test_a_failed_and_a_diverged_run_stop_nothing(svae_train, tiny, tmp_path):
    files = f"dataset.file={tmp_path}/none.npz,{tiny}"
    (tmp_path / "none.npz").write_bytes(tiny.read_bytes())
    line = ("-m", files, "trainer.learning_rate=1e-3,1e30", *LINE, "hydra.sweep.dir=s")
    # it is there when the sweep is checked, and damaged when its job starts
    (tmp_path / "none.npz").write_text("damaged")
    done = svae_train(*line)
    assert done.returncode == 1, done.stderr
    states = [read_status(path).state for path in run_folders(tmp_path / "s")]
    assert states == [FAILED, FAILED, FINISHED, FAILED]
    for number, cause in ((0, "none.npz"), (3, "nan in epoch 1")):
        (told,) = (row for row in done.stderr.splitlines() if f"s/{number} failed:" in row)
        assert cause in told
        assert "Traceback" in (tmp_path / "s" / str(number) / "svae-train.log").read_text()
    assert "of 4 runs 3 failed; go on with: svae-train --multirun" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "s" / "report.html").is_file()
    assert "[4/4]" in done.stdout
    finished = stamps(tmp_path / "s" / "2")

    (tmp_path / "none.npz").write_bytes(tiny.read_bytes())
    done = svae_train(*line)
    states = [read_status(path).state for path in run_folders(tmp_path / "s")]
    assert states == [FINISHED, FAILED, FINISHED, FAILED]
    assert "1 run finished earlier" in done.stdout
    assert stamps(tmp_path / "s" / "2") == finished


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
    finished = {n: stamps(tmp_path / "broken" / n) for n in ("0", "1")}
    for name in ("broken", "whole"):
        done = subprocess.run(
            [*command, f"hydra.sweep.dir={name}"], check=False, capture_output=True, **options
        )
        assert done.returncode == 0, done.stderr
    for name, files in finished.items():
        assert stamps(tmp_path / "broken" / name) == files
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")


def numbers(folder: Path) -> list[str]:
    """Return summary.csv without what differs between two times of the same."""
    rows = list(csv.DictReader((folder / "summary.csv").read_text().splitlines()))
    return [{k: v for k, v in row.items() if k not in ("seconds", "commit")} for row in rows]
