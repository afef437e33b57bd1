"""Studies: what they find is right, and what they are asked is all they do."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from svae.studies import estimators
from svae.studies.dimension_study import DimensionStudy, gaussian_length, verdict
from svae.studies.estimators import chance, p_value
from svae.studies.gradient_study import GradientStudy, compare
from svae.studies.sampler_check import SamplerCheck
from tests.conftest import QUICK, run_folders


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize(("m", "kappa"), [(2, 2.0), (11, 10.0), (41, 100.0)])
def test_the_sampler_passes_its_check(m, kappa):
    row = SamplerCheck([m], [kappa], 20_000).check(m, kappa, torch.device("cpu"), _generator())
    assert row["ks_p_value"] > 1e-3
    assert abs(row["mean_score"]) < 5
    assert abs(row["acceptance_score"]) < 5
    assert row["variance"] == pytest.approx(row["expected_variance"], rel=0.1)


def _verdict(samples=20_000):
    check = SamplerCheck([11], [10.0], samples)
    return check(SimpleNamespace(seed=0), torch.device("cpu"), iter).verdict


def test_the_verdict_is_that_of_all_tests():
    first, second = _verdict().split("; ")
    assert first.startswith("of 3 tests")
    assert first.endswith("nothing speaks against the sampler")
    assert second.startswith("of 5 tests")
    assert second.endswith("nothing speaks against the unbiased gradients")
    assert _verdict(1000).endswith(
        "1000 samples are too few to judge the unbiased gradients, 5000 are enough"
    )


def test_a_wrong_sampler_fails_the_check(monkeypatch):
    from svae.distributions import von_mises_fisher

    right = von_mises_fisher.draw_until_accepted

    def wrong(m, kappa, shape, generator):  # of another concentration, by 3 %
        return right(m, kappa * 1.03, shape, generator)

    monkeypatch.setattr(von_mises_fisher, "draw_until_accepted", wrong)
    check = SamplerCheck([11], [10.0], 100_000)
    row = check.check(11, 10.0, torch.device("cpu"), _generator())
    assert row["ks_p_value"] < 1e-3
    assert abs(row["mean_score"]) > 5
    assert "that is no chance, a fault in the sampler" in _verdict()


def test_the_chance_of_the_most_extreme_of_many_tests_is_uniform_where_all_is_right():
    p_values = np.random.default_rng(0).uniform(size=(2000, 49))
    found = [chance(list(row)) for row in p_values]
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert p_value(-1.959964) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize(
    ("p_values", "words"),
    [
        ([0.005] * 147, "in 52 % of"),
        ([0.9] * 147, "in more than 99 % of"),
        ([1e-30] * 147, "in less than 0.001 % of"),
        ([1e-5] * 10, "in 0.01 % of"),
    ],
)
def test_the_chance_is_told_in_per_cent(p_values, words):
    assert words in estimators.verdict(p_values, "the sampler")


# reference: g_rep / exact and standard deviations by quadrature
@pytest.mark.parametrize(("m", "kappa", "ratio"), [(2, 1.0, 0.563), (5, 2.0, 0.866)])
def test_the_bias_of_pathwise_is_the_known_one(m, kappa, ratio):
    rows = SamplerCheck([m], [kappa], 50_000).gradients(m, kappa, "cpu", _generator())
    found = {(row["gradient"], row["baseline"]): row for row in rows}
    pathwise = found.pop(("pathwise", "none"))
    error = pathwise["standard_error"] / pathwise["exact"]
    assert abs(pathwise["relative_bias"] + 1 - ratio) < 5 * error + 5e-4
    assert abs(pathwise["bias_score"]) > 10
    assert all(abs(row["bias_score"]) < 5 for row in found.values())


def test_the_spread_of_the_estimators_is_the_known_one():
    rows = SamplerCheck([5], [10.0], 50_000).gradients(5, 10.0, "cpu", _generator())
    found = {(row["gradient"], row["baseline"]): row["standard_deviation"] for row in rows}
    assert found["implicit", "none"] == pytest.approx(0.245, rel=0.03)
    # heavy tails: the deviation of 50,000 differs by some 8 % from one seed to another
    assert found["corrected", "none"] == pytest.approx(1.97, rel=0.25)
    assert found["corrected", "mean"] < found["corrected", "none"] / 3


@pytest.mark.parametrize(
    "keys", [([1], [1.0], 1000), ([2], [0.0], 1000), ([2], [1.0], 50)], ids=str
)
def test_settings_that_cannot_be_are_refused(keys):
    with pytest.raises(ValueError, match="study: expected dimensions from 2 up"):
        SamplerCheck(*keys)


@pytest.mark.slow
def test_sampler_check_from_the_command_line(svae_train, tmp_path):
    line = ("experiment=sampler_check", "study.dimensions=[2,5]", "study.concentrations=[1,10]")
    done = svae_train(*line, "study.samples=1000", "logger.mode=disabled", quick=False)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert len(_rows(folder / "sampler.csv")) == 4
    assert len(_rows(folder / "gradients.csv")) == 24
    results = json.loads((folder / "results.json").read_text())
    assert results["settings"] == 4
    assert f"verdict: {results['verdict']}" in done.stdout
    assert {f.name for f in (folder / "plots").iterdir()} == {"sampler_check.png", "gradients.png"}
    done = svae_train(f"evaluate={folder}", quick=False)
    assert done.returncode == 2
    assert "holds a study" in done.stderr


def test_bias_and_noise_are_those_of_the_law_they_are_drawn_from():
    generator = _generator()
    exact = torch.linspace(-1, 2, 20, dtype=torch.float64)
    reference = exact + torch.randn(4000, 20, dtype=torch.float64, generator=generator)
    found = 0.8 * exact + 3 * torch.randn(4000, 20, dtype=torch.float64, generator=generator)
    row = compare(found, reference)
    assert abs(row["relative_bias"] + 0.2) < 5 * row["standard_error"] < 0.1
    expected = 3 / exact.square().mean().sqrt().item()
    assert row["relative_noise"] == pytest.approx(expected, rel=0.05)
    assert row["signal_to_noise"] == pytest.approx(1 / row["relative_noise"])


@pytest.mark.slow
def test_gradient_study_from_the_command_line(svae_train, tiny, tmp_path):
    line = ("study.latent_dims=[2]", "study.epochs=[1,2]", "study.repeats=128")
    quick = [word for word in QUICK if not word.startswith(("evaluation", "latent_dim"))]
    data = ("dataset=array", f"dataset.file={tiny}", "logger.mode=disabled", *quick)
    done = svae_train(
        "experiment=gradient_study", *data, *line, "logger.mode=disabled", quick=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    rows = _rows(folder / "gradients.csv")
    assert len(rows) == 12
    assert len(_rows(folder / "curves.csv")) == 12
    for row in rows:
        if row["gradient"] == "pathwise":
            assert float(row["relative_bias"]) < -0.1
        else:
            assert abs(float(row["bias_score"])) < 5
    noise = {(r["gradient"], r["baseline"]): float(r["relative_noise"]) for r in rows[:6]}
    assert noise["implicit", "none"] < noise["corrected", "mean"] < noise["score", "none"]
    assert {f.name for f in (folder / "plots").iterdir()} == {"gradients.png", "curves.png"}


def test_gradient_study_measures_only_epochs_that_there_are():
    with pytest.raises(ValueError, match=r"study.epochs=\[1, 9\]: expected at most"):
        GradientStudy([2], [1, 9], 16, 16, trained_epochs=5)


def test_the_length_of_a_gaussian_vector_is_known():
    z = torch.randn(200_000, 7, generator=_generator())
    assert gaussian_length(7) == pytest.approx(z.norm(dim=-1).mean().item(), abs=0.01)


@pytest.mark.slow
def test_dimension_study_gathers_the_finished_runs_of_a_sweep(svae_train, tmp_path):
    line = ("-m", "model=normal,vmf", "latent_dim=2,4", "trainer.max_epochs=1", "plots=false")
    done = svae_train(*line, "logger.mode=disabled", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    (tmp_path / "sweep" / "3" / "results.json").unlink()
    line = ("experiment=dimension_study", "study.sweep=sweep", "hydra.run.dir=out")
    done = svae_train(*line, "logger.mode=disabled", quick=False)
    assert done.returncode == 0, done.stderr
    rows = _rows(tmp_path / "out" / "dimensions.csv")
    found = [(row["model"], row["latent_dim"]) for row in rows]
    assert found == [("normal", "2"), ("normal", "4"), ("vmf", "2")]
    results = json.loads((tmp_path / "sweep" / "1" / "results.json").read_text())
    assert float(rows[2]["test/kl"]) == results["test/kl"]
    assert rows[0]["test/concentration_mean"] == ""
    assert (tmp_path / "out" / "plots" / "dimensions.png").is_file()


def test_the_dimension_study_says_who_is_best_where():
    scores = {("vmf", 2): -5, ("vmf", 10): -3, ("normal", 2): -6, ("normal", 10): -2.5}
    scores |= {("normal", 20): -2}
    rows = [{"model": m, "latent_dim": d, "test/log_likelihood": s} for (m, d), s in scores.items()]
    assert verdict(rows) == "vmf at d = 2; normal at d = 10, 20 have the best log-likelihood"
    assert verdict(rows[:1]) == "vmf at d = 2 has the best log-likelihood"


def test_dimension_study_needs_runs(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with finished runs"):
        DimensionStudy(str(tmp_path))
