"""A disk that is full, read-only or gone: it is told, and nothing is lost."""

import contextlib
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.faults.runs import WRITTEN, check_loadable, check_whole, status, wait_for_epoch
from tests.support import hooks


@contextlib.contextmanager
def _small_disk(path: Path, size: str):
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs to be allowed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_from_there(start, resume, whole, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        process = start("disk/r", before=hooks.slow)
        wait_for_epoch(process, tmp_path / "disk/r", 2)
        filler = tmp_path / "disk" / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as stream:
            while True:
                stream.write(bytes(4096))
                stream.flush()
        done = process.wait()
        assert done.returncode == 1
        assert done.stderr.startswith("svae-train: the disk is full (")
        assert f"continue with: svae-train resume={tmp_path}/disk/r" in done.stderr
        assert "Traceback" not in done.stderr
        told = status(tmp_path / "disk/r")
        assert (told["state"], told["error"]) == ("failed", "the disk is full")
        check_loadable(tmp_path / "disk/r", 2)
        filler.unlink()
        check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), WRITTEN)
def test_a_disk_that_fills_before_a_file_is_written(start, resume, whole, tmp_path, name, count):
    with _small_disk(tmp_path / "disk", "16m"):
        done = start("disk/r", before=partial(hooks.full_disk, name, count)).wait()
        assert done.returncode == 1
        assert done.stderr.startswith("svae-train: the disk is full (")
        assert "Traceback" not in done.stderr
        assert status(tmp_path / "disk/r")["state"] == "failed"
        # what follows from last.pt may be behind it; the table begins before it
        if name != "metrics.csv":
            check_loadable(tmp_path / "disk/r", min(count, 2))
        (tmp_path / "disk" / "filler").unlink()
        check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


def test_a_disk_that_is_full_from_the_start_is_told(start, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        done = start("disk/r", before=partial(hooks.full_disk, "overrides.yaml", 1)).wait()
        assert done.returncode == 2
        assert done.stderr.endswith("cannot be written (No space left on device)\n")
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_is_told(start, resume, whole, tmp_path):
    with _small_disk(tmp_path / "disk", "16m"):
        # no disk can be made read-only under a process that has a lock on it: that part is played
        done = start("disk/r", before=hooks.read_only).wait()
        assert done.returncode == 1
        assert "has become read-only" in done.stderr
        _remount(tmp_path / "disk", "ro")
        refused = resume("disk/r")
        assert refused.returncode == 2
        assert "cannot be written" in refused.stderr
        _remount(tmp_path / "disk", "rw")
        check_whole(tmp_path / "disk/r", resume("disk/r"), whole)


def _remount(path: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(path)], check=True)


def test_a_vanished_folder_is_told(start, tmp_path):
    process = start(before=hooks.slow)
    wait_for_epoch(process, tmp_path / "r", 2)
    (tmp_path / "r").rename(tmp_path / "elsewhere")
    done = process.wait()
    assert done.returncode == 1
    assert "a file or the run folder has vanished" in done.stderr
    assert "Traceback" not in done.stderr
    check_loadable(tmp_path / "elsewhere", 2)
