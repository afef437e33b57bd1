"""A mean is over runs of the same data, and counts each seed once for each split."""

import json
from types import SimpleNamespace

import pytest

from svae.metrics.catalogue import of
from svae.report import apart, comparison, summary
from tests.support.reported import write_run


def _stub(path, seed=0, split_seed=None, **results):
    dataset = {} if split_seed is None else {"split_seed": split_seed}
    config = {"seed": seed, "dataset": dataset}
    return SimpleNamespace(config=config, results=results, run=SimpleNamespace(path=path))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([{"data_hash": "d"}, {"data_hash": "d"}], ["ab"]),
        ([{"data_hash": "d"}, {"data_hash": "e"}, {"data_hash": "d"}], ["ac", "b"]),
        ([{"data_hash": "d"}, {}, {"data_hash": "e"}], ["ab", "c"]),  # of before, or not ended
        ([{"split_hash": "s"}, {"split_hash": "t"}], ["a", "b"]),
        ([{"split": "s"}, {"split": "t"}, {"split_hash": "u"}], ["ac", "b"]),  # of before
        (  # as graphs do, whose split changes with the seed
            [
                {"split_seed": "${seed}", "seed": 0, "data_hash": "d", "split_hash": "s"},
                {"split_seed": "${seed}", "seed": 1, "data_hash": "d", "split_hash": "t"},
            ],
            ["ab"],
        ),
        (
            [
                {"split_seed": 0, "data_hash": "d", "split_hash": "s"},
                {"split_seed": 1, "data_hash": "d", "split_hash": "t"},
                {"split_seed": 1, "data_hash": "d", "split_hash": "u", "seed": 5},
            ],
            ["ab", "c"],
        ),
        ([{"data_hash": "d", "split_seed": 0}, {"data_hash": "e", "split_seed": 1}], ["a", "b"]),
        ([{"data_hash": ["x"]}, {"data_hash": {"y": 1}}], ["ab"]),  # from anybody
    ],
)
def test_runs_of_other_data_or_of_another_split_are_apart(runs, expected):
    stubs = [_stub(name, **own) for name, own in zip("abc", runs, strict=False)]
    found = apart.parts(stubs)
    assert ["".join(run.run.path for run in part) for part in found] == expected
    assert len(apart.reasons([stubs])) == len(expected) - 1
    names = apart.names([stubs])
    assert len(set(names.values())) == (len(expected) if len(expected) > 1 else 0)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, None), (1, None), (0, None)], "ab"),
        ([(0, 0), (0, 1), (0, 0)], "ab"),
        ([(3, "${seed}"), (3, 3), (4, "${seed}")], "ac"),
        ([(0, "${seed}"), (0, 1)], "ab"),
    ],
)
def test_a_seed_counts_once_for_each_split_in_the_order_of_the_runs(runs, expected):
    found = apart.first_of_each(_stub(n, *own) for n, own in zip("abc", runs, strict=False))
    assert "".join(run.run.path for run in found) == expected


def test_a_report_keeps_other_data_apart_and_says_why(tmp_path, capsys):
    data = ("a" * 64, "b" * 64, "a" * 64)
    for number, (hash_, value) in enumerate(zip(data, (-90.0, -50.0, -92.0), strict=True)):
        write_run(tmp_path / str(number), "model=vmf", f"seed={number}", value=value)
        file = tmp_path / str(number) / "results.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"data_hash": hash_}))
    read = comparison.read([tmp_path])
    assert [group.mean(of("test/log_likelihood")) for group in read.groups] == [-91, -50]
    assert [group.settings["data"] for group in read.groups] == ["aaaaaaaa", "bbbbbbbb"]
    assert read.best(of("test/log_likelihood")) == []  # not one better than the other
    summary.make([tmp_path])
    reason = f"{tmp_path}/1: saw other data than {tmp_path}/0, no mean is over both"
    assert f"kept apart: {reason}" in capsys.readouterr().out
    assert reason in (tmp_path / "report.html").read_text()


def test_seeds_and_splits_of_sweeps_put_together_count_once(tmp_path, capsys):
    lines = [("s", 0, 0), ("s", 0, 1), ("t", 0, 0), ("t", 1, 1)]  # sweep, seed, split_seed
    for number, (sweep, seed, split) in enumerate(lines):
        words = ("dataset=sphere_graph", f"seed={seed}", f"dataset.split_seed={split}")
        write_run(tmp_path / sweep / str(number), *words, value=-90.0 - number)
    (group,) = comparison.read([tmp_path / "s", tmp_path / "t"]).groups
    assert group.values(of("test/log_likelihood")) == [-90, -91, -93]
    summary.make([tmp_path / "s", tmp_path / "t"])
    shown = capsys.readouterr().out
    assert f"left out: {tmp_path}/t/2: repeats a run of seed 0, which" in shown
