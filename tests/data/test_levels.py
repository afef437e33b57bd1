"""What the numbers of a person's array are taken for, or which words they are refused with."""

import numpy as np
import pytest
import torch
import yaml

from svae.configuration import CONF
from svae.configuration.schema import takes
from svae.data import array

BITS = np.random.default_rng(0).integers(0, 2, (50, 6))


def _load(folder, values, **options):
    np.savez(folder / "x.npz", train=values)
    return array.load(str(folder / "x.npz"), **{"levels": "auto", **options})


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_zeros_and_ones_are_those_of_booleans_whatever_their_type(tmp_path, kind):
    found, expected = _load(tmp_path, BITS.astype(kind)), _load(tmp_path, BITS.astype(bool))
    assert torch.equal(found.train.values, expected.train.values)
    assert (found.train.values.dtype, found.train.binary) == (torch.float32, True)
    assert found.source == f"{np.dtype(kind)} of 0 and 1, taken as it is"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (8 * BITS.astype(np.uint8), r"dataset\.levels=9 if 8 is the highest"),
        (16 * BITS.astype(np.uint8), r"dataset\.levels=17.*counts need a likelihood"),
        (BITS * 300, r"int64 from 0 to 300 may be counts.*dataset\.levels=N.*uint8"),
        (BITS.astype(np.uint16), "uint16 of 0 and 1 may be counts.*bool if 0 and 1"),
        (255.0 * BITS, r"float64 from 0 to 255, all of them whole: expected uint8"),
        (3 * BITS.astype(np.float32), "float32 from 0 to 3, all of them whole"),
    ],
)
def test_what_may_be_counts_as_well_as_levels_is_refused(tmp_path, values, words):
    with pytest.raises(ValueError, match=f"x.npz: train: .*{words}"):
        _load(tmp_path, values)


@pytest.mark.parametrize(
    ("values", "options", "first", "source"),
    [
        (17 * BITS.astype(np.uint8), {}, 17, "uint8 from 0 to 17, divided by 255"),
        (BITS.astype(np.uint8), {"levels": 256}, 1, "uint8 of 0 and 1, divided by 255"),
        (16 * BITS, {"levels": 17}, 1.0, "int64 from 0 to 16, divided by 16"),
        (3.0 * BITS, {"levels": 4}, 1.0, "float64 from 0 to 3, divided by 3"),
        (0.25 * BITS, {}, 0.25, "float64 from 0 to 0.25, taken as probabilities"),
        (3.5 * BITS, {}, 3.5, "float64 from 0 to 3.5, taken as it is"),
        (255.0 * BITS, {"likelihood": "gaussian"}, 255.0, "from 0 to 255, taken as it is"),
        # as before there was such a key
        (BITS.astype(np.uint8), {"levels": None}, 1, "uint8 of 0 and 1, divided by 255"),
        (3.0 * BITS, {"levels": None}, 3.0, "float64 from 0 to 3, taken as it is"),
    ],
)
def test_what_is_done_with_the_numbers_is_what_is_said(tmp_path, values, options, first, source):
    data = _load(tmp_path, values, **options)
    assert data.source.endswith(source)
    expected = torch.from_numpy(first * BITS)[: len(data.train)]
    assert torch.equal(data.train.values.to(expected.dtype), expected)
    assert (data.train.values.dtype == torch.uint8) == ("255" in source and first != 255.0)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (9 * BITS, {"levels": 9}, "expected whole numbers from 0 to 8, got int64 from 0 to 9"),
        (-BITS, {"levels": 9}, "got int64 from -1 to 0"),
        (BITS / 2, {"levels": 9}, "got float64 from 0 to 0.5"),
        (BITS, {"levels": 2, "likelihood": "gaussian"}, "expected one of the two"),
    ],
)
def test_levels_are_those_that_were_named(tmp_path, values, options, words):
    with pytest.raises(ValueError, match=rf"dataset\.levels=\d: .*{words}"):
        _load(tmp_path, values, **options)


def test_the_default_is_to_ask():
    dataset = yaml.safe_load((CONF / "dataset" / "array.yaml").read_text())
    assert (dataset["levels"], dataset["order"], dataset["split_seed"]) == ("auto", "shuffled", 0)
    assert all(takes("dataset.levels", value) for value in ("auto", 2, 256, None))
    assert not any(takes("dataset.levels", value) for value in (1, 2.5, True, "many"))
