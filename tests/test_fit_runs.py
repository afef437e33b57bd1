"""The run of `svae.fit`: its folder, its replicas, its data, its pictures."""

import atexit
import gc
import tempfile

import numpy as np
import pytest
import torch

import svae
from svae.recording.folder import FINISHED
from svae.training.guard import Diverged
from tests.test_fit import NUMBERS, QUICK, RANDOM, UNITS
from tests.test_fit import _fit as fit


def test_replicas_may_have_a_split_each(tmp_path):
    keys = {"trainer.replicas": 2, "dataset.split_seed": "${seed}", "trainer.max_epochs": 1}
    run = svae.fit(NUMBERS, folder=tmp_path / "run", **{**QUICK, **keys})
    hashes = [own.results["split_hash"] for own in run.replicas]
    keys = {"dataset.split_seed": 1, "trainer.max_epochs": 1, "seed": 1}
    alone = svae.fit(NUMBERS, **{**QUICK, **keys})
    assert hashes[0] != hashes[1] == alone.results["split_hash"]


def test_a_temporary_folder_goes_with_what_is_read_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    replicas = fit(NUMBERS, **{"trainer.replicas": 2}).replicas
    gc.collect()
    assert [run.status.state for run in replicas] == [FINISHED, FINISHED]
    del replicas
    gc.collect()
    assert [*tmp_path.glob("svae-*")] == []
    at_exit = []
    monkeypatch.setattr(atexit, "register", lambda *call, **keys: at_exit.append((call, keys)))
    with pytest.raises(Diverged):
        fit(NUMBERS, **{"trainer.learning_rate": 1e30})
    (left,) = tmp_path.glob("svae-*")  # with the log of what happened
    assert (left / "run" / "svae-train.log").exists()
    for (function, *arguments), keys in at_exit:
        function(*arguments, **keys)
    assert [*tmp_path.glob("svae-*")] == []


def test_replicas_work_where_the_whole_does(tmp_path):
    folder = fit(NUMBERS, folder=tmp_path / "run", **{"trainer.replicas": 2}).path
    (first, _) = svae.Run(folder, "meta", trust=[tmp_path]).replicas
    assert (first.device, first.trust) == ("meta", [tmp_path])


def test_pictures_of_altered_data_are_refused(tmp_path):
    images = RANDOM.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    run = fit(None, dataset="array", **{"dataset.file": tmp_path / "x.npy"})
    run.plot.interpolations()
    np.save(tmp_path / "x.npy", 255 - images)
    with pytest.raises(ValueError, match="trained on other data"):
        run.plot.interpolations()


def test_directions_may_have_few_labels(tmp_path):
    names = np.where(np.arange(60) < 30, np.array(["one", "two"])[np.arange(60) % 2], "")
    keys = {"dataset.likelihood": "vmf", "network.style": "R2"}
    keys |= QUICK | {"network": "m1m2", "network.hidden": [8], "trainer": {"max_epochs": 1}}
    run = svae.fit(((UNITS, names),) * 3, **keys)
    # of a law on the sphere it is the log-likelihood, by other samples
    assert abs(run.results["test/log_density"] - run.results["test/log_likelihood"]) < 2


def test_a_run_of_angles_takes_and_gives_angles(tmp_path):
    angles = np.random.default_rng(0).uniform(0, 360, (60, 3))
    np.savetxt(tmp_path / "x.csv", angles, delimiter=",")
    keys = {"dataset.file": tmp_path / "x.csv", "dataset.unit": "degrees"}
    run = svae.fit(dataset="directions", **{**QUICK, **keys})
    decoded = run.decode(run.encode(angles).loc)
    assert decoded.shape == angles.shape
    assert 0 <= decoded.min() <= decoded.max() <= 360
    # a turn more is the same direction
    np.testing.assert_allclose(run.encode(angles + 360).loc, run.encode(angles).loc, atol=1e-5)
    with pytest.raises(ValueError, match="x: expected shape"):
        run.encode(np.zeros((2, 6)))


def test_a_run_of_before_keeps_to_cosines_and_sines(tmp_path, svae_train):
    np.savetxt(tmp_path / "x.csv", np.arange(60.0)[:, None], delimiter=",")
    keys = {"dataset.file": tmp_path / "x.csv", "dataset.unit": "degrees"}
    keys |= QUICK | {"trainer.learning_rate": 1e-2}
    run = svae.fit(dataset="directions", folder=tmp_path / "run", **keys)
    old = {"shape": [2], "divisors": {"float32": 1}, "highest": None, "is_direction": False}
    for name in ("best.pt", "last.pt"):
        file = run.path / "checkpoints" / name
        state = torch.load(file, weights_only=True)
        state.get("best", state)["units"] = old
        torch.save(state, file)
    epochs = run.config["trainer"]["max_epochs"] + 5
    done = svae_train(f"resume={run.path}", f"trainer.max_epochs={epochs}", quick=False)
    assert done.returncode == 0, done.stderr
    assert run.results["best_epoch"] > epochs - 5
    assert len(run.encode(np.array([[0.6, 0.8]])).loc) == 1


def test_unit_vectors_of_two_decimals_are_trained_on_and_encoded(tmp_path):
    rounded = np.round(UNITS, 2)
    np.savetxt(tmp_path / "x.csv", rounded, "%.2f", delimiter=",")
    keys = {"dataset.file": tmp_path / "x.csv", "dataset.unit": "vectors"}
    run = svae.fit(dataset="directions", **{**QUICK, **keys})
    # the length is rounded, and not the direction
    found = run.encode(rounded).loc, run.encode(UNITS).loc
    assert np.abs(found[0] - found[1]).max() < 0.05
