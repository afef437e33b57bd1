"""Which rows are held out of those that train."""

import inspect

import numpy as np
import pytest
import torch

from svae.configuration.compare import since
from svae.configuration.schema import KEYS, takes
from svae.configuration.suggestions import of_value
from svae.data import array, directions
from svae.data.holdout import hold_out
from svae.data.splits import digest

COUNTS = {"validation": 30, "test": 20}


@pytest.mark.parametrize("order", ["shuffled", "time", "file"])
@pytest.mark.parametrize("labels", [None, np.repeat([5, 7], 100)])
def test_every_row_is_in_one_split(order, labels):
    rows = hold_out(200, COUNTS, order, labels=labels)
    assert {name: len(own) for name, own in rows.items()} == {"train": 150, **COUNTS}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(200))


@pytest.mark.parametrize("sizes", [(100, 100), (150, 40, 10), (1,) * 20 + (180,)])
def test_of_rows_sorted_by_class_each_split_has_each_class_in_its_share(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = hold_out(200, COUNTS, "shuffled", labels=labels)
    for own in rows.values():
        counts = np.bincount(labels[own], minlength=len(sizes))
        assert np.abs(counts - np.array(sizes) * len(own) / 200).max() < 2
        assert len(np.unique(labels[own[:40]])) > 1  # nor does a split begin with one class


def test_rows_are_drawn_evenly_and_by_the_seed_alone():
    labels, draws = np.arange(200) % 3, 500
    times = np.zeros(200)
    for seed in range(draws):
        times[hold_out(200, COUNTS, "shuffled", seed, labels)["test"]] += 1
    z = (times - draws / 10) / np.sqrt(draws * 0.1 * 0.9)
    assert np.abs(z).max() < 5
    first, again, other = (hold_out(200, COUNTS, "shuffled", n)["test"] for n in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_in_the_order_of_a_file_the_last_rows_are_held_out(tmp_path):
    rows = np.arange(100)
    np.savez(tmp_path / "x.npz", train=rows[:, None] / 7, train_labels=rows)
    data = array.load(str(tmp_path / "x.npz"), order="file")
    found = torch.cat([data.train.labels, data.test.labels, data.validation.labels])
    assert found.tolist() == rows.tolist()
    (tmp_path / "x.csv").write_text("angle,label\n" + "".join(f"1,{n}\n" for n in rows))
    data = directions.load(str(tmp_path / "x.csv"), unit="radians", order="file")
    found = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert found.tolist() == rows.tolist()
    with pytest.raises(
        ValueError, match=r"dataset\.order=sorted: expected one of shuffled, time, file"
    ):
        array.load(str(tmp_path / "x.npz"), order="sorted")


def test_in_time_nothing_that_trains_or_validates_comes_after_the_test(tmp_path):
    rows = np.arange(100)
    np.savez(tmp_path / "x.npz", train=rows[:, None] / 7, train_labels=rows)
    (tmp_path / "x.csv").write_text("angle,label\n" + "".join(f"1,{n}\n" for n in rows))
    for data in (
        array.load(str(tmp_path / "x.npz"), order="time"),
        directions.load(str(tmp_path / "x.csv"), unit="radians", order="time"),
    ):
        found = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
        assert found.tolist() == rows.tolist()
        assert data.origin.endswith("the last rows test")
    np.savez(tmp_path / "y.npz", train=rows[:, None] / 7, test=rows[:, None] / 7)
    data = array.load(str(tmp_path / "y.npz"), order="time")
    assert data.origin == "validation cut from the end of train"
    assert torch.equal(data.validation.values, torch.from_numpy(rows[-10:, None] / 7).float())


def test_the_order_of_time_may_be_typed():
    assert takes("dataset.order", "time")
    assert "time" in of_value("dataset.order", "chronological")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_file_sorted_by_class_is_split_into_all_classes(tmp_path, seed):
    labels = np.repeat(np.arange(10), 30)
    np.savez(tmp_path / "x.npz", train=labels[:, None] / 7, train_labels=labels)
    (tmp_path / "x.csv").write_text("angle,label\n" + "".join(f"{n / 5},{n}\n" for n in labels))
    options = {"order": "shuffled", "split_seed": seed}
    for data in (
        array.load(str(tmp_path / "x.npz"), **options),
        directions.load(str(tmp_path / "x.csv"), unit="radians", **options),
    ):
        for split in (data.train, data.validation, data.test):
            assert len(torch.unique(split.labels)) == 10
            torch.testing.assert_close(  # what belongs to a row goes with it
                split.values[:, 0],
                torch.cos(split.labels / 5) if split.directions else split.labels / 7,
            )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("labelled", [10, 11, 100])
def test_each_class_keeps_a_label_that_trains_where_labels_are_missing(labelled, seed):
    labels = np.where(np.arange(200) < labelled, np.arange(200) % 10, -1)
    rows = hold_out(200, COUNTS, "shuffled", seed, labels)
    assert {*labels[rows["train"]]} >= {*range(10)}
    assert {name: len(own) for name, own in rows.items()} == {"train": 150, **COUNTS}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(200))


def test_splits_with_enough_labels_are_those_of_before():
    enough, complete = np.where(np.arange(200) % 2, np.arange(200) % 10, -1), np.arange(200) % 97
    hashes = [
        digest(*hold_out(200, COUNTS, "shuffled", 3, own).values()) for own in (enough, complete)
    ]
    assert [own[:8] for own in hashes] == ["94df3865", "2bb16b65"]


def test_of_rows_too_few_to_change_places_with_a_class_stays_without_a_label():
    labels = np.array([0, 1, 2, -1])
    rows = hold_out(4, {"validation": 1, "test": 1}, "shuffled", 0, labels)
    assert sorted(np.concatenate(list(rows.values()))) == [0, 1, 2, 3]
    assert -1 not in labels[rows["train"]]


@pytest.mark.parametrize("order", ["shuffled", "file"])
def test_how_many_labels_are_held_out_is_said_where_some_are_missing(tmp_path, order):
    labels = np.where(np.arange(100) % 2, np.arange(100) % 10, -1)
    lines = "".join(f"1,{n}\n" for n in labels)
    for name, own in (("few", labels), ("all", labels + 1)):
        np.savez(tmp_path / f"{name}.npz", train=np.arange(100)[:, None] / 7, train_labels=own)
    (tmp_path / "few.csv").write_text("angle,label\n" + lines)
    for data in (
        array.load(str(tmp_path / "few.npz"), order=order),
        directions.load(str(tmp_path / "few.csv"), unit="radians", order=order),
    ):
        held_out = 50 - int((data.train.labels != -1).sum())
        assert data.origin.endswith(f"; {held_out} of 50 labels are held out")
    assert "held out" not in array.load(str(tmp_path / "all.npz"), order=order).origin


def test_splits_in_the_file_stay_as_they_are(tmp_path):
    parts = {"train": 60, "validation": 20, "test": 10}
    arrays = {name: np.random.default_rng(n).normal(size=(n, 3)) for name, n in parts.items()}
    np.savez(tmp_path / "x.npz", **arrays)
    data = array.load(str(tmp_path / "x.npz"), order="shuffled")
    for name, values in arrays.items():
        assert torch.equal(getattr(data, name).values, torch.from_numpy(values).float())
    assert data.origin == "as in the file"


@pytest.mark.parametrize(
    ("load", "key"), [(array, "order"), (array, "levels"), (directions, "unwrapped")]
)
def test_runs_of_before_are_read_as_they_were(load, key):
    # which has no such key in its file: the function's default is what it did
    default = inspect.signature(load.load).parameters[key].default
    assert default == KEYS[f"dataset.{key}"].before
    assert f"dataset.{key}" not in since({"dataset": {}, "trainer": {}})
