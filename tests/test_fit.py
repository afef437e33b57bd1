"""`svae.fit`: the command's run, from data in memory."""

import logging
import os
import random
import shutil
import signal
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from numpy.random import mtrand

import svae
from svae import fitting
from svae.data import synthetic
from svae.data.splits import DataSet, Split
from svae.recording.folder import FINISHED
from svae.recording.saved import settled
from tests.test_extending import FILE, PAGE

COMPOSED = fitting._composed
RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(60, 5))
UNITS = NUMBERS / np.linalg.norm(NUMBERS, axis=1, keepdims=True)
QUICK = {
    "latent_dim": 3,
    "network": {"hidden": [8]},
    "trainer": {"max_epochs": 2, "warmup_epochs": 1},
    "evaluation": {"importance_samples": 5},
    "threads": 1,
    "device": "cpu",
    "plots": False,
    "progress": False,
}


def _fit(data, **keys):
    return svae.fit(data, **{**QUICK, **keys})


class Frame:
    """A data frame as far as it matters: columns of several types."""

    def __init__(self, **columns):
        self._values = {name: np.asarray(values) for name, values in columns.items()}
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._values[name]

    def to_numpy(self):
        return np.stack([own.astype(object) for own in self._values.values()], 1)


def _process():
    """Return what a library should leave as it found it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": mtrand.get_state()[1].tolist(),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "signals": handlers,
        # torch, when it is first used, says where its compiler would keep files
        "environment": {k: v for k, v in os.environ.items() if "INDUCTOR" not in k},
        "folder": os.getcwd(),
        "hydra": (GlobalHydra.instance().is_initialized(), HydraConfig.instance().cfg),
        "log": list(logging.getLogger().handlers),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    before = _process()
    x, names = NUMBERS, np.array(["one", "two", "three"])[RANDOM.integers(0, 3, 60)]
    run = _fit((x, names), folder=tmp_path_factory.mktemp("fit") / "run", seed=3)
    after = _process()
    run.disturbed = [name for name, state in before.items() if after[name] != state]
    return run


def test_it_makes_a_run_folder_and_disturbs_nothing(run):
    assert run.disturbed == []
    assert run.status.state == FINISHED
    assert len(run.history) == 2
    assert {"data.npz", "latents.npz", "checkpoints"} <= {file.name for file in run.path.iterdir()}
    assert run.config["dataset"]["file"] == "${folder}/data.npz"
    assert run.config["logger"]["mode"] == "disabled"
    assert "dataset.file=${folder}/data.npz" in run.overrides
    assert set(run.latents["labels"]) == {0, 1, 2}


WRONG = [
    ("text", {}, "data: expected an array, (x, labels), (train, validation, test) or an svae.d"),
    ({"train": NUMBERS}, {}, 'got dict; for a file: dataset="array"'),
    (3.0, {}, "data: train: expected shape (N, D), (N, height, width), or (N, height, wid"),
    ([[1.0], [2.0, 3.0]], {}, "data: expected rows of one length"),
    ([["a", "b"]], {}, "data: expected an array of numbers or booleans, got <U1 (1, 2)"),
    (NUMBERS.astype(complex), {}, "got complex128 (60, 5)"),
    (NUMBERS[0], {}, "or (N, height, width, 3), got (5,)"),
    (np.zeros((0, 5)), {}, "got (0, 5)"),
    (np.where(NUMBERS > 2, np.nan, NUMBERS), {}, "data: train: expected finite values, got nan"),
    (np.arange(60).reshape(20, 3), {}, "int64 from 0 to 59 may be counts as well as levels"),
    (NUMBERS[:3], {}, "dataset.validation_fraction=0.1: leaves 0 of 3 rows"),
    (
        NUMBERS,
        {"dataset.validation_fraction": 0.6, "dataset.test_fraction": 0.5},
        "dataset.validation_fraction=0.6, dataset.test_fraction=0.5: leave none of 60 rows to",
    ),
    (np.ma.masked_less(NUMBERS, 0), {}, "data: holds masked numbers"),
    ((NUMBERS,), {}, "got a tuple of 1"),
    ((NUMBERS, NUMBERS[:, :3], NUMBERS), {}, "data: validation: rows of shape (3,), those of"),
    ((NUMBERS, [0, 1]), {}, "data: train_labels: 2 labels for 60 rows"),
    ((NUMBERS, np.ones(60)), {}, "train_labels: expected whole numbers or texts (N,), got float"),
    ((NUMBERS, [None] * 60), {}, "data: train_labels: expected whole numbers or texts, got None"),
    (Frame(a=[1.0, 2.0], b=["x", "y"]), {}, "data: column b holds x, expected numbers"),
    (NUMBERS, {"dataset": {"likelihood": "vmf"}}, "data: train: expected unit vectors, got one"),
    (NUMBERS, {"dataset": "mnist"}, "dataset=mnist: data are given, expected one of the two"),
    (NUMBERS, {"dataset.file": "x.npz"}, "dataset.file: data are given"),
    (NUMBERS, {"resume": "x"}, "resume: is of the command svae-train"),
    (NUMBERS, {"hydra": {"run": {"dir": "x"}}}, "hydra: is of the command svae-train"),
    (NUMBERS, {"latent_dim": "3"}, "latent_dim=3: expected a whole number from 1 up"),
    (
        NUMBERS,
        {"latent_dim": object},
        "a whole number from 1 up to 2147483647, got a type",
    ),
    (NUMBERS, {"max_epochs": 3}, "max_epochs: no such key; did you mean trainer.max_epochs?"),
    (NUMBERS, {"model": "gaussian"}, "did you mean normal?"),
    (NUMBERS, {"folder": __file__}, "is a file, expected a folder"),
    (NUMBERS, {"folder": 3}, "folder=3: expected the path of a folder"),
    (NUMBERS, {"config_dir": "/nowhere"}, "/nowhere: expected a folder of configuration"),
    (None, {"store": False, "dataset": "circle"}, "store=False: what dataset=NAME reads"),
]


@cache
def _composed(typed, *folders, has_file):
    """Compose what several cases have in common once."""
    return COMPOSED(list(typed), *folders, has_file=has_file)


@pytest.mark.parametrize(("data", "keys", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_data_and_keys_are_refused_in_one_sentence(data, keys, words, monkeypatch):
    monkeypatch.setattr(fitting.experiment, "run", None)  # nothing is trained
    monkeypatch.setattr(
        fitting, "_composed", lambda typed, *f, **n: _composed(tuple(typed), *f, **n)
    )
    with pytest.raises(ValueError) as refused:
        _fit(data, **keys)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_command_makes_the_same_parameters_and_goes_on_with_the_run(run, svae_train, tmp_path):
    moved = shutil.copytree(run.path, tmp_path / "moved")
    quick = {**QUICK, "seed": 3}
    del quick["progress"]
    typed = [f"{key}={value}" for key, value in quick.items() if not isinstance(value, dict)]
    typed += ["network.hidden=[8]", "evaluation.importance_samples=5", "logger.mode=disabled"]
    typed += ["trainer.max_epochs=2", "trainer.warmup_epochs=1", "hydra.run.dir=typed"]
    typed = [line.replace("False", "false") for line in typed]
    file = f"dataset.file={moved / 'data.npz'}"
    assert svae_train("dataset=array", file, *typed, quick=False).returncode == 0
    ours, theirs = run.model().state_dict(), svae.Run(tmp_path / "typed").model().state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    resumed = svae_train(f"resume={moved}", "trainer.max_epochs=3", quick=False)
    assert resumed.returncode == 0, resumed.stderr
    assert len(svae.Run(moved).history) == 3
    assert svae_train(f"evaluate={moved}", quick=False).returncode == 0
    assert svae_train(f"report={tmp_path}", quick=False).returncode == 0


@pytest.mark.slow
def test_without_its_data_a_run_is_loaded_and_nothing_else(svae_train, tmp_path):
    run = _fit(NUMBERS, store=False, folder=tmp_path / "run")
    assert not list(run.path.glob("data*"))
    assert svae.Run(run.path).encode(NUMBERS).loc.shape == (60, 4)
    for verb in ("resume", "evaluate"):
        done = svae_train(f"{verb}={run.path}", quick=False)
        assert (done.returncode, "svae.fit(store=False)" in done.stderr) == (2, True)
    with pytest.raises(ValueError, match=r"svae\.fit\(store=False\)"):
        run.plot.reconstructions()
    assert run.plot.latent() is not None


def _pictures(*shape):
    return RANDOM.integers(0, 256, (60, *shape), np.uint8)


def _circle():
    return synthetic.load(1, 3, 5.0, 4, 0.3, 70, 0)


KINDS = {
    "floats": (lambda: NUMBERS, {}),
    "probabilities": (lambda: RANDOM.random((60, 5)), {}),
    "pictures": (lambda: _pictures(28, 28), {}),
    "odd pictures": (lambda: _pictures(3, 5), {"model": "normal"}),
    "colours last": (lambda: _pictures(32, 32, 3), {"network": "conv"}),
    "colours first": (lambda: _pictures(3, 9, 11), {}),
    "one channel": (lambda: _pictures(8, 9, 1), {"network": "conv"}),
    "coloured floats": (lambda: RANDOM.standard_normal((60, 8, 8, 3)), {}),
    "booleans": (lambda: NUMBERS > 0, {}),
    "levels": (lambda: RANDOM.integers(0, 9, (60, 5)), {"dataset": {"levels": 9}}),
    "unit vectors": (lambda: UNITS, {"dataset": {"likelihood": "vmf"}}),
    "deviations": (lambda: NUMBERS, {"dataset": {"likelihood": "heteroscedastic"}}),
    "a tensor": (lambda: torch.from_numpy(NUMBERS), {"model": "power_spherical"}),
    "a list": (lambda: NUMBERS.tolist(), {}),
    "a frame": (lambda: Frame(a=NUMBERS[:, 0], b=NUMBERS[:, 1] > 0, c=NUMBERS[:, 2]), {}),
    "three splits": (lambda: (NUMBERS, NUMBERS[:9], (NUMBERS[:8], list("abcdabcd"))), {}),
    "a data set": (_circle, {"model": "product", "model.factors": ["S1", "R2"]}),
}


def _rows(data):
    data = data.test.values if isinstance(data, DataSet) else data
    return data[0] if isinstance(data, tuple) else data


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_encoded_and_decoded_as_it_is(kind, tmp_path):
    make, keys = KINDS[kind]
    data = make()
    run = _fit(data, folder=tmp_path / "run", **keys)
    rows = _rows(data)
    array = np.asarray(rows.to_numpy() if hasattr(rows, "to_numpy") else rows, np.float64)
    again = svae.Run(run.path)
    loc, _ = again.encode(rows)
    decoded = again.decode(loc)
    assert decoded.shape == array.shape
    assert decoded.min() >= array.min() - 3 * array.std()
    assert decoded.max() <= array.max() + 3 * array.std()
    if kind in ("pictures", "levels", "colours last", "colours first", "one channel"):
        assert decoded.max() > 1  # in their units
    assert np.isfinite(again.score(rows)).all()
    assert again.sample(2).shape == (2, *array.shape[1:])
    assert len(again.interpolate(rows, rows, 3)) == len(array)
    assert run.plot.curves() is not None


@pytest.mark.slow
def test_a_data_set_of_the_library_is_that_which_is_stored(svae_train, tmp_path):
    data = _circle()
    run = _fit(data, folder=tmp_path / "run", latent_dim=1)
    assert svae_train(f"evaluate={run.path}", quick=False).returncode == 0
    assert run.results["data_hash"] == data.data_hash
    assert "test/recovery_error" in run.results
    part = Split(torch.zeros(9, 2))
    with pytest.raises(ValueError, match="has the class Linear as likelihood"):
        svae.fit(DataSet(part, part, part, likelihood=torch.nn.Linear))


@pytest.mark.slow
def test_two_threads_fit_at_once_what_each_fits_alone():
    found = {}

    def work(seed):
        run = _fit(NUMBERS, seed=seed)
        found[seed] = {name: own.clone() for name, own in run.model().state_dict().items()}

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    both = dict(found)
    for seed in (0, 1):
        work(seed)
        assert all(torch.equal(own, both[seed][name]) for name, own in found[seed].items())


@pytest.mark.slow
def test_a_temporary_folder_stays_as_long_as_its_run():
    run = _fit(NUMBERS)
    path = run.path
    assert run.encode(NUMBERS[:2]).loc.shape == (2, 4)
    del run
    assert not Path(path).exists()


@pytest.mark.slow
def test_what_the_program_reads_itself_needs_no_data():
    run = svae.fit(**{**QUICK, "dataset": "circle", "dataset.observations": 70})
    assert run.encode(np.zeros((2, 100))).loc.shape == (2, 4)


@pytest.mark.slow
def test_an_interrupted_fit_leaves_a_run_that_goes_on(monkeypatch, tmp_path, svae_train):
    runs = sys.modules["svae.experiment.run"]

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_show", stop)
    with pytest.raises(KeyboardInterrupt):
        _fit(NUMBERS, folder=tmp_path / "run")
    run = svae.Run(tmp_path / "run")
    assert run.status.state == "interrupted"
    assert run.encode(NUMBERS).loc.shape == (60, 4)
    assert svae_train(f"resume={run.path}", quick=False).returncode == 0
    assert run.status.state == FINISHED


def test_where_the_folder_is_may_be_said_of_its_data_alone(tmp_path):
    file, text = tmp_path / "config.yaml", "${folder}/data.npy"
    found = settled({"dataset": {"file": text}}, file)
    assert found == {"dataset": {"file": str(tmp_path / "data.npy")}}
    for values in ({"dataset": {"root": text}}, {"logger": {"name": text}}):
        with pytest.raises(ValueError, match="is not allowed in a run folder"):
            settled(values, file)


def test_a_run_that_is_damaged_or_of_something_else_is_refused(run, tmp_path):
    damaged = svae.Run(shutil.copytree(run.path, tmp_path / "run"))
    assert damaged.encode(NUMBERS).loc.shape == (60, 4)
    with pytest.raises(ValueError, match=r"of shape \(N, 4\), got \(2, 3\)"):
        damaged.decode(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"expected shape \(N, 5\), got \(60, 4\)"):
        damaged.score(NUMBERS[:, :4])
    with pytest.raises(ValueError, match="walk: is no picture of this run, expected one of curves"):
        damaged.plot.walk()
    best = damaged.path / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"best\.pt: not a readable checkpoint"):
        damaged.encode(NUMBERS)
    best.unlink()
    with pytest.raises(ValueError, match=r"best\.pt: no such checkpoint"):
        damaged.sample(3)


@pytest.mark.slow
def test_classes_of_ones_own_are_fitted_and_encode(tmp_path):
    own = tmp_path / "own"
    for name, text in FILE.findall(PAGE):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    run = svae.fit(**{**QUICK, "latent_dim": 4}, dataset="bars", model="pair", config_dir=own)
    pictures = RANDOM.random((5, 8, 8)) > 0.5
    assert run.encode(pictures).loc.shape == (5, 6)
    assert run.encode(pictures).spread is None
    with pytest.raises(ValueError, match="vouch for it by --config-dir"):
        svae.Run(run.path).encode(pictures)


@pytest.mark.slow
def test_replicas_are_runs_of_their_own(tmp_path):
    run = _fit(NUMBERS, folder=tmp_path / "run", **{"trainer.replicas": 2})
    with pytest.raises(ValueError, match="holds replicas, expected one of them"):
        run.encode(NUMBERS)
    alone = _fit(NUMBERS, seed=1)
    np.testing.assert_allclose(
        run.replicas[1].encode(NUMBERS).loc, alone.encode(NUMBERS).loc, atol=1e-5
    )
