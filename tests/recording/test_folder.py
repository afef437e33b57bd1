"""The run folder: claimed once, locked, and honest about its state."""

import json
import subprocess
import sys
import threading

import pytest
from omegaconf import OmegaConf

from svae.configuration.compose import public
from svae.recording.folder import RunFolder, read_status
from svae.recording.saved import saved_config, saved_overrides

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


def test_running_without_a_process_is_read_as_interrupted(tmp_path):
    folder = _claim(tmp_path / "run")
    folder.status("running", 7)
    folder.close()
    assert read_status(folder.path) == ("interrupted", 7, None)
    assert json.loads((folder.path / "status.json").read_text())["state"] == "running"


def test_a_folder_in_use_is_refused_to_another_process(tmp_path):
    with _claim(tmp_path / "run") as folder:
        code = (
            f"import pathlib, svae.run as r; r.RunFolder.reopen(pathlib.Path({str(folder.path)!r}))"
        )
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
