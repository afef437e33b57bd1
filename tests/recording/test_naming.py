"""What a run and its choices are called."""

import pytest

from svae.recording.naming import choices
from svae.recording.wandb import _described

SYNTHETIC = {"_target_": "svae.data.synthetic.load", "observations": 7000}
CITATIONS = {"_target_": "svae.data.planetoid.load", "root": None}


@pytest.mark.parametrize(
    ("dataset", "word"),
    [
        ({"_target_": "svae.data.mnist.load", "root": "/x"}, "mnist"),
        (CITATIONS | {"name": "cora"}, "cora"),
        (CITATIONS | {"name": "pubmed", "root": "/x"}, "pubmed"),
        (SYNTHETIC | {"dimension": 1, "components": 3}, "circle"),
        (SYNTHETIC | {"dimension": 2, "components": 6, "noise": 1.0}, "sphere"),
        ({"_target_": "mine.data.load"}, "load"),
    ],
)
def test_a_choice_is_called_as_people_type_it(dataset, word):
    config = {"seed": 0, "dataset": dataset, "model": {"_target_": "mine.Family"}}
    assert choices(config) == {"dataset": word, "model": "Family"}
    shown = _described(config | {"trainer": {"samples": 1}, "study": None})
    built = {"dataset": dataset, "model": {"_target_": "mine.Family"}}
    others = {"seed": 0, "trainer": {"samples": 1}, "study": None}
    assert shown == {"dataset": word, "model": "Family", "built": built, **others}


VMF = {"_target_": "svae.models.latent.VonMisesFisherFamily", "sampler": "${sampler.name}"}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"initial_concentration": 1.7}, "vmf"),  # of a version without scales
        ({"scales": False, "link": "exp"}, "vmf"),
        ({"scales": True, "link": "softplus", "initial_concentration": 7}, "scaled_vmf"),
    ],
)
def test_a_posterior_is_called_by_what_it_is(values, word):
    assert choices({"model": VMF | values}) == {"model": word}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"hidden": [256, 128], "unit_variance": True}, "mlp_unit_variance"),
        ({"hidden": [500], "unit_variance": True}, "mlp_unit_variance"),
        ({"hidden": [500], "unit_variance": False}, "mlp"),
        ({"hidden": [256, 128]}, "mlp"),  # of a version without unit_variance
    ],
)
def test_a_network_is_called_by_the_file_that_takes_another(values, word):
    network = {"_target_": "svae.models.dense.AutoEncoder"} | values
    assert choices({"network": network}) == {"network": word}
