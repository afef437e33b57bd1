"""What becomes of the folder of each job of a sweep."""

import pytest
from omegaconf import OmegaConf

from svae import run as sweep
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder, read_status
from tests.support.swept import CONFIG, OVERRIDES, begin, stamps


def _config(**changes):
    return OmegaConf.merge(CONFIG, changes)


def test_a_job_without_a_run_begins_one(tmp_path):
    folder, state, _ = sweep.claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
    with folder:
        assert state is None
        assert read_status(tmp_path / "0")["state"] == RUNNING


@pytest.mark.parametrize("searches", [False, True])
def test_a_finished_run_is_not_touched(tmp_path, searches):
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    typed = [*OVERRIDES, "device=cpu"]
    claimed = sweep.claim(tmp_path / "0", _config(device="cpu"), typed, searches)
    assert claimed[:2] == (None, FINISHED)
    assert sweep.best_value(tmp_path / "0", "val/elbo") == -3.25
    assert stamps(tmp_path) == before


def test_an_interrupted_run_is_continued(tmp_path):
    for state in (INTERRUPTED, RUNNING):  # RUNNING without a process: it was killed
        begin(tmp_path / state, state)
        folder, found, _ = sweep.claim(tmp_path / state, CONFIG, OVERRIDES, searches=False)
        with folder:
            assert found == INTERRUPTED
            assert (folder.path / "checkpoints" / "last.pt").exists()


def test_a_failed_run_begins_again_and_keeps_its_log(tmp_path):
    begin(tmp_path / "0", FAILED)
    (tmp_path / "0" / "svae-train.log").write_text("Traceback")
    (tmp_path / "0" / "mine.txt").write_text("a person's own")
    folder, state, _ = sweep.claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
    with folder:
        assert state == FAILED
        left = {file.name for file in folder.path.iterdir()}
        wanted = {".hydra", ".lock", "config.yaml", "status.json", "svae-train.log", "mine.txt"}
        assert left == wanted
        assert read_status(folder.path) == {"state": RUNNING, "epoch": 0, "error": None}
        assert (folder.path / "svae-train.log").read_text() == "Traceback"


def test_a_run_in_use_is_left_alone(tmp_path):
    with RunFolder.claim(tmp_path / "0", CONFIG, OVERRIDES):
        claimed = sweep.claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
        assert claimed[:2] == (None, RUNNING)


def test_another_configuration_is_refused_and_in_a_search_takes_the_next_folder(tmp_path):
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    changed, typed = _config(trainer={"max_epochs": 5}), ["latent_dim=3", "trainer.max_epochs=5"]
    with pytest.raises(ValueError, match=r"trainer\.max_epochs was 2 .* and is 5 now"):
        sweep.claim(tmp_path / "0", changed, typed, searches=False)
    assert stamps(tmp_path) == before
    folder, state, _ = sweep.claim(tmp_path / "0", changed, typed, searches=True)
    with folder:
        assert (folder.path.name, state) == ("0-1", None)


def test_a_default_of_today_neither_locks_a_job_out_nor_enters_it(tmp_path):
    begin(tmp_path / "0", INTERRUPTED)
    today = _config(trainer={"batch_size": 1000}, precision="bf16", device="cpu")
    folder, state, config = sweep.claim(tmp_path / "0", today, OVERRIDES, searches=False)
    with folder:
        assert state == INTERRUPTED
        assert (config.trainer.batch_size, config.precision) == (64, "float32")
        assert config.device == "cpu"  # the machine of now
    typed = [*OVERRIDES, "trainer.batch_size=1000"]
    with pytest.raises(ValueError, match="batch_size was 64 when the run began and is 1000 now"):
        sweep.claim(tmp_path / "0", today, typed, searches=False)


def test_folders_are_counted_as_people_count(tmp_path):
    for name in ("10", "2", "0-1", "0"):
        begin(tmp_path / name, FINISHED)
    assert [path.name for path in sweep.folders(tmp_path)] == ["0", "0-1", "2", "10"]
