"""The tables of docs/results-graphs.md: which runs become rows, and what is made of them."""

import json
import math
import statistics

import pytest
from omegaconf import OmegaConf

from benchmarks import links, rows
from benchmarks.cells import render
from tests.support.composed import composed

NEW = ("experiment=linear_encoder", "model=vmf")


def _run(folder, *overrides, auc=0.9, dataset="cora"):
    """Write what a run leaves that the tables read."""
    file = ["dataset.file=/some/where/pubmed.npz"] if dataset == "graph" else []
    config = composed(f"dataset={dataset}", *file, *overrides)
    names = [*links._PAPER, *(f"{name}_validation_messages" for name in links._PAPER)]
    labels = ("knn_accuracy_1000", "probe_accuracy", "cluster_accuracy", "nmi", "ari")
    results = dict.fromkeys(names, auc) | {f"test/{name}": 0.5 for name in labels}
    results |= {"val/auc": 0.95, "epochs": 100, "best_epoch": 60, "seconds": 9.96}
    results |= {"device": "cpu", "collapse": "none", "versions": {"torch": "2"}}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (folder / "status.json").write_text(
        json.dumps({"state": "finished", "epoch": 3, "error": None})
    )
    (folder / "results.json").write_text(json.dumps(results))


def test_finished_runs_of_a_preset_become_rows_once(tmp_path):
    runs, file = tmp_path / "sweep", tmp_path / "rows.csv"
    _run(runs / "0", *NEW, "seed=10")
    _run(runs / "1", *NEW, "seed=9", auc=0.91)
    _run(runs / "2", *NEW, "seed=3", dataset="graph")
    _run(runs / "3", "experiment=link_prediction", "model=normal", "seed=3", dataset="citeseer")
    for _ in range(2):
        found = links.collect([runs], file)
        assert [[row[name] for name in links.IDENTITY] for row in found] == [
            ["linear_encoder", "cora", "vmf", "1.0", "", "", "9"],
            ["linear_encoder", "cora", "vmf", "1.0", "", "", "10"],
            ["linear_encoder", "pubmed.npz", "vmf", "1.0", "", "", "3"],
            ["link_prediction", "citeseer", "normal", "1.0", "", "", "3"],
        ]
    assert (found[0]["test/auc"], found[0]["val/auc"], found[0]["seconds"]) == (
        "0.91",
        "0.95",
        "10.0",
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs=99", "trainer.max_epochs is 99, the protocol's is 100"),
        ("network.hops=1", "network.hops is 1, the protocol's is 2"),
        ("dataset.split_seed=4", "dataset.split_seed is 4, the seed 0"),
    ],
)
def test_runs_of_another_protocol_are_left_out(tmp_path, capsys, override, words):
    _run(tmp_path / "sweep" / "0", *NEW, override)
    assert links.collect([tmp_path / "sweep"], tmp_path / "rows.csv") == []
    assert words in capsys.readouterr().err


def test_differences_are_of_the_same_seeds():
    first = {str(seed): {"x": str(0.9 + 0.01 * seed)} for seed in range(5)}
    second = {str(seed): {"x": "0.88"} for seed in (1, 2, 3, 7)}
    found = links.paired(first, second, "x")
    assert found == pytest.approx([3, 4, 5])
    error = statistics.stdev(found) / math.sqrt(3)
    assert links.gain(found) == [f"+4.00 ± {error:.2f}", f"{4 / error:.1f}", "3"]
    assert links.gain([1.0]) == ["", "", "1"]
    assert links.error([{"x": "0.5"}, {"x": "0.7"}], "x") == "60.00 ± 10.00"


def test_the_tables_hold_what_was_found(tmp_path):
    runs = tmp_path / "sweep"
    for seed in (0, 1, 30, 31):
        _run(runs / f"s{seed}", *NEW, f"seed={seed}", auc=0.95 + 0.001 * seed)
        equal = (*NEW, "network.spread=linear", "model.initial_concentration=1000")
        _run(runs / f"e{seed}", *equal, f"seed={seed}", auc=0.945)
        point = ("model.initial_concentration=1000000.0", "trainer.kl_weight=0")
        _run(runs / f"p{seed}", *equal[:-1], *point, f"seed={seed}", auc=0.94)
        _run(runs / f"n{seed}", NEW[0], "model=normal", f"seed={seed}", auc=0.9)
        _run(runs / f"g{seed}", "experiment=link_prediction", "model=vmf", f"seed={seed}", auc=0.93)
    found = links.collect([runs], tmp_path / "rows.csv")
    table = links.table4(found, None).splitlines()
    assert table[2].startswith("| cora | normal | 90.00 ± 0.00 | 92.7 | 90.00 ± 0.00 | 93.2 |")
    assert table[3].startswith("| cora | vmf | 95.05 ± 0.05 | 94.1 | 95.05 ± 0.05 | 94.1 | 95.05")
    assert len(table) == 4
    gains = links.differences(found, None)
    assert "| the sphere above the Gaussian, seeds 0 to 9 | +5.05 ± 0.05 | 101.0 |" in gains
    assert "| the linear encoder above the GCN, seeds 30 to 39 | +5.05 ± 0.05 | 101.0 |" in gains
    assert "| the fitted concentration above 1000, seeds 30 to 39 | +3.55 ± 0.05 | 71.0 |" in gains
    assert "| the posterior above a point, seeds 30 to 39 | +4.05 ± 0.05 | 81.0 |" in gains
    assert links.fresh(found, None).count("cora") == 4
    assert "| cora | vmf | 50.00 ± 0.00 | 50.00" in links.labels(found, None)
    assert links.table4([], None) == "(no run yet)"


def test_the_page_holds_the_tables_of_its_rows():
    text = links.PAGE.read_text()
    assert render(text, rows.read(links.ROWS), links.TABLES) == text
