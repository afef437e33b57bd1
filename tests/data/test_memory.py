"""Arrays and tensors as they lie in a person's memory: byte orders, strides, files mapped."""

import numpy as np
import pytest
import torch

import svae
from svae.data import array
from svae.data.given import as_array, as_labels

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(50, 4)).astype(np.float32)
LEVELS = RANDOM.integers(0, 8, (50, 4))
PIXELS = RANDOM.integers(0, 256, (50, 4, 6), dtype=np.uint8)


def _of(values, levels="auto"):
    fractions = {"validation": 0.1, "test": 0.1}
    return array.of({"train": values}, "data", "auto", levels, fractions, "shuffled", 0, None)


@pytest.mark.parametrize(
    ("values", "kind", "plain", "levels"),
    [
        (NUMBERS, ">f4", "float32", "auto"),
        (NUMBERS, ">f8", "float64", "auto"),
        (NUMBERS, np.longdouble, "float64", "auto"),
        (LEVELS, ">i4", "int32", 8),
    ],
)
def test_numbers_are_those_of_this_machine_whatever_their_bytes(values, kind, plain, levels):
    found, same = _of(values.astype(kind), levels), _of(values.astype(plain), levels)
    assert list(found.units.divisors) == [plain]  # what a checkpoint may hold
    assert found.data_hash == same.data_hash
    assert found.source == same.source
    assert torch.equal(found.train.values, same.train.values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [">f4", np.longdouble])
def test_a_run_of_foreign_bytes_is_saved_and_encodes_them(kind):
    short = {"trainer": {"max_epochs": 1, "warmup_epochs": 0}, "network": {"hidden": [4]}}
    quick = {**short, "plots": False, "evaluation": {"importance_samples": 2}}
    values = NUMBERS.astype(kind)
    run = svae.fit(values, latent_dim=2, device="cpu", threads=1, progress=False, **quick)
    assert np.array_equal(run.encode(values).loc, run.encode(NUMBERS).loc)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pixels_are_read_backwards(axis):
    backwards = np.flip(PIXELS, axis)
    found, same = _of(backwards), _of(backwards.copy())
    assert found.data_hash == same.data_hash
    assert torch.equal(found.test.values, same.test.values)


def test_pixels_that_may_not_be_written_are_read_without_a_warning(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    found = _of(np.load(tmp_path / "x.npy", mmap_mode="r"))  # warnings are errors
    assert torch.equal(found.train.values, _of(PIXELS).train.values)
    wide = _of(np.broadcast_to(PIXELS[:1], PIXELS.shape))
    assert torch.equal(wide.train.values[7].reshape(4, 6), torch.from_numpy(PIXELS[0]))


def test_pixels_that_torch_can_take_are_not_copied():
    rows = PIXELS.reshape(50, -1)
    arrays = {name: rows for name in ("train", "validation", "test")}
    data = array.of(arrays, "data", "auto", "auto", {}, "shuffled", 0, None)
    assert data.train.values.data_ptr() == rows.ctypes.data


def test_a_tensor_of_half_the_bits_is_read_and_a_sparse_one_refused():
    tensor = torch.from_numpy(NUMBERS)
    found = as_array(tensor.bfloat16(), "data")
    assert found.dtype == np.float32
    assert np.array_equal(found, tensor.bfloat16().float())
    assert as_array(tensor, "data").ctypes.data == tensor.data_ptr()
    words = r"^x: is a sparse tensor, expected a dense one, as x\.to_dense\(\)$"
    with pytest.raises(ValueError, match=words):
        as_array(tensor.to_sparse(), "x")
    with pytest.raises(ValueError, match=r"^y: is a sparse tensor"):
        as_labels(torch.tensor([0, 1]).to_sparse(), "y")
