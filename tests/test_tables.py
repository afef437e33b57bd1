"""The tables of docs/results*.md: which runs become rows, and what is made of them."""

import json

import pytest
from omegaconf import OmegaConf

from benchmarks import cells, tables
from benchmarks import rows as rows_of
from svae.configuration import CONF
from tests.support.composed import composed

TABLES = [table for page in tables.PAGES.values() for table in page]
NAMES = ("table1", "table2", "fast1", "fast2", "beyond", "surface", "isotropic", "families", "conv")
MARKS = "".join(f"<!-- {name} -->\n<!-- end -->\nprose {name}\n" for name in NAMES)


def _run(folder, *overrides, value=-90.0, state="finished", accuracy=None):
    """Write what a run leaves that the tables read, of `experiment=table1` where none is named."""
    preset = [] if "experiment" in str(overrides) else ["experiment=table1"]
    config = composed(*preset, *overrides)
    metrics = {name: value for name in ("log_likelihood", "elbo", "reconstruction", "kl")}
    metrics |= {f"knn_accuracy_{size}": 0.9 for size in (100, 600, 1000)}
    metrics |= {} if accuracy is None else {"accuracy": accuracy}
    results = {f"test/{name}": number for name, number in metrics.items()}
    results |= {"epochs": 300, "best_epoch": 250, "seconds": 600.04, "device": "cpu"}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (folder / "status.json").write_text(json.dumps({"state": state, "epoch": 3, "error": None}))
    results |= {"collapse": "none", "versions": {"torch": "2"}, "restarts": 0}
    (folder / "results.json").write_text(json.dumps(results))


def test_finished_runs_become_rows_once(tmp_path):
    runs, file = tmp_path / "sweep", tmp_path / "rows.csv"
    _run(runs / "0", "model=vmf", "latent_dim=10", "seed=2")
    _run(runs / "1", "model=normal", "latent_dim=5", "seed=10")
    _run(runs / "2", "model=vmf", "latent_dim=5", state="failed")
    rows = rows_of.collect([runs], file)
    assert [row["model"] for row in rows] == ["normal", "vmf"]
    assert rows[1] == {
        "protocol": "table1",
        "model": "vmf",
        "isotropic": "",
        "latent_dim": "10",
        "gradient": "implicit",
        "initial_concentration": rows_of.START,
        "link": "",
        "factors": "",
        "bound": "elbo",
        "schedule": "constant",
        "unit_variance": "False",
        "seed": "2",
        "epochs": "300",
        "best_epoch": "250",
        "seconds": "600.0",
        "device": "cpu",
        "collapse": "none",
        "test/elbo": "-90.0",
        "test/kl": "-90.0",
        "test/knn_accuracy_100": "0.9",
        "test/knn_accuracy_1000": "0.9",
        "test/knn_accuracy_600": "0.9",
        "test/log_likelihood": "-90.0",
        "test/reconstruction": "-90.0",
    }
    before = file.read_text()
    assert rows_of.collect([runs], file) == rows
    assert rows_of.collect([], file) == rows
    assert file.read_text() == before
    # what is known already stays when its folder has gone, and a run made again takes its place
    _run(tmp_path / "more" / "0", "model=vmf", "latent_dim=10", "seed=2", value=-80.0)
    _run(tmp_path / "more" / "1", "model=vmf", "latent_dim=10", "seed=1")
    rows = rows_of.collect([tmp_path / "more"], file)
    assert [(row["model"], row["seed"]) for row in rows] == [
        ("normal", "10"),
        ("vmf", "1"),
        ("vmf", "2"),
    ]
    assert rows[2]["test/elbo"] == "-80.0"
    _run(tmp_path / "more" / "2", "model=vmf", "model.scales=true", "seed=2")
    rows = rows_of.collect([tmp_path / "more"], file)
    assert {(row["model"], row["initial_concentration"]) for row in rows} >= {("scaled_vmf", "")}


def test_of_replicas_each_is_a_row(tmp_path):
    stack = tmp_path / "sweep" / "0"
    _run(stack, "trainer.replicas=2", "seed=4")
    (stack / "results.json").unlink()
    for number in range(2):
        _run(stack / str(number), f"seed={4 + number}")
    rows = rows_of.collect([tmp_path / "sweep"], tmp_path / "rows.csv")
    assert [row["seed"] for row in rows] == ["4", "5"]


def test_a_table_without_runs_says_so():
    assert cells.render(MARKS, [], TABLES).count("(no run yet)") == len(NAMES)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs=260", "trainer.max_epochs is 260, the protocol's is 1000"),
        ("evaluation.importance_samples=10", "evaluation.importance_samples is 10"),
        ("network.hidden=[64]", "network.hidden is [64]"),
        ("precision=bf16", "precision is bf16"),
        ("trainer.samples=2", "trainer.samples is 2, the protocol's is 1"),
        (
            "trainer.bound=iwae objective=val/iwae trainer.samples=7",
            "trainer.samples is 7, the protocol's is 5",
        ),
        (
            "trainer.bound=iwae trainer.samples=5",
            "objective is val/elbo, the protocol's is val/iwae",
        ),
        ("trainer.schedule=cosine", "trainer.max_epochs is 1000, the protocol's is 400"),
    ],
)
def test_runs_of_another_protocol_are_left_out(tmp_path, capsys, override, words):
    _run(tmp_path / "sweep" / "0", *override.split())
    assert rows_of.collect([tmp_path / "sweep"], tmp_path / "rows.csv") == []
    assert words in capsys.readouterr().err


def test_runs_that_differ_in_what_is_studied_are_kept(tmp_path):
    changes = ("model=normal model.isotropic=true", "model.initial_concentration=m threads=1")
    changes += ("model.initial_concentration=30",)
    changes += ("sampler.gradient=pathwise logger.mode=offline plots=false device=cpu", "")
    for number, change in enumerate(changes):
        _run(tmp_path / "sweep" / str(number), *change.split())
    rows = rows_of.collect([tmp_path / "sweep"], tmp_path / "rows.csv")
    assert [tuple(row[name] for name in rows_of.IDENTITY[2:6]) for row in rows] == [
        ("True", "10", "", ""),
        ("", "10", "implicit", rows_of.START),
        ("", "10", "implicit", "30"),
        ("", "10", "implicit", "m"),
        ("", "10", "pathwise", rows_of.START),
    ]


def test_the_tables_hold_means_beside_the_papers(tmp_path):
    runs = tmp_path / "sweep"
    for seed, value in enumerate((-92.0, -93.0)):
        _run(runs / str(seed), "model=vmf", f"seed={seed}", value=value)
    _run(runs / "m", "model=vmf", "latent_dim=40", "model.initial_concentration=m", value=-91)
    _run(runs / "iso", "model=normal", "latent_dim=5", "model.isotropic=true", value=-111)
    text = cells.render(MARKS, rows_of.collect([runs], tmp_path / "rows.csv"), TABLES)
    lines = text.splitlines()
    (first,) = [line for line in lines if line.startswith("| 10 | vmf | -92")]
    assert first.startswith("| 10 | vmf | -92.50 ± 0.71 | -93.16 ± 0.31 | +0.66 | -92.50 ± 0.71")
    assert first.endswith("| 20.67 ± 0.08 | 2 | 300 ± 0 | 10.0 ± 0.0 |")
    assert "| 10 | vmf | 90.0 ± 0.0 | 80.6 | 90.0 ± 0.0 | 91.2 | 90.0 ± 0.0 | 92.8 |" in text
    assert "| 40 | vmf, implicit | m = 41 | -91.00 | -91.00 |" in text
    assert "| 5 | normal | one variance | -111.00 |" in text
    # another start or shape of the posterior does not enter the paper's tables
    assert "| 40 | vmf | " not in text
    assert "| 5 | normal | -111" not in text
    assert [line for line in lines if "prose" in line] == [f"prose {name}" for name in NAMES]
    assert cells.render(text, rows_of.read(tmp_path / "rows.csv"), TABLES) == text


def test_other_bounds_and_decoders_have_a_table_of_their_own(tmp_path):
    runs = tmp_path / "sweep"
    _run(runs / "0", "model=vmf", value=-93.0)
    _run(runs / "1", "model=vmf", "network.unit_variance=true", value=-92.0)
    for seed, value in enumerate((-90.0, -91.0)):
        _run(runs / str(2 + seed), "experiment=importance_weighted", f"seed={seed}", value=value)
    _run(runs / "4", "experiment=importance_weighted", "model=normal", value=-89.0)
    falling = ("trainer.schedule=cosine", "trainer.max_epochs=400")
    _run(runs / "5", "model=vmf", *falling, value=-91.5)
    _run(runs / "6", "experiment=importance_weighted", *falling, value=-89.5)
    text = cells.render(MARKS, rows_of.collect([runs], tmp_path / "rows.csv"), TABLES)
    trained = [
        line.split(" | ")[1:6]
        for line in text.splitlines()
        if " | cons" in line or " | cos" in line
    ]
    assert trained == [
        ["normal", "5 importance weights", "constant", "z", "-89.00"],
        ["vmf", "ELBO", "constant", "z", "-93.00"],
        ["vmf", "ELBO", "constant", "sqrt(m) z", "-92.00"],
        ["vmf", "ELBO", "cosine", "z", "-91.50"],
        ["vmf", "5 importance weights", "constant", "sqrt(m) z", "-90.50 ± 0.71"],
        ["vmf", "5 importance weights", "cosine", "sqrt(m) z", "-89.50"],
    ]
    assert "| -90.50 ± 0.71 | -93.16 ± 0.31 | +2.66 | -90.50 ± 0.71 | 90.0 ± 0.0 |" in text
    assert "| 10 | vmf | -93.00 | -93.16 ± 0.31 | +0.16 |" in text  # and not in the paper's


def test_convolutions_stand_beside_the_short_protocol_of_the_same_seeds(tmp_path):
    for seed, (mlp, conv) in enumerate([(-93.0, -91.0), (-93.5, -91.9), (-70.0, None)]):
        for name, value in (("fast", mlp), ("conv", conv)):
            if value:
                folder = tmp_path / "sweep" / f"{name}{seed}"
                _run(folder, f"experiment={name}", "model=vmf", f"seed={seed}", value=value)
    rows = rows_of.collect([tmp_path / "sweep"], tmp_path / "rows.csv")
    line = tables.conv(rows, None).splitlines()[2]
    assert line.startswith("| 10 | vmf | -85.50 ± 13.43 | -91.45 ± 0.64 | +1.80 ± 0.20 | -85.50")
    assert line.endswith("| 3, 2 |")


def test_the_short_protocol_stands_beside_the_long_one(tmp_path):
    runs = tmp_path / "sweep"
    _run(runs / "0", "model=vmf", value=-93.0)
    _run(runs / "1", "experiment=fast", "model=vmf", value=-92.5)
    _run(runs / "2", "experiment=fast", "model=vmf", "seed=1", value=-92.7)
    _run(runs / "3", "experiment=fast", "model=normal", value=-91.0)
    _run(runs / "4", "experiment=fast", "model=vmf", "trainer.learning_rate=0.1", "seed=2")
    text = cells.render(MARKS, rows_of.collect([runs], tmp_path / "rows.csv"), TABLES)
    assert "| 10 | normal | -91.00 |  | -93.84 ± 0.30 |  | -91.00 |" in text
    assert "| 10 | vmf | -92.60 ± 0.14 | -93.00 | -93.16 ± 0.31 | +0.40 | -92.60" in text
    assert "| 10 | vmf | 90.0 ± 0.0 | 90.0 | 80.6 | 90.0" in text
    assert "| 10 | vmf | -93.00 | -93.16 ± 0.31 | +0.16 |" in text  # the long one's own table


def test_runs_of_before_a_key_came_in_are_those_of_its_default_then(tmp_path):
    folder = tmp_path / "sweep" / "0"
    _run(folder, "model=vmf")
    config = OmegaConf.load(folder / "config.yaml")
    del config.trainer["bound"], config.trainer["schedule"], config.network["unit_variance"]
    del config.model["scales"], config.model["link"]
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (row,) = rows_of.collect([tmp_path / "sweep"], tmp_path / "rows.csv")
    assert {name: row[name] for name in cells.PLAIN} == cells.PLAIN
    assert row["link"] == ""


def test_a_missing_mark_is_told():
    with pytest.raises(ValueError, match="expected <!-- table1 --> and <!-- end -->"):
        cells.render("no marks", [], TABLES)


def test_the_published_numbers_are_all_there():
    paper = cells.Published()
    for model in ("normal", "vmf"):
        for d in cells.DIMENSIONS:
            likelihood, elbo, error, kl = (
                paper.mean(model, d, f"test/{name}")
                for name in ("log_likelihood", "elbo", "reconstruction", "kl")
            )
            assert elbo < likelihood
            assert elbo == pytest.approx(error - kl, abs=0.6)
            accuracies = [paper.mean(model, d, f"test/knn_accuracy_{n}") for n in (100, 600, 1000)]
            assert 0.6 < accuracies[0] < accuracies[1] < accuracies[2] < 0.95
    rows = rows_of.read(cells.PUBLISHED)
    assert {row["model"] for row in rows} == {"normal", "vmf"}
    assert {row["dataset"] for row in rows} == {"mnist", "cora", "citeseer", "pubmed"}
    presets = {path.stem for path in (CONF / "dataset").glob("*.yaml")}
    assert {row["dataset"] for row in rows} <= presets


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_results_hold_the_tables_of_their_rows(page):
    text = page.read_text()
    assert cells.render(text, rows_of.read(rows_of.ROWS), tables.PAGES[page]) == text
