"""A captured step, with what needs a GPU stood in for: the graph repeats what was recorded."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from svae import build
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.objectives import Elbo
from svae.training import loop, recorded, step
from svae.training.guard import Diverged
from svae.training.recorded import WARM_UP, CapturedStep
from tests.support.training import learner, train
from tests.training.test_loop import _settings, _setup, _without_time


class Recorded:
    """As a graph: recording does nothing, a replay writes into the same tensors."""

    made = []

    def __init__(self, step, batch, generators):
        self.step, self.batch, self.generators, self.replays = step, batch, generators, 0
        self.outcome = []  # where what a step gives lies
        self.made.append(self)

    def replay(self):
        bound, seen = self.step(self.batch)
        if not self.replays:
            self.outcome[:] = bound, seen
        else:
            for old, new in zip(_tensors(*self.outcome), _tensors(bound, seen), strict=True):
                old.copy_(new)
        self.replays += 1


def _tensors(bound, seen):
    return [bound.reconstruction, bound.kl, bound.proposals, *bound.summary.values(), seen]


def _record(step, batch, generators):
    recorded = Recorded(step, batch, generators)
    return recorded.replay, recorded.outcome


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(recorded, "_record", _record)
    monkeypatch.setattr(step, "side_stream", lambda device: nullcontext())
    Recorded.made.clear()


@pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])
def test_training_is_the_same(family):
    runs = []
    for cuda_graph in (False, True):
        model, optimizer, data = _setup(family)
        settings = _settings(batch_size=9, max_epochs=3, averaging=True, cuda_graph=cuda_graph)
        epochs = _without_time(train(model, optimizer, data, settings))
        runs.append((epochs, list(model.parameters())))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))
    # of 9 batches the first three and the last, which is smaller, are made step by step
    assert [recorded.replays for recorded in Recorded.made] == [9 - WARM_UP - 1] * 3


def test_replicas_are_the_same():
    runs = []
    for cuda_graph in (False, True):
        parts = [_setup() for _ in range(2)]
        learners = [
            learner(*part, _settings(batch_size=9, max_epochs=2, seed=seed, cuda_graph=cuda_graph))
            for seed, part in enumerate(parts)
        ]
        for _ in loop.train(learners):
            pass
        runs.append([_without_time([own.last]) for own in learners])
    assert runs[0] == runs[1]
    assert len(Recorded.made) == 2
    assert len(Recorded.made[0].generators) == 2


def test_a_step_that_diverges_is_named():
    model, optimizer, data = _setup()
    settings = _settings(batch_size=8, max_epochs=1, cuda_graph=True)
    bad, calls = nn.Parameter(torch.tensor(float("nan"))), []

    def poison(module, inputs, output):
        calls.append(None)
        return output + bad if len(calls) == 6 else output

    model.decoder.register_forward_hook(poison)
    with pytest.raises(Diverged, match="in epoch 1, step 6 of 10"):
        list(train(model, optimizer, data, settings))


def test_what_is_kept_is_not_overwritten():
    captured = CapturedStep(lambda batch: (_bound(batch), batch.sum()), ())
    batches = torch.arange(8.0).repeat_interleave(2).view(8, 2)
    kept = [captured(batch) for batch in batches]
    assert [bound.kl.tolist() for bound, _ in kept] == batches.tolist()
    assert [seen.item() for _, seen in kept] == batches.sum(1).tolist()


def _bound(batch):
    return Elbo(batch * 2, batch * 1, batch[None] * 1, None, {}, None)


def test_on_the_cpu_there_is_none(capsys):
    build._has_graphs.cache_clear()
    for _ in range(3):  # replicas
        assert not build._has_graphs(torch.device("cpu"))
    assert capsys.readouterr().out.count("device=cpu has none") == 1
