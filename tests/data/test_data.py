"""Data: what is read is what was published, and a draw is a draw."""

import gzip
import shutil

import numpy as np
import pytest
import torch

from svae.data import array, directions, mnist, planetoid
from svae.data.binarise import bernoulli
from svae.data.splits import Split
from svae.noise import Rows
from svae.run import Run


@pytest.fixture(scope="module")
def digits():
    return mnist.load()


def test_mnist_is_split_in_the_published_order(digits):
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [50000, 10000, 10000]
    assert digits.spec.features == 784
    # counts of the digit 5, the first label and the mean pixel, known from the literature
    assert int((digits.test.labels == 5).sum()) == 892
    assert int(digits.train.labels[0]) == 5
    pixels = torch.cat([digits.train.values, digits.validation.values]).float().mean() / 255
    assert float(pixels) == pytest.approx(0.1307, abs=1e-4)
    assert all(split.binary for split in (digits.train, digits.validation, digits.test))


@pytest.mark.parametrize("layout", ["", "MNIST/raw"])
@pytest.mark.parametrize("raw", [False, True])
def test_mnist_is_read_from_other_layouts(tmp_path, digits, layout, raw):
    folder = tmp_path / layout
    folder.mkdir(parents=True, exist_ok=True)
    for file in mnist.PACKAGED.glob("*.gz"):
        if raw:
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, folder)
    read = mnist.load(str(tmp_path))
    assert torch.equal(read.test.values, digits.test.values)
    assert torch.equal(read.train.labels, digits.train.labels)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _alter(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[5000] ^= 1
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))


def _empty(path):
    path.write_bytes(b"")


def _remove(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_truncate, "cannot be read"), (_alter, "MD5"), (_empty, "MD5"), (_remove, "found none")],
)
def test_mnist_refuses_damaged_files(tmp_path, damage, words):
    for file in mnist.PACKAGED.glob("*.gz"):
        shutil.copy(file, tmp_path)
    damage(tmp_path / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match=words) as error:
        mnist.load(str(tmp_path))
    assert "t10k-images-idx3-ubyte" in str(error.value)


def test_mnist_names_the_folder_that_holds_nothing(tmp_path):
    with pytest.raises(ValueError, match=f"dataset.root={tmp_path}"):
        mnist.load(str(tmp_path))


def test_binarisation_has_the_probability_of_the_pixel():
    draws = 40_000
    pixels = torch.arange(256, dtype=torch.uint8).expand(draws, 256)
    rates = bernoulli(pixels, torch.Generator().manual_seed(1)).double().mean(0)
    p = torch.arange(256).double() / 255
    z = (rates - p) / (p * (1 - p) / draws).sqrt().clamp(min=1e-12)
    assert rates[0] == 0
    assert rates[255] == 1
    assert z[1:-1].abs().max() < 5
    # the mean of the squares too: no z-score is too small to be a draw
    assert 0.7 < float(z[1:-1].square().mean()) < 1.3


def test_binarisation_never_turns_a_white_pixel_off():
    # without the clamp one draw in 65,536 would, with certainty among eight million
    white = torch.full((1000, 8000), 255, dtype=torch.uint8)
    assert bernoulli(white, torch.Generator().manual_seed(0)).min() == 1
    assert bernoulli(torch.zeros_like(white), torch.Generator().manual_seed(0)).max() == 0


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (2, 3, 7)])
def test_binarisation_takes_any_shape(shape):
    draw = bernoulli(torch.full(shape, 128, dtype=torch.uint8))
    assert draw.shape == shape
    assert draw.dtype == torch.float32
    assert set(draw.unique().tolist()) <= {0.0, 1.0}


def test_binary_splits_draw_afresh_and_real_ones_do_not():
    generator = torch.Generator().manual_seed(0)
    grey = Split(torch.full((4, 100), 0.5), binary=True)
    first, second = (grey.observe(slice(0, 4), generator) for _ in range(2))
    assert not torch.equal(first, second)
    real = Split(torch.full((4, 100), 0.5))
    assert torch.equal(real.observe(slice(0, 4)), real.values)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_of_several_generators_draws_its_row_as_alone(dtype):
    grey = torch.full((9, 5), 128, dtype=torch.uint8)
    split = Split(grey if dtype == torch.uint8 else grey / 255, binary=True)
    index = torch.tensor([[0, 3, 4], [8, 2, 2]])
    together = split.observe(index, Rows(torch.Generator().manual_seed(s) for s in (1, 2)))
    alone = [
        split.observe(i, torch.Generator().manual_seed(s))
        for i, s in zip(index, (1, 2), strict=True)
    ]
    assert torch.equal(together, torch.stack(alone))


def test_shuffled_batches_hold_every_observation_once():
    split = Split(torch.arange(103.0)[:, None])
    batches = [split.observe(i) for i in split.shuffled(10, torch.Generator().manual_seed(3))]
    assert [len(b) for b in batches] == [10] * 10 + [3]
    seen = torch.cat(batches)[:, 0]
    assert not torch.equal(seen, split.values[:, 0])
    assert torch.equal(seen.sort().values, split.values[:, 0])


def test_a_split_is_cut_in_order_with_all_that_belongs_to_it():
    rows = torch.arange(10.0)
    whole = Split(rows[:, None], rows.long(), positions=rows[:, None], directions=1)
    parts = whole.cut(5, 0, 3, 2)
    assert [len(part) for part in parts] == [5, 0, 3, 2]
    for name in ("values", "labels", "positions"):
        together = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(together, getattr(whole, name))
    assert {(part.binary, part.directions) for part in parts} == {(False, 1)}
    assert [part.labels for part in Split(rows[:, None], binary=True).cut(9, 1)] == [None, None]


def _write(path, **arrays):
    np.savez(path / "x.npz", **arrays)
    return str(path / "x.npz")


def test_array_cuts_missing_splits_from_the_end(tmp_path):
    images = np.arange(100 * 6, dtype=np.uint8).reshape(100, 2, 3)
    data = array.load(_write(tmp_path, train=images, train_labels=np.arange(100)))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [80, 10, 10]
    everything = torch.cat([data.train.labels, data.test.labels, data.validation.labels])
    assert torch.equal(everything, torch.arange(100))
    assert data.image_shape == (2, 3)
    assert data.likelihood == "bernoulli"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 1.0]]), "bernoulli"),
        (np.array([[0.2, 0.7]]), "bernoulli"),
        (np.array([[True, False]]), "bernoulli"),
        (np.array([[-0.1, 0.7]]), "gaussian"),
        (np.array([[0.1, 3.0]], dtype=np.float32), "gaussian"),
    ],
)
def test_array_chooses_the_likelihood_by_the_values(tmp_path, values, expected):
    data = array.load(_write(tmp_path, train=np.repeat(values, 50, 0)))
    assert data.likelihood == expected
    assert data.train.binary == (expected == "bernoulli")


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"x": np.zeros((9, 2))}, {}, "unknown key x"),
        ({"test": np.zeros((9, 2))}, {}, "expected the key train"),
        ({"train": np.zeros(9)}, {}, "shape"),
        ({"train": np.zeros((9, 2), dtype=np.int64)}, {}, "int64"),
        ({"train": np.full((50, 2), np.nan)}, {}, "finite"),
        ({"train": np.zeros((50, 2)), "test": np.zeros((9, 3))}, {}, "test"),
        ({"train": np.zeros((50, 2)), "train_labels": np.zeros(50)}, {}, "whole numbers"),
        ({"train": np.zeros((50, 2)), "train_labels": np.zeros(9, int)}, {}, "labels"),
        ({"train": np.zeros((3, 2))}, {}, "validation_fraction"),
        ({"train": np.full((50, 2), 2.0)}, {"likelihood": "bernoulli"}, r"\[0, 1\]"),
        ({"train": np.zeros((50, 2))}, {"likelihood": "poisson"}, "poisson"),
        ({"train": np.array([[{}]] * 50, dtype=object)}, {}, "readable"),
    ],
)
def test_array_refuses_what_it_cannot_use(tmp_path, arrays, options, words):
    with pytest.raises(ValueError, match=words):
        array.load(_write(tmp_path, **arrays), **options)


def test_array_refuses_what_is_no_archive(tmp_path):
    (tmp_path / "x.npz").write_text("hello")
    with pytest.raises(ValueError, match="readable"):
        array.load(str(tmp_path / "x.npz"))


def test_an_array_without_a_name_trains(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3))
    np.save(tmp_path / "x.npy", values)
    found, named = array.load(str(tmp_path / "x.npy")), array.load(_write(tmp_path, train=values))
    assert (found.data_hash, found.split_hash) == (named.data_hash, named.split_hash)
    assert torch.equal(found.train.values, named.train.values)


@pytest.mark.parametrize(
    ("values", "kept", "words"),
    [
        (np.zeros(3), None, "expected shape"),
        (np.array([{}] * 50), None, r"expected a readable \.npz or \.npy file"),
        (np.zeros((50, 2)), 300, "mmap length is greater than file size"),
        (np.zeros((50, 2)), 0, "expected a readable"),
    ],
)
def test_an_array_without_a_name_is_as_good_as_one_with(tmp_path, values, kept, words):
    np.save(tmp_path / "y.npy", values, allow_pickle=True)
    (tmp_path / "y.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:kept])
    with pytest.raises(ValueError, match=words):
        array.load(str(tmp_path / "y.npy"))


def test_a_split_is_told_from_any_other(tiny):
    first, again, other = (
        array.load(str(tiny), test_fraction=f).split_hash for f in (0.1, 0.1, 0.2)
    )
    assert first == again != other


@pytest.mark.parametrize("load", [array.load, directions.load, mnist.load, planetoid.load, Run])
def test_a_tilde_before_nobodys_name_is_a_part_of_the_name(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    words = {"unit": "degrees"} if load is directions.load else {}
    arguments = ("cora", "~nouser/x") if load is planetoid.load else ("~nouser/x",)
    monkeypatch.setattr(planetoid, "_fetch", lambda *_: (_ for _ in ()).throw(OSError("none")))
    with pytest.raises(ValueError, match="~nouser/x"):
        load(*arguments, **words)
