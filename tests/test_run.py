"""What becomes of the folder of each job of a sweep, and what `Run` reads of a run."""

import json
import math
import subprocess
import sys
from functools import partial
from importlib import metadata

import numpy as np
import pytest
from omegaconf import OmegaConf

import svae
from svae.data import array, directions, mnist
from svae.recording.claim import claim
from svae.recording.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder, read_status
from svae.run import Run, folders, runs
from tests.support.swept import CONFIG, OVERRIDES, begin, stamps


def _config(**changes):
    return OmegaConf.merge(CONFIG, changes)


def test_a_job_without_a_run_begins_one(tmp_path):
    folder, state, _ = claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
    with folder:
        assert state is None
        assert read_status(tmp_path / "0").state == RUNNING


@pytest.mark.parametrize("searches", [False, True])
def test_a_finished_run_is_not_touched(tmp_path, searches):
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    typed = [*OVERRIDES, "device=cpu"]
    claimed = claim(tmp_path / "0", _config(device="cpu"), typed, searches)
    assert claimed[:2] == (None, FINISHED)
    assert Run(tmp_path / "0").best("val/elbo") == -3.25
    assert stamps(tmp_path) == before


def test_an_interrupted_run_is_continued(tmp_path):
    for state in (INTERRUPTED, RUNNING):  # RUNNING without a process: it was killed
        begin(tmp_path / state, state)
        folder, found, _ = claim(tmp_path / state, CONFIG, OVERRIDES, searches=False)
        with folder:
            assert found == INTERRUPTED
            assert (folder.path / "checkpoints" / "last.pt").exists()


def test_a_failed_run_begins_again_and_keeps_its_log(tmp_path):
    begin(tmp_path / "0", FAILED)
    (tmp_path / "0" / "svae-train.log").write_text("Traceback")
    (tmp_path / "0" / "mine.txt").write_text("a person's own")
    folder, state, _ = claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
    with folder:
        assert state == FAILED
        left = {file.name for file in folder.path.iterdir()}
        wanted = {".hydra", ".lock", "config.yaml", "status.json", "svae-train.log", "mine.txt"}
        assert left == wanted
        assert read_status(folder.path) == (RUNNING, 0, None)
        assert (folder.path / "svae-train.log").read_text() == "Traceback"


def test_a_run_in_use_is_left_alone(tmp_path):
    with RunFolder.claim(tmp_path / "0", CONFIG, OVERRIDES):
        claimed = claim(tmp_path / "0", CONFIG, OVERRIDES, searches=False)
        assert claimed[:2] == (None, RUNNING)


def test_another_configuration_is_refused_and_in_a_search_takes_the_next_folder(tmp_path):
    begin(tmp_path / "0", FINISHED)
    before = stamps(tmp_path)
    changed, typed = _config(trainer={"max_epochs": 5}), ["latent_dim=3", "trainer.max_epochs=5"]
    with pytest.raises(ValueError, match=r"trainer\.max_epochs was 2 .* and is 5 now"):
        claim(tmp_path / "0", changed, typed, searches=False)
    assert stamps(tmp_path) == before
    folder, state, _ = claim(tmp_path / "0", changed, typed, searches=True)
    with folder:
        assert (folder.path.name, state) == ("0-1", None)


def test_a_default_of_today_neither_locks_a_job_out_nor_enters_it(tmp_path):
    begin(tmp_path / "0", INTERRUPTED)
    today = _config(trainer={"batch_size": 1000}, precision="bf16", device="cpu")
    folder, state, config = claim(tmp_path / "0", today, OVERRIDES, searches=False)
    with folder:
        assert state == INTERRUPTED
        assert (config.trainer.batch_size, config.precision) == (750, "float32")
        assert config.device == "cpu"  # the machine of now
    typed = [*OVERRIDES, "trainer.batch_size=1000"]
    with pytest.raises(ValueError, match="batch_size was 750 when the run began and is 1000 now"):
        claim(tmp_path / "0", today, typed, searches=False)


def test_folders_are_counted_as_people_count(tmp_path):
    for name in ("10", "2", "0-1", "0"):
        begin(tmp_path / name, FINISHED)
    assert [path.name for path in folders(tmp_path)] == ["0", "0-1", "2", "10"]


def _finish(path, **results):
    begin(path, FINISHED)
    (path / "results.json").write_text(json.dumps({f"test/{k}": v for k, v in results.items()}))
    return path


def test_a_run_is_read_from_its_folder(tmp_path):
    path = _finish(tmp_path / "0", elbo=-4.5, kl=2.0)
    np.savez(path / "latents.npz", loc=np.eye(3))
    run = svae.Run(str(path))
    assert run.path == path
    assert run.name == "vmf-d3-s0"
    assert run.status == (FINISHED, 2, None)
    assert run.config == OmegaConf.to_container(CONFIG)
    assert run.overrides == OVERRIDES
    assert run.history == [
        {"epoch": 1, "val/elbo": -5, "seconds": 0.5},
        {"epoch": 2, "val/elbo": -3.25, "seconds": 0.25},
    ]
    assert run.results == {"test/elbo": -4.5, "test/kl": 2.0}
    assert run.headline == ("test/elbo", -4.5)
    assert np.array_equal(run.latents["loc"], np.eye(3))
    assert run.seconds == 0.75
    assert run.best("val/elbo") == -3.25
    assert run.replicas == []
    assert repr(run) == f"<Run {path}: vmf-d3-s0, finished, epoch 2, test/elbo -4.5000>"


def test_references_of_a_configuration_stay_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "secret")
    RunFolder.claim(tmp_path / "0", _config(logger={"project": "${oc.env:SECRET}"}), []).close()
    config = Run(tmp_path / "0").config
    assert config["logger"]["project"] == "${oc.env:SECRET}"
    assert config["model"]["gradient"] == "${sampler.gradient}"


def test_a_run_that_goes_on_is_read_anew(tmp_path):
    with RunFolder.claim(tmp_path / "0", CONFIG, []) as folder:
        run = Run(folder.path)
        assert (run.history, run.results, run.latents) == ([], {}, {})
        assert math.isnan(run.best("val/elbo"))
        assert run.headline is None
        assert run.status.state == RUNNING
        before = run.changed
        folder.results({"test/elbo": -1.0})
        assert run.headline is None  # its numbers may be those of before it went on
        folder.status(FINISHED, 7)
        assert run.changed > before
        assert (run.status.epoch, run.headline) == (7, ("test/elbo", -1.0))


def test_a_run_whose_process_has_died_is_interrupted_and_stands_there_as_running(tmp_path):
    begin(tmp_path / "0", RUNNING)
    run = Run(tmp_path / "0")
    assert (run.status.state, run.written.state) == (INTERRUPTED, RUNNING)
    with RunFolder.reopen(run.path):
        assert run.status.state == RUNNING


def test_a_status_may_hold_more_than_is_known(tmp_path):
    begin(tmp_path / "0", FINISHED)
    (tmp_path / "0" / "status.json").write_text('{"state": "failed", "epoch": 1, "more": 2}')
    assert Run(tmp_path / "0").status == (FAILED, 1, None)


def test_replicas_are_read_one_by_one(tmp_path):
    begin(tmp_path, FINISHED, metrics="")
    for number in range(11):
        begin(tmp_path / str(number), FINISHED, f"epoch,val/elbo,seconds\n1,{-number},0.5\n")
    run = Run(tmp_path)
    assert [own.path.name for own in run.replicas] == [str(number) for number in range(11)]
    assert run.best("val/elbo") == -5.0
    assert run.seconds == 5.5
    assert [own.path.name for own in runs(tmp_path)] == [own.path.name for own in run.replicas]


@pytest.mark.parametrize("folder", ["nothing", "empty", "file"])
def test_a_folder_without_a_run_is_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"{folder}: expected a run folder, found no readable"):
        svae.Run(tmp_path / folder)
    with pytest.raises(ValueError, match=f"{folder}: expected run folders below it, found none"):
        svae.runs(tmp_path / folder)


@pytest.mark.parametrize("content", ["", "- 1", "3", "latent_dim: 3", "model: vmf", "a: ["])
def test_a_damaged_run_is_shown_as_such_and_refused_where_it_is_read(tmp_path, content):
    run = Run(_finish(tmp_path / "0", elbo=-1.0))
    (run.path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml: expected"):
        _ = run.name
    assert repr(run).startswith(f"<Run {run.path}: damaged: {run.path / 'config.yaml'}: expected")
    assert "\n" not in repr(run)


def _names(found):
    return [run.path.name for run in found]


def test_runs_are_sorted_the_best_first(tmp_path):
    for name, numbers in {"0": (-3, 5.0), "1": (-1, 2.0), "2": (-2, 9.0), "10": (-5, 1.0)}.items():
        # an accuracy by the labels of a test set puts nothing in order
        _finish(tmp_path / name, log_likelihood=numbers[0], kl=numbers[1], accuracy=-numbers[0] / 9)
    begin(tmp_path / "4", FAILED)
    begin(tmp_path / "3", RUNNING, "epoch,val/elbo\n1,-2\n2,-9\n")
    _finish(tmp_path / "5", auc=0.9)  # not to be compared with a log-likelihood
    _finish(tmp_path / "6", log_likelihood=0)
    (tmp_path / "6" / "results.json").write_text("damaged")
    assert _names(runs(tmp_path)) == ["1", "2", "0", "10", "3", "4", "5", "6"]
    assert _names(runs(tmp_path, by="test/log_likelihood"))[:4] == ["1", "2", "0", "10"]
    assert _names(runs(tmp_path, by="test/kl")) == ["10", "1", "0", "2", "3", "4", "5", "6"]
    # of the history the best epoch counts, of a run that goes on, too
    assert _names(runs(tmp_path, by="val/elbo")) == ["3", "0", "1", "2", "4", "5", "10", "6"]
    with pytest.raises(ValueError, match=r"by=test/elob: no run below .* has such a number"):
        runs(tmp_path, by="test/elob")


@pytest.mark.parametrize("by", ["val/kl", "test/kl", "seconds", "test/recovery_error"])
def test_of_a_cost_the_lowest_is_the_best(tmp_path, by):
    for name, values in {"0": (5, 3), "1": (4, 9), "2": (8, 6)}.items():
        rows = "".join(f"{epoch},{value}\n" for epoch, value in enumerate(values, 1))
        begin(tmp_path / name, FINISHED, f"epoch,{by}\n{rows}")
    assert Run(tmp_path / "1").best(by) == 4
    assert _names(runs(tmp_path, by=by)) == ["0", "1", "2"]


def test_the_model_of_a_run_is_that_which_is_loaded_with_the_same_trust(tmp_path, monkeypatch):
    from svae import build

    monkeypatch.setattr(build, "load", lambda *arguments: (arguments, None))
    begin(tmp_path / "0", FINISHED)
    found = Run(tmp_path / "0").model("cuda:1", trust=["mine"])
    assert found == (tmp_path / "0", "cuda:1", ["mine"])


def test_runs_without_a_result_stand_in_the_order_of_their_folders(tmp_path):
    for name in ("10", "9", "0"):
        begin(tmp_path / name, FAILED)
    assert _names(runs(tmp_path)) == ["0", "9", "10"]


def test_the_package_and_a_run_import_nothing_heavy(tmp_path):
    _finish(tmp_path / "0", elbo=-1.0)
    program = (
        "import sys, svae\n"
        "assert 'svae.run' not in sys.modules\n"
        f"print(svae.Run({str(tmp_path / '0')!r}), len(svae.runs({str(tmp_path)!r})))\n"
        "print([m for m in ('torch', 'numpy', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("test/elbo -1.0000> 1\n[]\n"), done.stderr
    with pytest.raises(AttributeError, match="no attribute 'rums'"):
        _ = svae.rums


def test_the_version_is_that_of_the_package():
    assert svae.__version__ == metadata.version("svae")
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        _ = svae.version


READERS = (Run, runs, svae.load, mnist.load, array.load, partial(directions.load, unit="vectors"))


@pytest.mark.parametrize("read", READERS)
def test_the_home_of_nobody_is_no_folder(read):
    with pytest.raises((ValueError, OSError), match="~nobody-of-this-name"):
        read("~nobody-of-this-name")
