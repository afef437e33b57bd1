"""What only a GPU can show: a step in a CUDA graph, and that an epoch waits for nothing."""

import math

import pytest
import torch

from svae import train
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.objectives import elbo
from svae.streams import stream
from tests.test_train import _settings, _setup

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
        *_, last = train.train(model, optimizer, data, settings)
        ends.append(last.metrics)
    for name in ends[0].keys() - {"seconds"}:
        assert math.isclose(ends[0][name], ends[1][name], rel_tol=1e-4, abs_tol=1e-6), name


@FAMILIES
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_steps_of_an_epoch_wait_for_nothing(family, cuda_graph):
    model, optimizer, data = _on_gpu(family)
    settings = _settings(batch_size=9, averaging=True, cuda_graph=cuda_graph)
    train._train_epoch(model, optimizer, data, settings, (1, 0))  # what is made once is made
    generator = stream(data.device, 0, "train", 2, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = data.train.batches(9, generator, shuffle=True)
        train.descend(model, optimizer, elbo, batches, 9, settings, 2, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
