"""The table of docs/few-labels.md: which runs become rows, and what is made of them."""

import json

import torch

from benchmarks import few_labels, folds
from benchmarks.cells import Published
from svae.data.splits import Split
from tests.test_tables import _run as run

PRESET = "experiment=semi_supervised"


def _runs(folder, accuracies, *line, samples=20):
    for seed, accuracy in enumerate(accuracies):
        made = folder / str(seed)
        run(made, PRESET, f"seed={seed}", *line, accuracy=accuracy)
        results = json.loads((made / "results.json").read_text())
        (made / "results.json").write_text(json.dumps(results | {"importance_samples": samples}))


def test_finished_runs_of_the_preset_become_rows_and_a_table(tmp_path, capsys):
    _runs(tmp_path / "NN", [0.90, 0.92], "model=normal")
    _runs(tmp_path / "SN", [0.95, 0.97])
    _runs(tmp_path / "SS", [0.91], "network.style=S10", "network.label_weight=10")
    _runs(tmp_path / "light", [0.5], "network.style=S10")
    _runs(tmp_path / "other", [0.5], "network.label_weight=2")
    _runs(tmp_path / "draw", [0.5], "dataset.split_seed=7")
    _runs(tmp_path / "rough", [0.5], samples=1)
    rows = few_labels.collect([tmp_path], tmp_path / "rows.csv")
    assert [(row["model"], row["style"], row["seed"]) for row in rows] == [
        *(("normal", "R10", seed) for seed in "01"),
        *(("vmf", "R10", seed) for seed in "01"),
        ("vmf", "S10", "0"),
    ]
    assert few_labels.collect([tmp_path / "SN"], tmp_path / "rows.csv") == rows
    told = capsys.readouterr().err
    assert "network.label_weight is 2, the protocol's is 0.5" in told
    assert "network.label_weight is 0.5, the protocol's is 10" in told
    assert "evaluation.importance_samples is 1, the protocol's is 20" in told
    assert "its labels are drawn by 7, its seed is another" in told
    made = few_labels.table3(rows, Published()).splitlines()[2]
    assert made == (
        "| 10 | 10 | 91.0 ± 1.4 (2) | 92.2 | 91.0 (1) | 96.0 | 96.0 ± 1.4 (2) | 95.9 | +5.0 ± 0.0 |"
    )
    assert few_labels.bounds(rows, Published()).splitlines()[4].startswith("| 10 | 10 | S+N |")


def test_no_run_gives_no_table():
    assert few_labels.table3([], Published()) == "(no run yet)"


def test_every_label_is_held_out_by_one_fold_and_no_other_is_in_it():
    rows = torch.arange(300)
    labels = torch.where(rows < 100, rows % 10, -1)  # of 300 images the first hundred
    images = rows.to(torch.int16).view(torch.uint8).reshape(300, 2).repeat(1, 392)
    validation = Split(torch.zeros((50, 784), dtype=torch.uint8), torch.zeros(50).long())
    known = []
    for number in range(folds.FOLDS):
        parts = folds.fold(Split(images, labels), validation, number)
        assert sorted(parts["train_labels"]) == sorted([-1] * 200 + 8 * list(range(10)))
        assert sorted(parts["validation_labels"]) == sorted([-1] * 50 + 2 * list(range(10)))
        held_out = parts["validation"][-20:].reshape(20, 784)[:, :2].copy().view("int16").ravel()
        assert (parts["validation_labels"][-20:] == held_out % 10).all()
        trained = parts["train"].reshape(-1, 784)[:, :2].copy().view("int16").ravel()
        assert sorted([*held_out, *trained]) == list(range(300))
        known += [*held_out]
    assert sorted(known) == list(range(100))
