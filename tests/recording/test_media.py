"""The latent vectors of a run as a table, and those on S^2 as points."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from svae.recording import media


def _unit(count, width):
    points = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("arrays", "columns", "rows"),
    [
        ({"loc": _unit(30, 3), "concentration": np.ones(30)}, 5, 30),
        ({"loc": _unit(2500, 2), "labels": np.arange(2500)}, 4, 1000),
        ({"loc": np.ones((900, 30)), "scale": np.ones((900, 30))}, 61, 327),
        ({"positives": np.ones(7), "of_ones_own": np.ones(())}, 1, 30),  # without means
    ],
)
def test_a_table_has_few_rows_evenly_spread(tmp_path, arrays, columns, rows):
    count = len(arrays.get("loc", range(30)))
    np.savez(tmp_path / "latents.npz", **arrays, kl=np.arange(count) * 1.0)
    table = media.table(tmp_path)["latents/table"]
    assert (len(table.columns), len(table.data)) == (columns, rows)
    kl = [row[table.columns.index("kl")] for row in table.data]
    assert (kl[0], kl[-1]) == (0, count - 1)
    assert np.diff(kl).max() - np.diff(kl).min() <= 1
    if "loc" in arrays:
        assert table.columns[:2] == ["loc_1", "loc_2"]
        assert table.data[-1][0] == pytest.approx(arrays["loc"][-1, 0], rel=1e-4)


@pytest.mark.parametrize(
    ("loc", "labels", "width"),
    [
        (_unit(2500, 3), None, 3),
        (_unit(50, 3), np.arange(50), 4),
        (2 * _unit(50, 3), None, None),  # of a Gaussian
        (_unit(50, 4), None, None),
        (np.ones(50), None, None),
    ],
)
def test_points_of_the_sphere_in_space_are_shown_there(tmp_path, loc, labels, width):
    known = {} if labels is None else {"labels": labels}
    np.savez(tmp_path / "latents.npz", loc=loc, kl=np.ones(len(loc)), **known)
    points = media.sphere(tmp_path).get("latents/sphere")
    assert (points is None) == (width is None)
    if points is not None:
        shown = np.array(json.loads(Path(points._path).read_text()))
        assert shown.shape == (min(len(loc), 2000), width)
        assert width == 3 or {*shown[:, 3]} == {*range(1, 15)}


def test_a_run_without_latent_vectors_shows_none(tmp_path):
    assert media.table(tmp_path) == media.sphere(tmp_path) == {}


@pytest.mark.parametrize("chosen", [None, "/elsewhere"])
def test_what_is_to_be_uploaded_stays_in_the_run_folder(tmp_path, monkeypatch, chosen):
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("WANDB_DATA_DIR", chosen)
    with media.staging(tmp_path):
        assert os.environ["WANDB_DATA_DIR"] == (chosen or str(tmp_path))
    assert os.environ.get("WANDB_DATA_DIR") == chosen
