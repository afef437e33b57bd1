"""The end of a run: its numbers stand, whatever becomes of its pictures, and are documented."""

from argparse import Namespace

import pytest
from omegaconf import OmegaConf

from svae import experiment
from svae.experiment import evaluation
from svae.recording.console import Screen
from svae.recording.folder import FINISHED, RunFolder
from svae.run import Run
from tests.conftest import ROOT
from tests.support.swept import begin, composed


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


@pytest.fixture(scope="module")
def small():
    """The configuration of a run of three epochs."""
    quiet = ("logger.mode=disabled", "plots=false", "evaluation.importance_samples=2")
    data = ("dataset=circle", "dataset.observations=70", "latent_dim=1", "device=cpu")
    return composed(*quiet, *data, "trainer.max_epochs=3", "trainer.warmup_epochs=0")


@pytest.mark.parametrize(("every", "epochs"), [(None, []), (1, [1, 2, 3]), (2, [2])])
def test_pictures_are_drawn_every_so_many_epochs_once_their_numbers_are_safe(
    tmp_path, monkeypatch, small, every, epochs
):
    drawn = []

    def draw(own, learner, folder, screen):
        drawn.append((learner.last.number, len(Run(folder.path).history)))
        return []

    monkeypatch.setattr(evaluation, "draw_epoch", draw)
    config = OmegaConf.merge(small, {"logger": {"images_every": every}})
    with RunFolder.claim(tmp_path, config, []) as folder:
        experiment.run(experiment.prepare(config), folder, None, resumed=False)
    assert drawn == [(epoch, epoch) for epoch in epochs]
    # what belongs to no split has no test/ before it, and stands in the documents
    others = {name for name in Run(tmp_path).results if "/" not in name}
    assert {"importance_samples", "collapse", "best_epoch"} <= others
    page = (ROOT / "docs" / "running.md").read_text()
    assert [name for name in sorted(others) if f"`{name}`" not in page] == []
