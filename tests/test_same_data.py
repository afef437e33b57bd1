"""The data behind a run stay the same as long as it is resumed or evaluated."""

import json
import shutil

import numpy as np
import pytest
import torch

from svae.data import array, directions, sphere_graph, synthetic
from svae.data.links import sparse, split_links
from svae.data.splits import DataSet, Split
from svae.recording import checkpoint
from tests.conftest import QUICK

RANDOM = np.random.default_rng(0)
ROWS, LABELS = RANDOM.random((60, 4)), RANDOM.integers(0, 3, 60)
EDGES = RANDOM.integers(0, 30, (2, 200))


def _array(folder, values=ROWS, labels=LABELS, pack=np.savez, **options):
    pack(folder / "x.npz", train=values, train_labels=labels)
    options = {"order": "shuffled", "levels": "auto", **options}
    return array.load(str(folder / "x.npz"), **options)


def _directions(folder, values=ROWS, **options):
    lines = [",".join(map(repr, map(float, row))) for row in values]
    (folder / "x.csv").write_text("\n".join(lines))
    options = {"order": "shuffled", "unit": "radians", **options}
    return directions.load(str(folder / "x.csv"), **options)


def _graph(folder, values=ROWS[:30], edges=EDGES, labels=LABELS[:30], layout=torch.tensor, seed=0):
    return split_links(layout(values).float(), edges, torch.tensor(labels.copy()), seed=seed)


def _nudged(values):
    """Return the numbers with the last bit of one of them altered."""
    values = values.astype(np.float32)
    values[3, 2] = np.nextafter(values[3, 2], np.float32(2))
    return values


def _hashes(data):
    return data.data_hash, data.split_hash


@pytest.mark.parametrize(
    ("load", "changed"),
    [
        (_array, {"values": _nudged(ROWS)}),
        (_array, {"labels": LABELS[::-1]}),
        (_array, {"values": ROWS[::-1]}),
        (_directions, {"values": _nudged(ROWS)}),
        (_directions, {"values": np.roll(ROWS, 1, axis=1)}),
        (_graph, {"values": _nudged(ROWS[:30])}),
        (_graph, {"edges": EDGES[:, 20:]}),
        (_graph, {"labels": LABELS[30:]}),
        (_graph, {"values": _nudged(ROWS[:30]), "layout": lambda v: sparse(torch.tensor(v))}),
    ],
)
def test_other_data_have_another_hash(tmp_path, load, changed):
    like = {"values": ROWS.astype(np.float32)[: 30 if load is _graph else 60]}
    like |= {name: value for name, value in changed.items() if name == "layout"}
    first, again, other = (load(tmp_path, **{**like, **more}) for more in ({}, {}, changed))
    assert first.data_hash == again.data_hash != other.data_hash


@pytest.mark.parametrize(
    ("load", "changed", "is_split_alike"),
    [
        (_array, {"likelihood": "gaussian"}, True),  # how they are processed is no matter
        (_array, {"pack": np.savez_compressed}, True),
        (_array, {"split_seed": 1}, False),
        (_array, {"order": "file"}, False),
        (_array, {"test_fraction": 0.3}, False),
        (_directions, {"likelihood": "gaussian"}, True),
        (_directions, {"unit": "degrees"}, True),
        (_directions, {"split_seed": 1}, False),
        (_graph, {"edges": EDGES[::-1]}, True),
        (_graph, {"seed": 1}, False),
    ],
)
def test_the_same_data_have_the_same_hash_however_they_are_split(
    tmp_path, load, changed, is_split_alike
):
    first, again = load(tmp_path), load(tmp_path, **changed)
    assert first.data_hash == again.data_hash
    assert (first.split_hash == again.split_hash) == is_split_alike


@pytest.mark.parametrize(
    ("load", "small", "other"),
    [
        (synthetic.load, {"observations": 70}, {"seed": 1}),
        (directions.load, {"observations": 70}, {"columns": 3}),
        pytest.param(  # reads scikit-learn
            sphere_graph.load, {"nodes": 60, "edges": 200}, {"noise": 0.1}, marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_generated_is_known_by_what_it_follows_from(monkeypatch, load, small, other):
    first = load(**small).data_hash
    assert load(**small, **other).data_hash != first
    made = np.random.default_rng  # another machine may give other digits
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made(seed + 1000))
    assert load(**small).data_hash == first


def test_a_data_set_of_ones_own_is_known_by_its_observations():
    def made(values, labels):
        parts = Split(torch.tensor(values), torch.tensor(labels)).cut(40, 10, 10)
        return DataSet(*parts, likelihood="gaussian")

    first = made(ROWS, LABELS)
    assert first.split_hash == made(ROWS.copy(), LABELS).split_hash
    assert first.split_hash != made(_nudged(ROWS).astype(float), LABELS).split_hash
    assert first.split_hash != made(ROWS, LABELS[::-1].copy()).split_hash


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ({"data_hash": "a" * 64, "split_hash": None}, "other data .* .data_hash aaaaaaaa then"),
        ({"data_hash": "d", "split_hash": "b" * 64}, "trained on another split .* bbbbbbbb then"),
        ({"split_hash": "b" * 64}, "on other data or another split"),
        ({"data_hash": ["a"]}, "other data"),
        ({"data_hash": "d", "split_hash": "s"}, None),
        ({}, None),  # of before there were hashes
        (None, None),
    ],
)
def test_a_checkpoint_is_refused_by_other_data(tmp_path, best, words):
    split = Split(torch.zeros(1, 1))
    data = DataSet(split, split, split, "gaussian", fingerprint="s", data_hash="d")
    if words is None:
        checkpoint.check_data(best, data, tmp_path)
        return
    with pytest.raises(checkpoint.Unusable, match=f"{tmp_path}: .*{words}"):
        checkpoint.check_data(best, data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_resume_and_evaluate_refuse_other_data_and_change_nothing(
    svae_train, tiny, tmp_path, replicas
):
    file, run = tmp_path / "own.npz", tmp_path / "run"
    shutil.copy(tiny, file)
    quiet = ("logger.mode=disabled", "plots=false", f"trainer.replicas={replicas}")
    line = ("dataset=array", f"dataset.file={file}", *QUICK, *quiet, f"hydra.run.dir={run}")
    assert svae_train(*line, quick=False).returncode == 0
    with np.load(file) as arrays:
        other = {name: np.roll(array, 1, axis=0) for name, array in arrays.items()}
    np.savez(file, **other)
    kept = ("json", "csv", "pt", "npz", "yaml")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.*") if p.suffix[1:] in kept}
    longer = ("resume=run", "trainer.max_epochs=4")
    for command in (longer, ("evaluate=run",)):
        done = svae_train(*command, quick=False)
        assert done.returncode == 2
        assert "was trained on other data than `dataset` gives now" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
    shutil.copy(tiny, file)
    assert svae_train(*longer, quick=False).returncode == 0
    assert svae_train("evaluate=run", quick=False).returncode == 0


@pytest.mark.slow
def test_a_job_of_a_sweep_waits_for_its_data(svae_train, tiny, tmp_path):
    file, job = tmp_path / "own.npz", tmp_path / "s" / "0"
    shutil.copy(tiny, file)
    quiet = ("logger.mode=disabled", "plots=false", "hydra.sweep.dir=s", "seed=0")
    line = ("-m", "dataset=array", f"dataset.file={file}", *QUICK, *quiet)
    assert svae_train(*line, quick=False).returncode == 0
    status = json.loads((job / "status.json").read_text())
    (job / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    with np.load(file) as arrays:
        other = {name: np.roll(array, 1, axis=0) for name, array in arrays.items()}
    np.savez(file, **other)
    before = (job / "checkpoints" / "last.pt").stat().st_mtime_ns
    for _ in range(2):
        done = svae_train(*line, quick=False)
        assert done.returncode == 1
        assert "was trained on other data" in done.stdout
        assert "of 1 run 1 interrupted; go on with" in done.stderr
        assert (job / "checkpoints" / "last.pt").stat().st_mtime_ns == before
    shutil.copy(tiny, file)
    assert svae_train(*line, quick=False).returncode == 0
