"""metrics.csv of a run at work: appended to, cut where a checkpoint ends, refused when altered."""

import copy
import errno
import os

import pytest

from svae.recording import checkpoint, files, table
from svae.recording.checkpoint import State, Unusable
from svae.recording.files import write_table
from svae.recording.table import Table
from svae.run import read_history
from svae.training.learner import Epoch
from tests.recording.test_checkpoint import _model
from tests.support.training import save_state

ROWS = [
    {"epoch": n, "seconds": 0.1 * n, "train/learning_rate": 1, "val/elbo": -1 / n - 1e-300}
    for n in range(1, 8)
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


@pytest.mark.parametrize("parts", [[7], [1, 6], [2, 3, 2], [1] * 7])
def test_appended_rows_are_those_of_a_whole_table(path, tmp_path, parts):
    grown, done = Table(path), 0
    for count in parts:
        grown = grown.appended(ROWS[done : done + count])
        done += count
    write_table(tmp_path / "whole.csv", ROWS, last="seconds")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (grown.rows, grown.sha256) == (7, Table(tmp_path / "x.csv").appended(ROWS).sha256)
    assert table.read(path, 7, grown.sha256) == ROWS
    # and to the bit: 1 is no 1.0
    assert repr(table.read(path, 7, grown.sha256)[0]["train/learning_rate"]) == "1"


def test_an_epoch_is_written_alone_however_many_there_are(path, monkeypatch):
    written, write = [], files.os.fdopen
    grown = Table(path).appended([dict(ROWS[0], epoch=n) for n in range(1, 5000)])

    def opened(descriptor, *arguments, **named):
        stream = write(descriptor, *arguments, **named)
        written.append(stream)
        return stream

    monkeypatch.setattr(files.os, "fdopen", opened)
    size = path.stat().st_size
    assert grown.appended([ROWS[0]]).rows == 5000
    assert len(written) == 1  # nothing was read, and nothing else written
    assert path.stat().st_size - size < 100


def test_a_column_that_comes_in_later_alters_no_row(path):
    first = Table(path).appended(ROWS[:3])
    more = [dict(row, **{"val/iwae": -2.0}) for row in ROWS[3:]]
    second = first.appended(more)
    assert path.read_text().splitlines()[0].split(",")[-2:] == ["val/iwae", "seconds"]
    assert table.read(path, 3, first.sha256) == ROWS[:3]
    assert table.read(path, 7, second.sha256) == ROWS[:3] + more
    assert second.appended([dict(more[0], epoch=8)]).size == path.stat().st_size


BEHIND = {
    "nothing": b"",
    "rows": b"4,1,-0.25,0.4\n5,1,-0.2,0.5\n",
    "a part of a row": b"4,1,-0.",
    "a block that a lost power supply left": bytes(512),
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=list(BEHIND))
def test_what_stands_behind_the_rows_of_the_checkpoint_is_cut_off(path, behind):
    first = Table(path).appended(ROWS[:3])
    whole = path.read_bytes()
    path.write_bytes(whole + behind)
    rows = table.read(path, 3, first.sha256)
    assert rows == ROWS[:3]
    again = Table(path).appended(rows)
    assert path.read_bytes() == whole
    assert again.sha256 == first.sha256


ALTERED = {
    "shorter": (lambda text: text[: text.rstrip("\n").rfind("\n") + 1], "holds 6 epochs and last"),
    "torn": (lambda text: text[:-3], "its first 7 epochs are not those of last.pt, expected"),
    "another digit": (lambda text: text.replace("-0.5", "-0.4"), "are not those of last.pt"),
    "in another order": (
        lambda text: "\n".join([*text.split("\n")[:1], *text.split("\n")[7:0:-1], ""]),
        "are not those of last.pt",
    ),
    "no number": (lambda text: text.replace("-0.5", "half"), "expected a row of numbers per epoch"),
    "too long a number": (lambda text: text.replace("-0.5", "1" * 5000), "a row of numbers"),
    "more cells": (lambda text: text.replace("-0.5", "-0.5,1,2,3"), "a row of numbers"),
    "empty": (lambda text: "", "holds 0 epochs and last.pt 7"),
}


@pytest.mark.parametrize(("alter", "words"), ALTERED.values(), ids=list(ALTERED))
def test_an_altered_table_is_refused_with_the_run_as_it_was(tmp_path, path, alter, words):
    last = _saved(tmp_path)
    path.write_text(alter(path.read_text()))
    before, (model, optimizer) = path.read_bytes(), _model()
    weight = copy.deepcopy(model.weight)
    with pytest.raises(Unusable, match=words) as refusal:
        checkpoint.restore(last, model, optimizer)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    assert (model.weight == weight).all()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), r"cannot be read \(No such file"),
        (lambda path: path.rename(path.with_name("a")) and path.symlink_to("a"), "links are not"),
        (lambda path: path.unlink() or os.mkfifo(path), "is no regular file"),
    ],
)
def test_a_table_that_is_no_file_is_refused(tmp_path, path, damage, words):
    last = _saved(tmp_path)
    damage(path)
    with pytest.raises(Unusable, match=rf"metrics\.csv: .*{words}"):
        checkpoint.restore(last, *_model())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"rows": 6}, "expected a table of 7 epochs"),
        ({"rows": -1}, "table: expected greater than or equal to 1"),
        ({"sha256": "x"}, "table: String should match pattern"),
        ({"sha256": None}, "table: expected a valid string"),
        ({"more": 1}, "table: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_word_about_the_table_is_refused(tmp_path, said, words):
    last = _saved(tmp_path)
    content = checkpoint.load(last)
    content["table"] |= said
    checkpoint.save(last, content)
    with pytest.raises(Unusable, match=rf"last\.pt: {words}"):
        checkpoint.restore(last, *_model())


def _saved(folder):
    model, optimizer = _model()
    tensors = checkpoint.tensors(model, optimizer)
    best = {"model": tensors["model"], "epoch": 7, "features": 3, "likelihood": "bernoulli"}
    last = save_state(folder, State(tensors, Epoch(7, ROWS[-1], 7, -1.0), ROWS, 0, best))
    assert checkpoint.restore(last, *_model()).rows == ROWS
    return last


@pytest.mark.parametrize("room", [0, 1, 40, 41])
def test_an_append_for_which_there_is_no_room_can_be_repeated(path, monkeypatch, room):
    first = Table(path).appended(ROWS[:3])
    whole = path.read_bytes()
    open_file = os.fdopen

    def small(descriptor, *arguments, **named):
        return _Small(open_file(descriptor, *arguments, **named), room)

    monkeypatch.setattr(files.os, "fdopen", small)
    with pytest.raises(OSError, match="No space left"):
        first.appended(ROWS[3:])
    monkeypatch.undo()
    assert path.read_bytes() == whole
    assert first.appended(ROWS[3:]).rows == 7
    assert read_history(path.parent) == ROWS
    # and with rows in it that last.pt may name already, nothing gets lost
    monkeypatch.setattr(files.os, "fdopen", small)
    with pytest.raises(OSError, match="No space left"):
        first.appended(ROWS[3:])
    monkeypatch.undo()
    assert read_history(path.parent) == ROWS


class _Small:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, stream, room):
        self._stream, self._room = stream, room

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stream.close()

    def write(self, content):
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._stream.write(content[: self._room])
        self._room -= written
        return written


def test_a_table_that_somebody_cut_meanwhile_is_not_filled_with_nothing(path):
    grown = Table(path).appended(ROWS[:3])
    path.write_text("epoch\n1\n")
    with pytest.raises(OSError, match="has become shorter"):
        grown.appended(ROWS[3:])
    assert path.read_text() == "epoch\n1\n"


def test_readers_see_no_part_of_a_row(path):
    Table(path).appended(ROWS[:3])
    whole = path.read_bytes()
    for size in range(len(whole.rstrip()) - 20, len(whole)):
        path.write_bytes(whole[:size])
        assert read_history(path.parent) == ROWS[:2]
