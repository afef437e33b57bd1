"""The mean of an epoch's parameters: it is kept, and training does not feel it."""

import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from svae.recording import checkpoint
from svae.recording.folder import RunFolder
from svae.recording.progress import Progress
from svae.training import loop
from svae.training.averaging import Average, averaged, averaged_state
from svae.training.guard import Diverged
from tests.support.training import learner, train
from tests.training.test_loop import _settings, _setup


def _walk(steps):
    """Return a model after `steps`, its optimiser, and the parameters after each."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    average, path = Average(optimizer, steps), []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        average.note(step)
        path.append(model.weight.detach().clone())
    return model, optimizer, path


def test_it_is_the_mean_of_all_steps_and_only_within_the_context():
    model, optimizer, path = _walk(7)
    with averaged(optimizer):
        torch.testing.assert_close(model.weight.detach(), torch.stack(path).mean(0))
    assert torch.equal(model.weight, path[-1])
    state = averaged_state(model, optimizer)
    torch.testing.assert_close(state["weight"], torch.stack(path).mean(0))


def test_of_a_long_epoch_a_hundred_evenly_spaced_ones_count():
    model, optimizer, path = _walk(350)
    mean = averaged_state(model, optimizer)["weight"]
    torch.testing.assert_close(mean, torch.stack(path[::3]).mean(0))


def test_a_new_epoch_begins_a_new_mean():
    model, optimizer, path = _walk(3)
    Average(optimizer, 1).note(1)
    assert torch.equal(averaged_state(model, optimizer)["weight"], path[-1])


def test_the_last_parameters_come_back_when_validation_fails():
    model, optimizer, path = _walk(3)
    with pytest.raises(Diverged), averaged(optimizer):
        raise Diverged("val/elbo is nan in epoch 1")
    assert torch.equal(model.weight, path[-1])


@pytest.mark.parametrize("count", [1, 2])
def test_no_later_epoch_touches_what_was_kept_of_one(count):
    learners = [learner(*_setup(), _settings(averaging=True, seed=seed)) for seed in range(count)]
    own = learners[0]
    kept, before = [], []
    for _ in loop.train(learners):  # as a run does, into the memory of the state before the last
        spare = kept[-2][0] if len(kept) > 1 else None
        tensors = checkpoint.tensors(own.model, own.optimizer, spare)
        kept.append((tensors, averaged_state(own.model, own.optimizer)))
        before.append(copy.deepcopy(kept[-1]))
        if len(kept) > 1:
            _assert_same(kept[-2][0], before[-2][0])
    assert len(kept) == 4
    for (_, average), (_, then) in zip(kept, before, strict=True):
        _assert_same(average, then)


def _assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            _assert_same(value, other[name])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_without_means_nothing_changes():
    model, optimizer, _ = _setup()
    with averaged(optimizer):
        pass
    assert averaged_state(model, optimizer).keys() == model.state_dict().keys()


def test_training_does_not_feel_it():
    runs = []
    for averaging in (False, True):
        model, optimizer, data = _setup()
        epochs = list(train(model, optimizer, data, _settings(averaging=averaging)))
        runs.append((list(model.parameters()), epochs))
    for one, other in zip(*(parameters for parameters, _ in runs), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(*(epochs for _, epochs in runs), strict=True):
        assert one.metrics["train/elbo"] == other.metrics["train/elbo"]
        assert one.metrics["val/elbo"] != other.metrics["val/elbo"]


def test_what_is_validated_is_what_is_kept(tmp_path):
    prototypes = (torch.rand(3, 10) > 0.5).float()
    model, optimizer, data = _setup(values=prototypes[torch.arange(120) % 3])  # quickly learned
    settings = _settings(averaging=True, max_epochs=2)
    with RunFolder.claim(tmp_path / "run", OmegaConf.create(), []) as folder:
        progress = Progress(model, optimizer, {"features": 10, "likelihood": "bernoulli"}, folder)
        for epoch in train(model, optimizer, data, settings):
            progress.keep(epoch)
        progress.save()
    best = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["epoch"] == epoch.best_epoch == 2
    model.load_state_dict(best["model"])
    fresh = torch.optim.Adam(model.parameters())  # has no means
    (again,) = loop._validate([learner(model, fresh, data, settings)], 2)
    assert again["val/elbo"] == epoch.metrics["val/elbo"]
    # the run goes on from the last parameters
    last = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert not torch.equal(last["model"]["encoder.0.weight"], best["model"]["encoder.0.weight"])
