"""What only a GPU can show: a step in a CUDA graph, and that an epoch waits for nothing."""

import math

import pytest
import torch
from torch.distributions import Distribution

from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.training import compiled, loop
from svae.training.stack import Stack
from tests.support.training import learner, train
from tests.training.test_loop import _settings, _setup, _without_time, assert_compiled_on_average

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
FAMILIES = pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])


def _on_gpu(family):
    model, _, data = _setup(family)
    model.cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    return model, optimizer, data.to(torch.device("cuda"))


@FAMILIES
def test_captured_training_is_the_same(family):
    ends = []
    for cuda_graph in (False, True):
        model, optimizer, data = _on_gpu(family)
        settings = _settings(batch_size=9, max_epochs=3, averaging=True, cuda_graph=cuda_graph)
        *_, last = train(model, optimizer, data, settings)
        ends.append(last.metrics)
    for name in ends[0].keys() - {"seconds"}:
        assert math.isclose(ends[0][name], ends[1][name], rel_tol=1e-4, abs_tol=1e-6), name


@FAMILIES
def test_captured_replicas_are_the_runs_alone(family):
    settings = [
        _settings(batch_size=9, max_epochs=2, averaging=True, cuda_graph=True, seed=seed)
        for seed in range(3)
    ]
    together = [learner(*_on_gpu(family), own) for own in settings]
    for _ in loop.train(together):
        pass
    for own, found in zip(settings, together, strict=True):
        *_, last = train(*_on_gpu(family), own)
        for name in last.metrics.keys() - {"seconds"}:
            ours, alone = found.last.metrics[name], last.metrics[name]
            assert math.isclose(ours, alone, rel_tol=1e-3, abs_tol=1e-5), name


WAYS = [{}, {"cuda_graph": True}, {"compile": True}, {"compile": True, "cuda_graph": True}]


@FAMILIES
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_the_steps_of_an_epoch_wait_for_nothing(family, way, monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    compiled.reset()
    model, optimizer, data = _on_gpu(family)
    settings = _settings(batch_size=9, averaging=True, **way)
    one = learner(model, optimizer, data, settings)
    loop._train([one], 1)  # what is made once is made
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop.descend(Stack([one], model, optimizer), 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    compiled.reset()


@FAMILIES
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_compiled_step_is_the_step_on_average(family, monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    model, _, data = _on_gpu(family)
    assert_compiled_on_average(model, data)


@FAMILIES
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_compiled_captured_run_repeats_itself(family, monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    runs = []
    for _ in range(2):
        compiled.reset()
        model, optimizer, data = _on_gpu(family)
        settings = _settings(batch_size=9, max_epochs=3, compile=True, cuda_graph=True)
        runs.append(_without_time(train(model, optimizer, data, settings)))
    compiled.reset()
    assert runs[0][0] != runs[0][1]
    for ours, theirs in zip(*runs, strict=True):
        for name in ours:
            assert math.isclose(ours[name], theirs[name], rel_tol=1e-4), name
