"""`svae-train encode=`: latent vectors of new data, beside no run's own."""

import contextlib
import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import svae
from svae import build
from svae.cli import main
from svae.data.splits import DataSpec
from svae.data.units import Units
from svae.experiment import encoding
from svae.recording import checkpoint
from svae.recording.folder import FINISHED, RunFolder
from tests.support.swept import composed
from tests.test_extending import FILE, PAGE

BYTES = np.random.default_rng(0).integers(0, 256, (37, 4, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on pictures of 4 x 3 bytes, of which nothing but its best checkpoint matters."""
    path, config = tmp_path_factory.mktemp("encode") / "run", composed("latent_dim=2")
    with RunFolder.claim(path, config, ["latent_dim=2"]) as run:
        model = build.model(config, DataSpec(12, "bernoulli", (4, 3)))
        about = {"epoch": 1, "features": 12, "likelihood": "bernoulli", "image_shape": [4, 3]}
        units = Units((4, 3), {"uint8": 255}, 1).saved()
        state = {"model": model.state_dict(), "units": units, **about}
        checkpoint.save(run.checkpoints / "best.pt", state)
        run.status(FINISHED, 1)
    return path


def _main(line, monkeypatch):
    monkeypatch.setattr("sys.argv", ["svae-train", *line])
    monkeypatch.setattr(main.signals, "install", lambda: None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_rows_are_written_in_their_order(folder, tmp_path, monkeypatch, suffix):
    file, output = tmp_path / f"new=1.{suffix}", tmp_path / "a b" / "0"
    np.save(file, BYTES) if suffix == "npy" else np.savez(file, pictures=BYTES)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    line = [f"encode={folder}", f"file={file}", f"output={output}", "device=cpu"]
    assert _main(line, monkeypatch) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    loc, concentration = svae.Run(folder).encode(BYTES)
    with np.load(output / "latents.npz") as written:
        assert set(written) == {"row", "loc", "concentration"}
        np.testing.assert_array_equal(written["row"], np.arange(37))
        np.testing.assert_array_equal(written["loc"], loc)
        np.testing.assert_array_equal(written["concentration"], concentration)
    with (output / "latents.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["row", "loc_1", "loc_2", "loc_3", "concentration"]
    table = np.array([[float(value) for value in row.values()] for row in rows])
    np.testing.assert_array_equal(table[:, 0], np.arange(37))
    np.testing.assert_array_equal(table[:, 1:4].astype(np.float32), loc)
    np.testing.assert_array_equal(table[:, 4].astype(np.float32), concentration)
    assert _main(line, monkeypatch) == 2  # they are there


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("encode={run} output=out", "expected what to encode and where to"),
        ("encode={run} file={file}", "expected what to encode and where to"),
        ("encode={run} file=none.npy output=out", "file=none.npy: expected an .npy or .npz file,"),
        ("encode={run} file={file} output={run}", "lies in a run folder, expected a folder of its"),
        ("encode={run} file={file} output={run}/new", "lies in a run folder"),
        ("encode={run} file={file} output=out latent_dim=3", "latent_dim=3: has no effect on enc"),
        ("encode={run} file={file} output=out device=gpu", "device=gpu: expected auto, cpu, cuda"),
        ("encode={run} file={file} output=out resume=x", "resume and encode: give one of the two"),
        ("-m encode={run} file={file} output=out", "takes one run folder, without --multirun"),
        ("encode=none file={file} output=out", "encode=none: no such folder"),
        ("file={file}", "file: no such key"),
    ],
)
def test_a_wrong_line_is_refused(folder, tmp_path, monkeypatch, capsys, line, words):
    file = tmp_path / "new.npy"
    np.save(file, BYTES)
    assert _main(line.format(run=folder, file=file).split(), monkeypatch) == 2
    text = capsys.readouterr().err
    assert (words in text, text.count("\n")) == (True, 1)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": BYTES, "b": BYTES}, "expected one array in it, found a, b"),
        ({}, "expected one array in it, found none"),
        ({"a": BYTES[:, :2]}, r"expected shape \(N, 4, 3\), got \(37, 2, 3\)"),
        ({"a": np.array(["x"])}, "expected an array of numbers"),
        ({"a": np.array([None])}, "expected a readable .npy or .npz file"),
    ],
)
def test_a_wrong_file_is_refused_and_leaves_nothing(folder, tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        encoding.encode(folder, tmp_path / "x.npz", tmp_path / "out", "cpu", None)
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_with_a_model_is_refused(folder, tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    with pytest.raises(ValueError, match=r"found no readable config\.yaml"):
        encoding.encode(tmp_path, tmp_path / "x.npy", tmp_path / "out", "cpu", None)
    with RunFolder.claim(tmp_path / "begun", composed("latent_dim=2"), []):
        pass
    with pytest.raises(ValueError, match=r"best\.pt: no such checkpoint"):
        encoding.encode(tmp_path / "begun", tmp_path / "x.npy", tmp_path / "out", "cpu", None)


@pytest.mark.slow
def test_classes_of_ones_own_encode_where_somebody_vouches_for_them(svae_train, tmp_path):
    own = tmp_path / "own"
    for name, text in FILE.findall(PAGE):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    vouched = ("--config-dir", str(own))
    line = ("dataset=bars", "model=pair", "latent_dim=4", "logger.mode=disabled")
    short = ("trainer.max_epochs=1", "plots=false", "hydra.run.dir=run")
    done = svae_train(*vouched, *line, *short, quick=False)
    assert done.returncode == 0, done.stderr
    rows = torch.randint(0, 2, (5, 8, 8)).bool().numpy()
    np.save(tmp_path / "new.npy", rows)
    line = ("encode=run", "file=new.npy", "output=out")
    refused = svae_train(*line, quick=False)
    assert (refused.returncode, "vouch for it by --config-dir" in refused.stderr) == (2, True)
    done = svae_train(*vouched, *line, quick=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out" / "latents.npz") as written:
        loc = written["loc"]
    assert loc.shape == (5, 6)
    run = svae.Run(tmp_path / "run", trust=own)
    np.testing.assert_allclose(run.encode(rows).loc, loc, rtol=1e-5)


def _own_memory(process) -> int:
    """Return the most bytes that were the process's own, without those of mapped files."""
    most, place = 0, Path("/proc") / str(process.pid) / "status"
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if found := re.search(r"^RssAnon:\s+(\d+) kB", place.read_text(), re.MULTILINE):
                most = max(most, 1024 * int(found[1]))
        time.sleep(0.02)
    return most


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_million_rows_take_hardly_more_memory_than_ten_thousand(folder, tmp_path, environment):
    used = []
    for count in (10_000, 1_000_000):
        shape = (count, 4, 3)
        np.lib.format.open_memmap(tmp_path / f"{count}.npy", "w+", np.uint8, shape).flush()
        line = (f"encode={folder}", f"file={count}.npy", f"output={count}", "threads=1")
        command = [sys.executable, "-m", "svae", *line]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        used.append(_own_memory(process))
        assert process.returncode == 0
        with np.load(tmp_path / str(count) / "latents.npz") as written:
            assert len(written["loc"]) == count
    assert used[1] - used[0] < 300e6
