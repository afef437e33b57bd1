"""The end of a run: its numbers stand, whatever becomes of its pictures."""

from argparse import Namespace

import pytest

from svae.experiment import evaluation
from svae.recording.console import Screen
from svae.recording.folder import FINISHED, RunFolder
from tests.support.swept import begin


@pytest.fixture
def path(tmp_path):
    begin(tmp_path / "r", FINISHED)
    return tmp_path / "r"


def _experiment(figures):
    config = Namespace(plots=True, seed=0)
    return Namespace(
        config=config, device="cpu", model=None, data=None, task=Namespace(figures=figures)
    )


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (ImportError("no matplotlib"), "the figures are left out (ImportError: no matplotlib"),
        (MemoryError(), "the figures are left out (MemoryError"),
        (
            {"curves": OSError(28, "No space left")},
            "left out: curves (OSError: [Errno 28] No",
        ),
        ("latents.npz", "the figures are left out (ValueError: "),
        ("plots", "left out: curves (NotADirectoryError"),
    ],
    ids=str,
)
def test_what_is_wrong_with_figures_ends_no_run(path, capsys, part, words):
    def figures(*_):
        if isinstance(part, Exception):
            raise part
        return {"curves": lambda: Namespace(savefig=save)}

    def save(file, dpi):
        if isinstance(part, dict):
            raise part["curves"]
        file.write_bytes(b"")

    if part == "latents.npz":
        (path / part).write_bytes(b"damaged")
    if part == "plots":
        (path / part).write_text("no folder")
    with RunFolder.reopen(path) as folder:
        assert evaluation.draw(_experiment(figures), folder, Screen()) == []
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1" + 400 * "0"])
def test_results_that_cannot_be_written_again_are_refused_before_the_work(path, number):
    (path / "results.json").write_text(f'{{"test/elbo": {number}}}')
    words = r"r/results\.json: expected finite numbers"
    with RunFolder.reopen(path) as folder, pytest.raises(ValueError, match=words):
        evaluation.evaluate_again([_experiment(None)], folder)
