"""Runs that learn from few labels, as a person makes them."""

import numpy as np
import pytest
import torch

import svae
from svae.recording import checkpoint

FEW = ("network=m1m2", "network.hidden=[32]", "network.style=R2", "dataset.labels=12")
QUIET = ("plots=false", "logger.mode=disabled")


@pytest.fixture
def few(svae_train, tmp_path):
    """Train on the tiny pictures with twelve labels into a folder; return the run."""

    def train(folder, *line):
        done = svae_train(*FEW, *QUIET, f"hydra.run.dir={folder}", *line)
        assert done.returncode == 0, done.stderr
        return svae.Run(tmp_path / folder)

    return train


def _same(first, second, but=("seconds",)):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert {k: v for k, v in one.items() if k not in but} == {
            k: v for k, v in other.items() if k not in but
        }


@pytest.mark.slow
def test_a_run_learns_the_classes_of_the_rest(few):
    line = ("trainer.max_epochs=12", "trainer.learning_rate=5e-3", "model=vmf", "plots=true")
    run = few("learns", *line)
    assert run.results["test/accuracy"] > 0.9
    assert run.name == "vmf-d3-R2-s0"
    assert run.headline == ("test/accuracy", run.results["test/accuracy"])
    assert run.history[-1]["train/log_label"] > -0.7
    assert run.config["objective"] == "val/elbo"
    latents = run.latents
    assert latents["probabilities"].shape == (50, 3)
    right = (latents["predicted"] == latents["labels"]).mean()
    assert right == pytest.approx(run.results["test/accuracy"])
    pictures = {file.stem for file in (run.path / "plots").glob("*.png")}
    wanted = {"confusion", "classes", "styles", "latent", "curves", "samples", "reconstructions"}
    assert wanted <= pictures
    model = run.model()
    assert model.class_logits(torch.from_numpy(latents["loc"])).argmax(-1).tolist() == [
        *latents["probabilities"].argmax(1)
    ]


@pytest.mark.slow
def test_a_resumed_run_ends_at_the_same_bits(few, svae_train, tmp_path):
    whole = few("whole", "trainer.max_epochs=3")
    part = few("part", "trainer.max_epochs=2")
    done = svae_train(f"resume={part.path}", "trainer.max_epochs=3", quick=False)
    assert done.returncode == 0, done.stderr
    _same(whole.history, part.history)
    files = [checkpoint.load(run.path / "checkpoints" / "last.pt") for run in (whole, part)]
    assert all(torch.equal(files[0]["model"][k], v) for k, v in files[1]["model"].items())
    assert whole.results["test/elbo"] == part.results["test/elbo"]
    for run in (whole, part):  # by as many samples: the images are drawn from the same numbers
        again = svae_train(f"evaluate={run.path}", "evaluation.importance_samples=30", quick=False)
        assert again.returncode == 0, again.stderr
    assert part.results["test/accuracy"] == whole.results["test/accuracy"]
    assert part.results["importance_samples"] == 30


@pytest.mark.slow
def test_labels_beyond_those_that_are_given_change_the_accuracy_alone(few, tiny, tmp_path):
    arrays = dict(np.load(tiny))
    random, runs = np.random.default_rng(0), []
    values, labels = arrays["train"], arrays["train_labels"]
    given = np.where(np.arange(300) < 12, labels[:300], -1)
    for number in range(2):
        others = labels[300:] if number == 0 else random.permutation(labels[300:])
        file = tmp_path / f"own{number}.npz"
        held_out = {"validation": values[300:400], "test": values[400:]}
        named = {"validation_labels": others[:100], "test_labels": others[100:]}
        np.savez(file, train=values[:300], train_labels=given, **held_out, **named)
        runs.append(few(f"own{number}", f"dataset.file={file}", "dataset.labels=null"))
    _same(*(run.history for run in runs), but=("seconds", "val/accuracy"))
    first, second = (run.results for run in runs)
    alike = ("test/elbo", "test/kl", "test/log_likelihood", "test/style_kl", "best_epoch")
    assert [first[name] for name in alike] == [second[name] for name in alike]
    assert first["test/accuracy"] != second["test/accuracy"]


@pytest.mark.slow
def test_classifiers_of_frozen_locations_know_the_given_labels_alone(svae_train, tmp_path):
    line = ("network=mlp", "dataset.labels=30", "trainer.learning_rate=5e-3")
    done = svae_train(*line, "trainer.max_epochs=8", *QUIET, "hydra.run.dir=m1")
    assert done.returncode == 0, done.stderr
    results = svae.Run(tmp_path / "m1").results
    for name in ("logistic_accuracy", "svm_accuracy"):
        assert results[f"test/{name}"] > 0.8
    assert not {"test/accuracy", "test/knn_accuracy_100"} & results.keys()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dataset.labels=500", "dataset.labels=500: expected at most 400, which the 400 training"),
        ("dataset.labels=2", "leaves one of the 3 classes without a label, expected at least 3"),
        ("dataset.labels=null", "all 400 training rows have a label, expected some without"),
        ("dataset.labels=0", "dataset.labels=0: expected a whole number from 1"),
        ("latent_dim=0", "latent_dim=0: expected a whole number from 1"),
        ("network.style=R0", "network.style=R0: expected a Euclidean space or a sphere, such as"),
        ("network.label_weight=-1", "network.label_weight=-1: expected a number from 0 up"),
        ("objective=val/accuracy", "would choose the epoch by the labels of the validation data"),
        ("trainer.replicas=2", "network=m1m2 is trained alone, expected 1"),
        ("trainer.compile=true", "has a step that is not compiled, expected false"),
        ("trainer.cuda_graph=true", "has a step that is not recorded, expected false"),
        ("trainer.bound=iwae trainer.samples=2", "is trained by its own bound, expected elbo"),
        ("sampler.gradient=score", "takes samples that carry their exact gradient"),
        ("model=product latent_dim=10", "z1 lies in S^5 x S^5, where it has no law given a class"),
        (
            "network.style_concentration=9",
            "has no effect on a Gaussian z2, expected network.",
        ),
        (
            "model=normal network.latent_concentration=9",
            "has no effect on a Gaussian z1, expected model=vmf",
        ),
        ("network.alpha=1", "did you mean network.label_weight?"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(svae_train, tmp_path, line, words):
    done = svae_train(*FEW, *QUIET, *line.split())
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_data_without_the_labels_that_it_takes_are_refused(svae_train, tmp_path):
    values = np.random.default_rng(0).random((20, 4), np.float32)
    labels = np.array([0, 1] + [-1] * 18)
    files = {"none": {}, "unknown": {"train_labels": labels, "test_labels": labels + 3}}
    for name, arrays in files.items():
        held_out = {"validation": values, "test": values}
        np.savez(tmp_path / f"{name}.npz", train=values, **held_out, **arrays)
    line = (*FEW[:-1], *QUIET, "dataset=array", "latent_dim=2", "device=cpu")
    for name, words in (
        ("none", "the training data have 0 classes, expected labels of two or more"),
        ("unknown", "class 2 of the test rows has no label among those that train"),
    ):
        done = svae_train(*line, f"dataset.file={tmp_path / name}.npz", quick=False)
        assert done.returncode == 2
        assert words in done.stderr
    done = svae_train("dataset=cora", "network=m1m2", quick=False)
    assert "network=m1m2: does not fit a dataset that is a graph" in done.stderr
    done = svae_train("dataset=circle", "dataset.labels=10", quick=False)
    assert "dataset.labels" in done.stderr
    assert done.returncode == 2
