"""The table of docs/results-families.md, and its figure."""

from matplotlib.figure import Figure

from benchmarks import families
from benchmarks import rows as rows_of
from tests.test_tables import _run as run

VALUES = {
    "model=normal": (-90.0, -91.0),
    "model=vmf": (-92.0, -93.5),
    "model=scaled_vmf": (-89.5, -90.0),
    "model=product model.factors=[S8,R2]": (-91.0,),
}


def _rows(tmp_path):
    for line, values in VALUES.items():
        for seed, value in enumerate(values):
            folder = tmp_path / line.split()[0] / str(seed)
            run(folder, "experiment=fast", f"seed={seed}", *line.split(), value=value)
    run(tmp_path / "exp", "experiment=fast", "model=vmf", "model.link=exp", value=-10)
    run(tmp_path / "long", "experiment=table1", "model=vmf", value=-20)
    return rows_of.collect([tmp_path], tmp_path / "rows.csv")


def test_differences_are_of_equal_seeds(tmp_path):
    lines = families.families(_rows(tmp_path), None).splitlines()[2:]
    assert [line.split(" | ")[:6] for line in lines] == [
        ["| 10", "normal", "20", "-90.50 ± 0.71", "", "+2.25 ± 0.25"],
        ["| 10", "vmf", "12", "-92.75 ± 1.06", "-2.25 ± 0.25", ""],
        ["| 10", "scaled_vmf", "23", "-89.75 ± 0.35", "+0.75 ± 0.25", "+3.00 ± 0.50"],
        ["| 10", "product S8 R2", "14", "-91.00", "-1.00", "+1.00"],
    ]


def test_the_figure_has_a_line_for_each_family_beside_the_gaussian(tmp_path):
    axes = Figure().subplots()
    families.draw(_rows(tmp_path), axes)
    lines = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert lines == {"vmf": [[10, -2.25]], "scaled_vmf": [[10, 0.75]], "product": [[10, -1.0]]}
