"""What a data set in memory is refused for, before anything is trained."""

import re

import numpy as np
import pytest
import torch

import svae
from svae import fitting
from svae.data.splits import DataSet, Split

ROWS = torch.from_numpy(np.random.default_rng(0).random((60, 6), np.float32))
LABELS = torch.arange(60) % 3


def _data(rows=ROWS, labels=None, likelihood="gaussian", **more):
    return DataSet(*Split(rows, labels).cut(40, 10, 10), likelihood=likelihood, **more)


def _with(name, split, **more):
    parts = dict(zip(("train", "validation", "test"), Split(ROWS).cut(40, 10, 10), strict=True))
    return DataSet(**{**parts, name: split}, likelihood="gaussian", **more)


WRONG = {
    "doubles": (_data(ROWS.double()), "train values of torch.float64, expected torch.float32"),
    "widths": (_with("test", Split(ROWS[:, :4])), "test values of 4 numbers, expected 6 as train"),
    "pictures": (_data(ROWS.reshape(60, 2, 3)), "train values of shape (40, 2, 3), expected a"),
    "an array": (_with("test", Split(ROWS.numpy())), "test values of shape (60, 6), expected a t"),
    "none": (_with("validation", Split(ROWS[:0])), "has validation values of shape (0, 6)"),
    "nan": (_with("test", Split(ROWS * torch.nan)), "has test values that are not all finite"),
    "no split": (_with("train", ROWS), "has a Tensor as train, expected an svae.data.splits.Spl"),
    "labels": (_with("train", Split(ROWS, LABELS[:30])), "labels torch.int64 of shape (30,), exp"),
    "bytes": (_data(labels=LABELS.int()), "train labels torch.int32 of shape (40,), expected"),
    "a list": (_with("train", Split(ROWS, [0] * 60)), "has a list as train labels, expected a t"),
    "above 1": (_data(ROWS * 5, likelihood="bernoulli"), "train values from 0.0"),
    "a name": (_data(likelihood="poisson"), "has the likelihood poisson, expected bernoulli, g"),
    "a shape": (_data(image_shape=(2, 2)), "image_shape (2, 2), expected (height, width) of 6"),
    "names": (
        _data(labels=LABELS, class_names=["a", "b"]),
        "2 class_names and the label 2, expected -1 to 1",
    ),
    "one name": (_data(labels=LABELS, class_names="abc"), "class_names 'abc', expected a list"),
    "no names": (_data(labels=LABELS, class_names=None), "class_names None, expected a list"),
    "a class": (_data(likelihood=torch.nn.Linear), "data: has the class Linear as likelihood"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_data_set_that_falls_short_is_refused_in_one_sentence(fault, monkeypatch):
    monkeypatch.setattr(fitting, "_composed", None)  # nothing comes of it
    data, words = WRONG[fault]
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        svae.fit(data)
    assert str(refused.value).startswith("data: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("more", [{}, {"labels": LABELS, "class_names": ["a", "b", "c"]}])
def test_a_good_one_goes_on(more, monkeypatch):
    def composed(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(fitting, "_composed", composed)
    with pytest.raises(InterruptedError):
        svae.fit(_data(**more))
