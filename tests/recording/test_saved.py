"""What a run folder from elsewhere says: read without running anything, or refused."""

import math
import os

import numpy as np
import pytest
from omegaconf import OmegaConf

from svae.plots.training import curves
from svae.recording.folder import RunFolder, read_status
from svae.recording.saved import saved_config, saved_overrides
from svae.run import Run, runs

CONFIG = OmegaConf.create(
    {"latent_dim": 3, "model": {"_target_": "svae.models.latent.NormalFamily"}}
)
BOMB = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n"


@pytest.fixture
def folder(tmp_path):
    RunFolder.claim(tmp_path / "r", CONFIG, ["latent_dim=3"]).close()
    return tmp_path / "r"


DAMAGED = [
    (b"", "expected"),
    (b"- 1\n- 2\n", "expected"),
    (b"3\n", "expected"),
    (b"a: [1\nb: {", "expected YAML"),
    (b"\xff\xfe\x00x", "expected YAML"),
    (b"\x00", "expected YAML"),
    (b"- " + b"9" * 5000, "expected YAML"),
    (BOMB.encode(), "YAML aliases are not allowed"),
    (b"x: 1\n" * 100_000, "expected at most 262144 bytes"),
    (b"[" * 5_000, "YAML nested deeper than 64 is not allowed"),
    (b"- !!python/object/apply:os.system ['touch PWNED']\n", "expected YAML"),
    (b"- !!python/name:os.system\n", "expected YAML"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED, ids=lambda v: str(v)[:25])
@pytest.mark.parametrize(
    ("name", "read"), [("config.yaml", saved_config), (".hydra/overrides.yaml", saved_overrides)]
)
def test_a_damaged_record_is_refused(folder, monkeypatch, name, read, content, words):
    monkeypatch.chdir(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as refusal:
        read(folder)
    assert "\n" not in str(refusal.value)
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("name", [".lock", "svae-train.log", "checkpoints", "plots", "config.yaml"])
def test_a_folder_whose_parts_lie_elsewhere_is_refused(folder, tmp_path, name):
    target = tmp_path / "precious"
    target.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    os.symlink(target, folder / name)
    with pytest.raises(ValueError, match="links are not allowed in a run folder"):
        RunFolder.reopen(folder)
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", "\x00", "[" * 100_000),
        *('{"state": "running"}', '{"state": 3, "epoch": 1}'),
        *('{"state": "finished", "epoch": "1"}', '{"state": "finished", "epoch": -1}'),
        '{"state": "finished", "epoch": 1' + 400 * "0" + "}",
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_status_is_that_of_a_run_that_was_interrupted(folder, content):
    (folder / "status.json").write_text(content)
    assert read_status(folder) == ("interrupted", 0, None)


def test_only_a_column_that_came_in_later_has_no_number_at_first(folder):
    file, run = folder / "metrics.csv", Run(folder)
    file.write_text("epoch,val/elbo,val/iwae,train/acceptance_rate\n1,-2,,1\n2,-1,-.5,1\n")
    first, second = run.history
    assert math.isnan(first.pop("val/iwae"))
    assert first == {"epoch": 1, "val/elbo": -2, "train/acceptance_rate": 1}
    assert second == {**first, "epoch": 2, "val/elbo": -1, "val/iwae": -0.5}
    assert len(curves(run.history).axes) == 2  # draws what there is
    for damaged in ("epoch,val/elbo\n1,-2\n2,\n", "epoch,val/elbo\n1,\n2,\n"):
        file.write_text(damaged)
        with pytest.raises(ValueError, match=r"metrics\.csv: expected a row of numbers"):
            _ = run.history


def test_what_a_run_has_not_written_yet_is_empty(folder):
    run = Run(folder)
    assert (run.history, run.results, run.latents) == ([], {}, {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("metrics.csv", text) for text in (b"\xff", b"a,b\n1,x\n", b"a\n1,2\n", None)),
        *(("results.json", text) for text in (b"", b"\xff", b"[1]", b"[" * 100_000, None)),
        *(("latents.npz", text) for text in (b"", b"PK\x03\x04", b"\x80\x04.", None)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damaged_numbers_are_refused_with_their_file(folder, name, content):
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content)
    part = {"metrics.csv": "history", "results.json": "results", "latents.npz": "latents"}[name]
    with pytest.raises(ValueError, match="expected") as refusal:
        getattr(Run(folder), part)
    assert str(refusal.value).startswith(f"{folder / name}: expected")
    assert "\n" not in str(refusal.value)


def test_an_integer_that_is_no_float_is_read_as_infinite(folder):
    (folder / "status.json").write_text('{"state": "finished", "epoch": 1}')
    (folder / "results.json").write_text('{"test/elbo": -1' + 400 * "0" + ', "epochs": 12}')
    assert Run(folder).results == {"test/elbo": -math.inf, "epochs": 12}
    assert [run.path for run in runs(folder)] == [folder]
    assert "\n" not in repr(Run(folder))


def test_the_arrays_of_a_run_hold_no_objects(folder):
    np.savez(folder / "latents.npz", loc=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"latents\.npz: expected arrays by name \(Object arrays"):
        _ = Run(folder).latents
