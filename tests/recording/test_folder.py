"""The run folder: claimed once, locked, and honest about its state."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from svae.configuration.compose import public
from svae.recording.files import remove_temporaries
from svae.recording.folder import RunFolder, read_status
from svae.recording.saved import saved_config, saved_overrides
from svae.run import folders

CONFIG = OmegaConf.create({"latent_dim": 3, "logger": {"entity": "${oc.env:SECRET}"}})


def _claim(path):
    return RunFolder.claim(path, CONFIG, ["latent_dim=3"])


def test_a_claim_records_what_was_asked(tmp_path):
    with _claim(tmp_path / "run") as folder:
        assert saved_overrides(folder.path) == ["latent_dim=3"]
        assert saved_config(folder.path).latent_dim == 3
        assert read_status(folder.path) == ("running", 0, None)


def test_a_taken_folder_gets_a_suffix(tmp_path):
    with _claim(tmp_path / "run") as first, _claim(tmp_path / "run") as second:
        assert first.path == tmp_path / "run"
        assert second.path == tmp_path / "run-1"


def test_claims_at_once_never_share_a_folder(tmp_path):
    claimed, barrier = [], threading.Barrier(8)

    def work():
        barrier.wait()
        claimed.append(_claim(tmp_path / "run"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder.path for folder in claimed}) == 8
    for folder in claimed:
        folder.close()


@pytest.mark.parametrize("look", [remove_temporaries, folders])
def test_a_folder_that_goes_while_it_is_searched_is_passed_over(look, tmp_path, monkeypatch):
    for name in ("a", "b.tmp", ".lock.c.tmp"):
        (tmp_path / name).mkdir()
    scan = os.scandir

    def vanishing(path="."):
        if Path(path) != tmp_path:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    look(tmp_path)


def _busy(self, **_):
    self.path.touch()
    raise Timeout(str(self.path))


def _no_locks(self, **_):
    self.path.touch()
    raise OSError(errno.ENOLCK, "No locks available")


def _read_only(self, **_):
    raise OSError(errno.EROFS, "Read-only file system")


class _Lock:
    def __init__(self, path):
        self.path = path


@pytest.mark.parametrize("take", [RunFolder.claim, RunFolder.renew])
@pytest.mark.parametrize(
    ("acquire", "words"),
    [
        (_busy, "says that every lock is taken, expected one with file locks"),
        (_no_locks, "No locks available"),
        (_read_only, "Read-only file system"),
    ],
)
def test_where_no_lock_can_be_had_nothing_is_left(tmp_path, monkeypatch, take, acquire, words):
    _Lock.acquire = acquire
    monkeypatch.setattr("svae.recording.folder.FileLock", _Lock)
    with pytest.raises(OSError, match=words):
        take(tmp_path / "date" / "run", CONFIG, [])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "date").mkdir()  # what was there stays
    with pytest.raises(OSError, match=words):
        take(tmp_path / "date" / "run", CONFIG, [])
    assert list(tmp_path.rglob("*")) == [tmp_path / "date"]


def test_a_lock_that_another_process_holds_is_no_fault_of_the_file_system(tmp_path):
    held = tmp_path / "run"
    held.mkdir()
    with FileLock(held / ".lock", is_singleton=False):
        with pytest.raises(ValueError, match="another process is working"):
            RunFolder.renew(held, CONFIG, [])
        with _claim(held) as claimed:
            assert claimed.path == tmp_path / "run-1"
    assert list(held.iterdir()) == [held / ".lock"]


def test_running_without_a_process_is_read_as_interrupted(tmp_path):
    folder = _claim(tmp_path / "run")
    folder.status("running", 7)
    folder.close()
    assert read_status(folder.path) == ("interrupted", 7, None)
    assert json.loads((folder.path / "status.json").read_text())["state"] == "running"


def test_a_folder_in_use_is_refused_to_another_process(tmp_path):
    with _claim(tmp_path / "run") as folder:
        path = f"pathlib.Path({str(folder.path)!r})"
        code = f"import pathlib, svae.recording.folder as f; f.RunFolder.reopen({path})"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process is working in this run folder" in done.stderr
    with RunFolder.reopen(folder.path) as again:
        assert again.path == folder.path


def test_what_is_no_run_is_refused(tmp_path):
    for function in (RunFolder.reopen, read_status, saved_overrides, saved_config):
        with pytest.raises(ValueError, match="expected a run folder"):
            function(tmp_path)


def test_secrets_stay_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with _claim(tmp_path / "run") as folder:
        assert "hunter2" not in (folder.path / "config.yaml").read_text()
    config = OmegaConf.create({"a": "${oc.env:SECRET}", "b": "x-${a}", "c": "${d}", "d": 1})
    assert public(config) == {"a": "oc.env.SECRET", "b": "x-oc.env.SECRET", "c": 1, "d": 1}
    # and the resolver is itself again
    assert config.b == "x-hunter2"


def test_what_a_killed_claim_leaves_is_cleared_by_the_next(tmp_path):
    half = tmp_path / "run" / ".hydra" / ".overrides.yaml.abc.tmp"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    with _claim(tmp_path / "run") as folder:
        assert folder.path == tmp_path / "run"
        assert not half.exists()


@pytest.mark.parametrize("name", [".lock", "svae-train.log", ".hydra", "config.yaml"])
def test_a_new_run_writes_nothing_through_the_links_of_an_empty_folder(tmp_path, name):
    folder, target = tmp_path / "run", tmp_path / "precious"
    folder.mkdir()
    target.mkdir() if name == ".hydra" else target.write_text("precious")
    (folder / ".hydra").mkdir() if name == "config.yaml" else None
    (folder / name).symlink_to(target)
    with pytest.raises(ValueError, match="links are not allowed in a run folder"):
        _claim(folder)
    assert (list(target.iterdir()) if target.is_dir() else target.read_text()) in ([], "precious")


def test_somebodys_files_are_not_overwritten(tmp_path):
    for name in ("metrics.csv", "status.json", "results.json"):
        folder = tmp_path / name.removesuffix(".json")
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(ValueError, match=f"holds {name} and no run, expected a new"):
            _claim(folder)
        assert [file.read_text() for file in folder.iterdir()] == ["mine"]
