"""Checkpoints: whole or the old ones, read without running code, checked before they are used."""

import copy
import errno
import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from svae.recording import checkpoint
from svae.recording.checkpoint import State, Unusable
from svae.recording.table import Table
from svae.training.loop import Epoch
from svae.training.muon import Muon, groups_of


def _model(width=3):
    model = nn.Linear(width, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    model(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return model, optimizer


def _muon():
    model, _ = _model()
    optimizer = Muon(groups_of(model, [model.weight]))
    optimizer.step()
    return model, optimizer


def _content():
    """Return what last.pt of an earlier version holds of a run of two epochs."""
    model, optimizer = _model()
    tensors = checkpoint.tensors(model, optimizer)
    metrics = {"val/elbo": -1.0, "seconds": 0.1}
    history = [{"epoch": number, **metrics} for number in (1, 2)]
    best = {"model": tensors["model"], "epoch": 1, "features": 3, "likelihood": "bernoulli"}
    content = State(tensors, Epoch(2, metrics, 1, -1.0), [], 0, best).content(Table(Path()))
    del content["table"]
    return {**content, "history": history}


def _restore(path, content):
    checkpoint.save(path, content)
    model, optimizer = _model()
    return checkpoint.restore(path, model, optimizer), model, optimizer


def test_what_is_saved_comes_back(tmp_path):
    content = _content()
    state, model, optimizer = _restore(tmp_path / "last.pt", content)
    assert (state.epoch.number, len(state.rows), state.restarts) == (2, 2, 0)
    assert torch.equal(model.weight, content["model"]["weight"])
    moments = optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(moments, content["optimizer"]["state"][0]["exp_avg"])


def test_the_optimiser_does_not_go_on_in_the_state_itself(tmp_path):
    state, model, optimizer = _restore(tmp_path / "last.pt", _content())
    before = copy.deepcopy(state.tensors)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(before["model"]["weight"], state.tensors["model"]["weight"])
    for name in ("step", "exp_avg", "exp_avg_sq"):
        ours, theirs = (t["optimizer"]["state"][0][name] for t in (before, state.tensors))
        assert torch.equal(ours, theirs)


def _set(content, keys, value):
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


def _drop(content, keys):
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


HUGE = 10**400  # no float is as large
NESTED = torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)], layout=torch.jagged)
NAN = torch.full((2, 3), float("nan"))
DAMAGED = [
    (("model",), None, "expected the tensors of a model"),
    (("model",), [], "expected the tensors of a model"),
    (("model", "weight"), torch.zeros(2, 4), r"torch.float32 of shape \(2, 3\), got .* \(2, 4\)"),
    (("model", "weight"), torch.zeros(2, 3).double(), "got torch.float64"),
    (("model", "weight"), torch.zeros(2, 3, dtype=torch.int64), "got torch.int64"),
    (("model", "weight"), torch.zeros(2, 3).to_sparse(), "expected torch.float32"),
    (("model", "weight"), torch.zeros(2, 3, device="meta"), "expected torch.float32 of shape"),
    (("model", "weight"), 3.0, "expected a tensor, got float"),
    (("model", "weight"), NAN, "expected finite numbers"),
    (("model", "other"), torch.zeros(1), "does not fit this model: other is only there"),
    (("model", 3), torch.zeros(1), "does not fit this model: 3 is only there"),
    (("model", "x" * 1000), torch.zeros(1), "does not fit this model: x{60} is only there"),
    (
        ("model", torch.zeros(99)),
        1,
        r"does not fit this model: tensor\(\[0., 0., 0.,  is only there$",
    ),
    (("model", "weight"), NESTED, "weight: expected a tensor, got a nested one"),
    (("best", "model", "weight"), NESTED, "weight: expected a tensor, got a nested one"),
    (("optimizer", "state", 0, "exp_avg"), NESTED, "exp_avg: expected a tensor, got a nested one"),
    (("optimizer",), {}, "expected the optimiser's state of 2 parameters"),
    (("optimizer", "state"), {}, "expected the optimiser's state of 2 parameters"),
    (("optimizer", "state", 0), {}, "expected the optimiser's step, exp_avg, exp_avg_sq"),
    (("optimizer", "state", 0, "exp_avg"), torch.zeros(7), r"exp_avg: expected .* \(2, 3\), got"),
    (("optimizer", "state", 0, "exp_avg"), NAN, "exp_avg: expected finite numbers"),
    (("optimizer", "state", 0, "exp_avg_sq"), torch.zeros(2, 3) - 1, "no negative number"),
    (("optimizer", "state", 0, "step"), torch.zeros(2), "step: expected"),
    (("optimizer", "state", 1, "step"), 5, "expected a tensor, got int"),
    (("epoch",), None, "last.pt: epoch: expected a valid dictionary"),
    (("epoch", "number"), "2", "last.pt: epoch: expected a valid integer"),
    (("epoch", "number"), 3, "last.pt: expected a history of 3 epochs"),
    (("epoch", "number"), 0, "last.pt: epoch: expected greater than or equal to 1"),
    (("epoch", "number"), HUGE, "last.pt: epoch: expected less than 2147483648"),
    (("epoch", "best_epoch"), 3, "last.pt: expected a best epoch from 1 up to 2"),
    (("epoch", "best_value"), float("nan"), "last.pt: epoch: expected a finite number"),
    (("epoch", "best_value"), HUGE, "last.pt: epoch: expected a valid number"),
    (("epoch", "metrics"), {"val/elbo": "x"}, "last.pt: epoch: expected a valid number"),
    (("epoch", "more"), 1, "last.pt: epoch: Extra inputs are not permitted"),
    (("history",), [], "last.pt: expected a history of 2 epochs"),
    (("history",), None, "last.pt: history: expected a valid list"),
    (("history",), [1, 2], "last.pt: history: expected a valid dictionary"),
    (("history", 0, "epoch"), 2, "last.pt: expected a history of 2 epochs"),
    (("history", 1, "val/elbo"), float("inf"), "last.pt: history: expected a finite number"),
    (("history", 1, "val/elbo"), HUGE, "last.pt: history: expected a valid number"),
    (("history", 1, "seconds"), None, "last.pt: history: expected a valid number"),
    (("restarts",), -1, "last.pt: restarts: expected greater than or equal to 0"),
    (
        ("history", 1, "seconds"),
        1e308,
        "last.pt: history: expected less than or equal to 1000000",
    ),
    (("history", 1, "=1+1"), 1.0, "last.pt: history: expected names such as val/elbo"),
    (("history", 1, "val/\x1b[2J"), 1.0, "last.pt: history: expected names such as val/elbo"),
    (("history", 1, "x" * 201), 1.0, "last.pt: history: expected names such as val/elbo"),
    (("epoch", "metrics"), {"": 1.0}, "last.pt: epoch: expected names such as val/elbo"),
    (("restarts",), HUGE, "last.pt: restarts: expected less than 2147483648"),
    (("restarts",), "0", "last.pt: restarts: expected a valid integer"),
    (("best",), {}, "last.pt: best: Field required"),
    (("best", "epoch"), True, "last.pt: best: expected a valid integer"),
    (("best", "model"), {}, "expected the tensors of a model"),
    (("best", "features"), 0, "last.pt: best: expected greater than or equal to 1"),
    (("best", "features"), HUGE, "last.pt: best: expected less than 2147483648"),
    (("best", "likelihood"), 1, "last.pt: best: expected a valid string"),
    (("best", "image_shape"), [8], "last.pt: best: List should have at least 2 items"),
]


@pytest.mark.parametrize(("keys", "value", "words"), DAMAGED, ids=lambda v: str(v)[:40])
def test_a_damaged_state_is_refused_and_changes_nothing(tmp_path, keys, value, words):
    content = _content()
    _set(content, keys, value)
    checkpoint.save(tmp_path / "last.pt", content)
    model, optimizer = _model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Unusable, match=words):
        checkpoint.restore(tmp_path / "last.pt", model, optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "keys",
    [("model",), ("optimizer",), ("epoch",), ("history",), ("restarts",), ("model", "bias")],
)
def test_a_missing_part_is_refused(tmp_path, keys):
    content = _content()
    _drop(content, keys)
    with pytest.raises(Unusable, match=r"last\.pt"):
        _restore(tmp_path / "last.pt", content)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(7), r"momentum_buffer: expected .* \(2, 3\), got"),
        (torch.zeros(2, 3).double(), "momentum_buffer: expected .* got torch.float64"),
        (torch.full((2, 3), torch.nan), "momentum_buffer: expected finite numbers"),
        (None, "expected the optimiser's momentum_buffer$"),
    ],
)
def test_a_damaged_momentum_of_muon_is_refused(tmp_path, value, words):
    content, (model, muon) = _content(), _muon()
    content["optimizer"] = copy.deepcopy(muon.state_dict())
    checkpoint.save(tmp_path / "last.pt", content)
    checkpoint.restore(tmp_path / "last.pt", model, muon)
    content["optimizer"]["state"][0] = {} if value is None else {"momentum_buffer": value}
    checkpoint.save(tmp_path / "last.pt", content)
    with pytest.raises(Unusable, match=words):
        checkpoint.restore(tmp_path / "last.pt", model, muon)


def test_the_state_of_another_optimiser_is_refused(tmp_path):
    checkpoint.save(tmp_path / "last.pt", _content())
    with pytest.raises(Unusable, match="expected the optimiser's momentum_buffer"):
        checkpoint.restore(tmp_path / "last.pt", *_muon())


def test_moments_that_share_memory_are_those_of_their_numbers(tmp_path):
    whole, results = _content(), []
    for shared in (True, False):
        content = copy.deepcopy(whole)
        moments = content["optimizer"]["state"][0]
        one = torch.full((1,), 0.5).expand(2, 3)  # of stride 0
        moments["exp_avg"] = one if shared else one.clone()
        moments["exp_avg_sq"] = one if shared else one.clone()
        _, model, optimizer = _restore(tmp_path / "last.pt", content)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        results.append(model.weight.detach())
    assert torch.equal(*results)


@pytest.mark.parametrize(
    "keys",
    [
        *(("model", "weight"), ("best", "model", "weight"), ("optimizer", "state", 0, "mean")),
        *(("optimizer", "state", 0, "exp_avg"), ("optimizer", "state", 0, "exp_avg_sq")),
        ("optimizer", "state", 0, "momentum_buffer"),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["stride 0", "transposed", "a part"])
def test_what_is_restored_is_laid_out_as_the_model_is(tmp_path, keys, layout):
    content, (model, optimizer) = _content(), _muon() if "momentum_buffer" in keys else _model()
    content["optimizer"] = copy.deepcopy(optimizer.state_dict())
    found = {
        "stride 0": torch.full((1,), 0.5).expand(2, 3),
        "transposed": torch.rand(3, 2).T,
        "a part": torch.rand(2, 600)[:, ::200],
    }
    _set(content, keys, found[layout])
    checkpoint.save(tmp_path / "last.pt", content)
    state = checkpoint.restore(tmp_path / "last.pt", model, optimizer)
    tensor = {**state.tensors, "best": state.best}
    for key in keys:
        tensor = tensor[key]
    assert torch.equal(tensor, found[layout])
    assert tensor.stride() == (3, 1)
    assert tensor.untyped_storage().nbytes() == 24


def test_numbers_are_restored_as_numbers_of_their_kind(tmp_path):
    content = _content()
    content["history"][0]["val/elbo"] = content["epoch"]["metrics"]["val/elbo"] = -1
    content["best"]["more"] = "of somebody"
    state, _, _ = _restore(tmp_path / "last.pt", content)
    assert type(state.rows[0]["val/elbo"]) is type(state.epoch.metrics["val/elbo"]) is float
    assert type(state.rows[0]["epoch"]) is int
    assert state.best.keys() == {"model", "epoch", "features", "likelihood"}


def test_the_settings_of_a_foreign_optimiser_are_not_taken_over(tmp_path):
    content = _content()
    content["optimizer"]["param_groups"][0] |= {"lr": 1e9, "params": [0, 0, 0], "fused": False}
    _, _, optimizer = _restore(tmp_path / "last.pt", content)
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_the_best_of_an_earlier_version_is_read_from_its_file(tmp_path):
    content = _content()
    checkpoint.save(tmp_path / "best.pt", content.pop("best"))
    state, _, _ = _restore(tmp_path / "last.pt", content)
    assert state.best["epoch"] == 1


class _Evil:
    def __reduce__(self):
        return print, ("this ran",)


def _compressed(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000_000)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"model": _Evil()}, path),
        lambda path: torch.save({"model": _Evil()}, path, _use_new_zipfile_serialization=False),
        lambda path: torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path),
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        _compressed,
    ],
    ids=[
        *("pickle", "old format", "TorchScript", "garbage", "empty", "a folder", "a pipe"),
        *("a device", "compressed"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_hostile_file_is_not_a_readable_checkpoint(tmp_path, capsys, write):
    write(tmp_path / "x.pt")
    with pytest.raises(Unusable, match="not a readable checkpoint") as refusal:
        checkpoint.load(tmp_path / "x.pt")
    assert "trust" not in str(refusal.value)
    assert "this ran" not in capsys.readouterr().out


def test_a_cut_file_is_not_a_readable_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, _content())
    whole = path.read_bytes()
    for size in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(Unusable, match="not a readable checkpoint"):
            checkpoint.load(path)


@pytest.mark.parametrize("part", ["model", "optimizer", "best"])
def test_a_number_that_has_changed_on_the_disk_is_seen(tmp_path, part):
    path, content = tmp_path / "x.pt", _content()
    content[part]["more"] = torch.full((1000,), 1.2345678)
    checkpoint.save(path, content)
    written = path.read_bytes()
    place = written.index(content[part]["more"].numpy().tobytes()) + 402
    path.write_bytes(written[:place] + bytes([written[place] ^ 64]) + written[place + 1 :])
    with pytest.raises(Unusable, match="a checksum is wrong"):
        checkpoint.load(path)


def test_what_is_no_checkpoint_is_told(tmp_path):
    with pytest.raises(Unusable, match="no such checkpoint"):
        checkpoint.load(tmp_path / "x.pt")
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(Unusable, match="not a checkpoint, but a list"):
        checkpoint.load(tmp_path / "x.pt")


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch, step):
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"a": torch.ones(3)})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "write":
        monkeypatch.setattr(os, "fdopen", full)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"a": torch.zeros(3)})
    monkeypatch.undo()
    assert torch.equal(checkpoint.load(path)["a"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]
