"""What becomes of the folder of each job of a sweep."""

import pytest
from omegaconf import OmegaConf

from svae import run as sweep
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder, read_status
from tests.support.swept import CONFIG, begin, stamps


def _config(**changes):
    return OmegaConf.merge(CONFIG, changes)


def test_a_job_without_a_run_begins_one(tmp_path):
    folder, state = sweep.claim(tmp_path / "0", CONFIG, ["latent_dim=3"], searches=False)
    with folder:
        assert state is None
        assert read_status(tmp_path / "0")["state"] == RUNNING


@pytest.mark.parametrize("searches", [False, True])
def test_a_finished_run_is_not_touched(tmp_path, searches):
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    assert sweep.claim(tmp_path / "0", _config(device="cpu"), [], searches) == (None, FINISHED)
    assert sweep.best_value(tmp_path / "0", "val/elbo") == -3.25
    assert stamps(tmp_path) == before


def test_an_interrupted_run_is_continued(tmp_path):
    for state in (INTERRUPTED, RUNNING):  # RUNNING without a process: it was killed
        begin(tmp_path / state, state)
        folder, found = sweep.claim(tmp_path / state, CONFIG, [], searches=False)
        with folder:
            assert found == INTERRUPTED
            assert (folder.path / "checkpoints" / "last.pt").exists()


def test_a_failed_run_begins_again_and_keeps_its_log(tmp_path):
    begin(tmp_path / "0", FAILED)
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
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    changed = _config(trainer={"max_epochs": 5})
    with pytest.raises(ValueError, match=r"trainer\.max_epochs was 2 .* and is 5 now"):
        sweep.claim(tmp_path / "0", changed, [], searches=False)
    assert stamps(tmp_path) == before
    folder, state = sweep.claim(tmp_path / "0", changed, [], searches=True)
    with folder:
        assert (folder.path.name, state) == ("0-1", None)


def test_folders_are_counted_as_people_count(tmp_path):
    for name in ("10", "2", "0-1", "0"):
        begin(tmp_path / name, FINISHED)
    assert [path.name for path in sweep.folders(tmp_path)] == ["0", "0-1", "2", "10"]
