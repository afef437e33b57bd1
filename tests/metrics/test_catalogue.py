"""The catalogue: a row for every number that a run writes, and no other."""

import csv
import json

import pytest

from svae.metrics import catalogue
from svae.metrics.catalogue import CIRCUMSTANCES, METRICS, lower_is_better, number, of, reserved

GENERATED = ("trainer.max_epochs=1", "evaluation.importance_samples=5")
RUNS = (
    ("dataset.likelihood=discretised_logistic",),  # of the small data set
    ("dataset=sphere_graph", "dataset.nodes=60", "dataset.edges=200", "trainer.max_epochs=1"),
    ("dataset=directions", "model.scales=true", *GENERATED),
    ("network=m1m2", "network.hidden=[8]", "dataset.labels=30"),
    ("dataset=circle", "model=normal", *GENERATED, "trainer.bound=iwae", "trainer.samples=2"),
)


def _names(folder) -> set[str]:
    lines = (folder / "metrics.csv").read_text().splitlines()
    return {*next(csv.reader(lines)), *json.loads((folder / "results.json").read_text())}


def test_every_number_that_a_run_writes_has_a_row_and_every_row_is_written(svae_train, tmp_path):
    quiet = ("plots=false", "logger.mode=disabled", "threads=1", "device=cpu")
    written = set()
    for run, line in enumerate(RUNS):
        is_quick = not any(word.startswith("dataset=") for word in line)
        done = svae_train(*line, *quiet, f"hydra.run.dir={run}", quick=is_quick)
        assert done.returncode == 0, done.stderr
        written |= {name.removesuffix("_std") for name in _names(tmp_path / str(run))}
    written -= {*CIRCUMSTANCES}
    assert {name for name in written if of(name) not in METRICS} == set()
    assert {row.name for row in METRICS if row not in map(of, written)} == set()


def test_a_name_of_ones_own_is_shown_plainly():
    row = of("test/my_number")
    assert (row.title, row.text(2.0), row.better) == ("my_number", "2.0000", "")
    assert of("test/seconds") not in METRICS  # another number than the seconds of a run
    assert of("kl") not in METRICS
    assert of("val/kl") is of("test/kl")


def test_rows_are_told_apart_and_headlines_stand_in_their_order():
    assert len({(row.has_split, row.name) for row in METRICS}) == len(METRICS)
    assert len({row.label for row in METRICS}) == len(METRICS)
    names = [row.final for row in catalogue.shown(catalogue.HEADLINE)]
    assert names == ["test/accuracy", "test/log_likelihood", "test/auc", "test/elbo"]
    assert lower_is_better("val/kl")
    assert not lower_is_better("val/elbo")
    assert not lower_is_better("seconds of mine")


def test_a_family_of_ones_own_may_name_its_concentration_but_no_other_number():
    taken = {"elbo", "reconstruction", "kl", "proposals", "acceptance_rate", "iwae", "loss"}
    taken |= {"log_likelihood", "auc", "average_precision", "kl_weight", "learning_rate"}
    assert taken | {"nmi", "knn_accuracy_100", "prior_mismatch"} <= reserved()
    assert not {"concentration_mean", "scale_mean", "seconds", "width"} & reserved()


@pytest.mark.parametrize(
    "value", [None, True, "1", "", [1.0], {"a": 1}, float("nan"), float("-inf"), 10**400, -1e200]
)
def test_what_is_no_number_is_none(value):
    assert number(value) is None


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e99])
def test_a_number_is_itself(value):
    assert number(value) == value
