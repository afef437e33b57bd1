"""Few labels: which are kept, and the batches in which they come."""

import numpy as np
import pytest
import torch

from svae.data import array, directions, mnist, stored
from svae.data.labels import Partly, keep, labelled
from svae.data.splits import MISSING, Split, digest


def _split(labels):
    values = torch.arange(len(labels), dtype=torch.float32)[:, None]
    return Split(values, torch.tensor(labels))


DIGITS = _split([7, 3, 3, 9, 7, 3, 9, 9, 7, 3, MISSING])


@pytest.mark.parametrize("count", [3, 6, 7, 8, 9])
def test_each_class_keeps_its_share_of_the_labels(count):
    kept = keep(DIGITS, count, seed=2).labels
    assert (kept[kept != MISSING] == DIGITS.labels[kept != MISSING]).all()
    sizes = kept[kept != MISSING].unique(return_counts=True)[1]
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() == (count % 3 > 0)


def test_labels_are_drawn_by_the_seed_and_every_one_may_be():
    draws = torch.stack([keep(DIGITS, 3, seed).labels for seed in range(60)])
    assert torch.equal(draws[5], keep(DIGITS, 3, 5).labels)
    assert ((draws != MISSING).any(0) == (DIGITS.labels != MISSING)).all()
    assert keep(DIGITS, None, 0) is DIGITS


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (11, "dataset.labels=11: expected at most 10, which the 11 training rows have"),
        (2, "leaves one of the 3 classes without a label, expected at least 3"),
        (10, None),
    ],
)
def test_too_many_or_too_few_labels_are_refused(count, words):
    if words is None:  # one class has four
        assert (keep(DIGITS, count, 1).labels == DIGITS.labels).all()
        return
    with pytest.raises(ValueError, match=words):
        keep(DIGITS, count, 0)


def test_a_class_with_less_than_its_share_is_named():
    with pytest.raises(ValueError, match=r"takes 2 of class 9, which has 1, expected at most 2"):
        keep(_split([3, 3, 3, 9]), 4, 0)


def test_an_epoch_goes_once_through_the_rows_without_a_label_and_round_those_with():
    split = _split([5, -1, -1, 8, -1, -1, -1, 5])
    view = Partly(split, [5, 8], given=2)
    batches = [view.observe(index) for index in view.shuffled(2, torch.Generator().manual_seed(0))]
    assert len(view) == 5
    assert [len(batch.labels) for batch in batches] == [4, 4, 3]
    seen = torch.cat([batch.observations[:-2, 0] for batch in batches])
    assert sorted(seen.tolist()) == [1, 2, 4, 5, 6]
    assert all((batch.labels[:-2] == MISSING).all() and batch.share == 3 / 8 for batch in batches)
    given = torch.cat([batch.labels[-2:] for batch in batches])
    rows = torch.cat([batch.observations[-2:, 0] for batch in batches])
    assert {(int(row), int(label)) for row, label in zip(rows, given, strict=True)} == {
        (0, 0),
        (3, 1),
        (7, 0),
    }
    assert sorted(rows.tolist()[:3]) == sorted(rows.tolist()[3:])


def test_where_no_label_is_given_every_row_comes_once_and_in_order():
    view = Partly(_split([5, -1, 8, 6]), [5, 8])
    batches = list(view.batches(3))
    assert torch.cat([batch.observations for batch in batches]).flatten().tolist() == [0, 1, 2, 3]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0, -1, 1, -1]
    assert {(batch.given, batch.share) for batch in batches} == {(0, 0.5)}
    assert Partly(Split(torch.ones(2, 1)), [5, 8]).share == 0


def test_ten_labels_of_each_digit_are_left_and_change_nothing_else():
    whole, few = mnist.load(), mnist.load(labels=100)
    kept = labelled(few.train)
    assert kept.labels.bincount().tolist() == [10] * 10
    assert torch.equal(few.train.values, whole.train.values)
    assert torch.equal(few.test.labels, whole.test.labels)
    assert few.data_hash == whole.data_hash
    assert whole.split_hash == digest(50_000, 10_000, 10_000) != few.split_hash


def test_other_labels_are_another_split_of_the_same_data(tmp_path):
    file = _file(tmp_path, train_labels=np.arange(8) % 2)
    loads = [array.load(file, labels=4, split_seed=seed) for seed in (0, 0, 1)]
    assert [data.split_hash == loads[0].split_hash for data in loads] == [True, True, False]
    assert len({data.data_hash for data in (*loads, array.load(file))}) == 1


def _file(tmp_path, **arrays):
    values = np.random.default_rng(0).random((8, 3), np.float32)
    file = tmp_path / "own.npz"
    np.savez(file, **({"train": values, "validation": values, "test": values} | arrays))
    return str(file)


def test_an_empty_text_is_a_missing_label_and_texts_are_numbered(tmp_path):
    texts = np.array(["cat", "", "dog", "cat", "", "", "ape", "dog"])
    data = array.load(_file(tmp_path, train_labels=texts, test_labels=texts[::-1].copy()))
    assert data.train.labels.tolist() == [1, -1, 2, 1, -1, -1, 0, 2]
    assert data.test.labels.tolist() == [2, 0, -1, -1, 1, 2, -1, 1]
    assert data.source.endswith("classes 0 ape, 1 cat, 2 dog")
    assert data.classes == [0, 1, 2]
    assert data.naming["class_names"].tolist() == ["ape", "cat", "dog"]
    (tmp_path / "data.npz").write_bytes(stored.dump(data))
    assert stored.load(tmp_path / "data.npz").class_names == ["ape", "cat", "dog"]


def test_an_empty_cell_or_minus_one_is_a_missing_label_of_a_direction(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("phi,label\n" + "1.5,7\n2,\n2.5,-1\n3,2\n" * 10)
    data = directions.load(str(file), "radians", labels=2)
    assert data.classes == [2, 7]
    assert (data.train.labels != MISSING).sum() == 2
    whole = directions.load(str(file), "radians")
    assert whole.train.labels[:4].tolist() == [7, MISSING, MISSING, 2]
    with pytest.raises(ValueError, match=r"dataset.labels=3: the training rows have none"):
        directions.load(observations=60, labels=3)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ((3, 7, 9), [3, 7, 9]),
        ((-2, -1, 0), [-2, MISSING, 0]),
        (("4.0", "", "1e2"), [4, MISSING, 100]),
        ((0.5, -1, -1.5), [1, MISSING, 0]),  # no whole numbers: in order
        ((1e300, 2, -1), [1, 0, MISSING]),
    ],
)
def test_whole_numbers_are_the_labels_of_directions_and_minus_one_is_missing(
    tmp_path, cells, labels
):
    file = tmp_path / "own.csv"
    file.write_text("phi,label\n" + "".join(f"1.5,{cell}\n" for cell in cells) * 10)
    data = directions.load(str(file), "radians")
    assert data.train.labels[:3].tolist() == labels


@pytest.mark.parametrize("order", ["shuffled", "file"])
def test_a_run_of_before_whose_labels_were_numbered_goes_on(tmp_path, order):
    file, hashes = tmp_path / "own.csv", []
    for kinds in ((3, 7, "", 9), (0, 1, -1, 2)):  # the second are what the first were made to be
        file.write_text("phi,label\n" + "".join(f"1.5,{kind}\n" for kind in kinds) * 20)
        data = directions.load(str(file), "radians", order=order, labels=7)
        hashes.append(data.split_hash[:8])
    assert hashes == [{"shuffled": "8169489e", "file": "f38ceb87"}[order]] * 2


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [-1, 1] * 4,
            "train_labels has 1 alone, and -1, which is a missing label; expected 0 and 1",
        ),
        ([0.5] * 8, "expected whole numbers or texts"),
    ],
)
def test_labels_that_may_mean_something_else_are_refused(tmp_path, labels, words):
    with pytest.raises(ValueError, match=words):
        array.load(_file(tmp_path, train_labels=np.array(labels)))
