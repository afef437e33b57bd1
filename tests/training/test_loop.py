"""The loop: warm-up, early stopping, exact continuation, divergence."""

import shutil
from functools import partial

import pytest
import torch
from torch.distributions import Distribution

from svae import tasks
from svae.data.splits import DataSet, Split
from svae.models.dense import AutoEncoder
from svae.models.latent import (
    NormalFamily,
    PowerSphericalFamily,
    SphericalCauchyFamily,
    VonMisesFisherFamily,
)
from svae.objectives import elbo, iwae
from svae.recording import checkpoint
from svae.training import compiled, loop, step
from svae.training.guard import Diverged
from svae.training.learner import Settings
from svae.training.muon import Muon, groups_of
from svae.training.stack import Stack
from svae.training.streams import stream
from tests.support.training import learner, save_state, train


def _settings(**changes):
    base = {
        "max_epochs": 4,
        "batch_size": 16,
        "learning_rate": 1e-2,
        "warmup_epochs": 2,
        "patience": 3,
        "kl_weight": 1.0,
        "samples": 1,
    }
    return Settings(**(base | changes))


def _setup(family=VonMisesFisherFamily, values=None, optimizer="adam"):
    torch.manual_seed(0)
    values = torch.rand(120, 10) if values is None else values
    data = DataSet(
        Split(values[:80], binary=True),
        Split(values[80:100], binary=True),
        Split(values[100:], binary=True),
        "bernoulli",
    )
    model = AutoEncoder(10, family(2), hidden=(8,))
    if optimizer == "muon":
        return model, Muon(groups_of(model, model.hidden_weights())), data
    return model, torch.optim.Adam(model.parameters(), lr=1e-2, fused=True), data


def _without_time(epochs):
    return [{k: v for k, v in e.metrics.items() if k != "seconds"} for e in epochs]


def test_the_warm_up_is_linear():
    weights = [_settings(warmup_epochs=4, kl_weight=2.0).kl_weight_at(e) for e in range(1, 7)]
    assert weights == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert _settings(warmup_epochs=0).kl_weight_at(1) == 1.0


def test_the_learning_rate_falls_on_half_a_cosine():
    settings = _settings(schedule="cosine", max_epochs=4, learning_rate=2.0)
    planned = [settings.learning_rate_at(epoch) for epoch in range(1, 5)]
    assert planned == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5])
    assert _settings(learning_rate=2.0).learning_rate_at(3) == 2.0


def test_the_learning_rate_falls_on_a_line_from_the_middle():
    settings = _settings(schedule="linear", max_epochs=8, learning_rate=2.0)
    planned = [settings.learning_rate_at(epoch) for epoch in range(1, 9)]
    assert planned == pytest.approx([2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_steps_are_taken_at_the_rate_of_the_epoch(schedule):
    model, optimizer, data = _setup()
    # all of the data in one step: Adam's are at most about as long as the rate
    rate = {"schedule": schedule, "learning_rate": 3e-3}  # the optimizer was made with another
    settings = _settings(**rate, batch_size=80, patience=8, max_epochs=8)
    before = model.encoder[0].bias.detach().clone()
    for epoch in train(model, optimizer, data, settings):
        after = model.encoder[0].bias.detach().clone()
        longest = (after - before).abs().max() / settings.learning_rate_at(epoch.number)
        assert 0.5 < longest < 1.5
        assert epoch.metrics["train/learning_rate"] == settings.learning_rate_at(epoch.number)
        before = after


def test_training_raises_the_bound():
    prototypes = (torch.rand(3, 10) > 0.5).float()
    model, optimizer, data = _setup(values=prototypes[torch.arange(120) % 3])
    epochs = list(train(model, optimizer, data, _settings(max_epochs=30, patience=30)))
    assert epochs[-1].metrics["val/elbo"] > epochs[0].metrics["val/elbo"] + 1
    assert all(0.65 < e.metrics["train/acceptance_rate"] <= 1 for e in epochs)


@pytest.mark.parametrize(
    ("schedule", "algorithm"),
    [("constant", "adam"), ("cosine", "adam"), ("linear", "muon")],
)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_continued_run_equals_one_without_a_break(tmp_path, stop, schedule, algorithm):
    settings = _settings(schedule=schedule, averaging=algorithm == "muon")
    model, optimizer, data = _setup(optimizer=algorithm)
    whole = list(train(model, optimizer, data, settings))

    again, second, data = _setup(optimizer=algorithm)
    first = []
    for epoch in train(again, second, data, settings):
        first.append(epoch)
        if epoch.number == stop:
            break
    tensors = checkpoint.tensors(again, second)
    rows = [{"epoch": n, "seconds": 1.0} for n in range(1, stop + 1)]
    best = {"model": tensors["model"], "epoch": 1, "features": 10, "likelihood": "bernoulli"}
    state = checkpoint.State(tensors, epoch, rows, 0, best)
    path = save_state(tmp_path, state)

    fresh, third, data = _setup(optimizer=algorithm)
    for parameter in fresh.parameters():
        parameter.data.zero_()
    last = checkpoint.restore(path, fresh, third).epoch
    rest = list(train(fresh, third, data, settings, last))
    assert _without_time(first + rest) == _without_time(whole)
    for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


def test_patience_counts_after_the_warm_up(monkeypatch):
    model, optimizer, data = _setup()
    values = iter([5.0, 4.0, 3.0, 2.0, 6.0, 1.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(loop, "_validate", lambda *_: [{"val/elbo": next(values)}])
    settings = _settings(max_epochs=9, warmup_epochs=3, patience=2)
    epochs = list(train(model, optimizer, data, settings))
    # the best of the warm-up is epoch 1, but waiting starts at epoch 3; epoch 5 is better
    assert [e.number for e in epochs if e.improved] == [1, 5]
    assert epochs[-1].number == 7
    assert list(train(model, optimizer, data, settings, epochs[-1])) == []


@pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])
def test_the_importance_weighted_bound_is_trained_and_watched(family, monkeypatch):
    seen = set()

    def measure(model, batch, samples, *options, **more):
        seen.add((model.training, samples))
        return iwae(model, batch, samples, *options, **more)

    monkeypatch.setattr(tasks, "iwae", measure)
    prototypes = (torch.rand(3, 10, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    model, optimizer, data = _setup(family, values=prototypes[torch.arange(120) % 3])
    settings = _settings(
        bound="iwae", samples=4, objective="val/iwae", max_epochs=30, patience=30, warmup_epochs=0
    )
    epochs = list(train(model, optimizer, data, settings))
    bounds = [epoch.metrics["val/iwae"] for epoch in epochs]
    assert bounds[-1] > bounds[0] + 1
    assert epochs[-1].best_value == max(bounds)
    assert seen == {(True, 4), (False, 4)}  # validated with as many samples as trained
    for split in ("train", "val"):
        gaps = [e.metrics[f"{split}/iwae"] - e.metrics[f"{split}/elbo"] for e in epochs]
        assert sum(gaps) > 0


def test_divergence_names_the_quantity_and_the_epoch():
    model, optimizer, data = _setup(NormalFamily)
    model.decoder[0].weight.data.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"train/loss is nan in epoch 1, step 1 of 5"):
        list(train(model, optimizer, data, _settings()))


@pytest.mark.parametrize(
    "latent",
    [
        NormalFamily(3),
        VonMisesFisherFamily(1),
        VonMisesFisherFamily(3),
        VonMisesFisherFamily(2, sampler="inversion"),
        VonMisesFisherFamily(3, gradient="corrected"),
    ],
)
@pytest.mark.parametrize("algorithm", ["adam", "muon"])
def test_a_step_reads_nothing_from_the_device(latent, algorithm, monkeypatch):
    """The meta device has no values: whatever would read one fails."""
    model = AutoEncoder(10, latent, hidden=(8,)).to("meta")
    optimizer = torch.optim.Adam(model.parameters())  # a fused one is not made there
    if algorithm == "muon":
        optimizer = Muon(groups_of(model, model.hidden_weights()))
    split = Split(torch.empty(15, 10, device="meta"))
    data = DataSet(split, split, split, likelihood="bernoulli")
    own = learner(model, optimizer, data, _settings(averaging=True, batch_size=5))
    monkeypatch.setattr(Stack, "source", lambda *_: None)  # nor has it a generator
    terms, _ = loop.descend(Stack([own], model, optimizer), 1)
    assert [term.reconstruction.device.type for term in terms] == ["meta"] * 3


def test_streams_differ_by_every_word_and_repeat():
    def first(*words):
        return torch.rand(1, generator=stream("cpu", *words)).item()

    names = [(0,), (1,), (0, "train", 1, 0), (0, "train", 1, 1), (0, "train", 11, 0), (0, "a", 1)]
    assert len({first(*name) for name in names}) == len(names)
    assert first(0, "train", 1, 0) == first(0, "train", 1, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # dynamo's own
@pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])
def test_a_compiled_step_trains_and_continues_exactly(family, monkeypatch):
    # a backend that needs no C++ compiler; torch.compile turns validation off for good
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled.reset()
    torch._dynamo.utils.counters.clear()
    torch.distributions.kl._KL_MEMOIZE.clear()  # as in a new process
    model, optimizer, data = _setup(family)
    settings = _settings(compile=True, max_epochs=3, batch_size=30)
    whole = list(train(model, optimizer, data, settings))
    assert 0.65 < whole[0].metrics["train/acceptance_rate"] <= 1
    assert not torch._dynamo.utils.counters["graph_break"]  # one graph

    model, optimizer, data = _setup(family)
    first = next(train(model, optimizer, data, settings))
    rest = list(train(model, optimizer, data, settings, first))
    assert _without_time([first, *rest]) == _without_time(whole)
    compiled.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # dynamo's own
def test_every_run_of_a_sweep_is_compiled(monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled.reset()
    graphs = []
    for d in range(1, 11):  # a function is compiled eight times, then left as it is
        assert compiled.can_compile(torch.device("cpu"))
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        model, optimizer, data = _setup(lambda _, d=d: NormalFamily(d))
        settings = _settings(compile=True, max_epochs=1, batch_size=40)
        list(train(model, optimizer, data, settings))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"] - before)
    assert graphs == [1] * 10
    compiled.reset()


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
@pytest.mark.parametrize(
    ("family", "measure", "samples"),
    [
        (NormalFamily, elbo, 1),
        (PowerSphericalFamily, elbo, 1),
        (partial(VonMisesFisherFamily, gradient="implicit"), elbo, 1),
        (partial(VonMisesFisherFamily, gradient="corrected"), elbo, 1),
        (partial(VonMisesFisherFamily, gradient="pathwise"), elbo, 1),
        (NormalFamily, iwae, 3),
        (VonMisesFisherFamily, iwae, 3),
        pytest.param(SphericalCauchyFamily, elbo, 1, marks=pytest.mark.slow),
        pytest.param(partial(VonMisesFisherFamily, scales=True), elbo, 2, marks=pytest.mark.slow),
    ],
)
def test_what_is_traced_has_the_gradients_of_the_step(family, measure, samples, monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    model, _, data = _setup(family)
    batch = data.train.observe(slice(0, 30), torch.Generator().manual_seed(2))
    step._find_divergence(model, data.train)
    arguments = (model, batch, torch.tensor(0.3), measure, samples, "none", None)
    compiled.reset()
    # this backend does what was traced and draws as the step does
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    with compiled.compiled(step.differentiate, torch.device("cpu")) as program:
        torch.manual_seed(1)
        bound, gradients, _ = program(*arguments)
    assert compiled._program(step.differentiate)._run is not step.differentiate
    compiled.reset()
    # the sampler makes a fixed number of proposals
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(1)
    right = step.differentiate(*arguments)
    torch.testing.assert_close(bound.value, right[0].value, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients, right[1], strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler")
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
@pytest.mark.parametrize("family", [NormalFamily, VonMisesFisherFamily])
def test_a_compiled_step_is_the_step_on_average(family, monkeypatch):
    # torch sets it while it compiles
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    model, _, data = _setup(family)
    assert_compiled_on_average(model, data)


def assert_compiled_on_average(model, data):
    """Each of the two draws random numbers of its own."""
    device = data.device
    batch = data.train.observe(slice(0, 30), torch.Generator(device).manual_seed(2))
    step._find_divergence(model, data.train)
    arguments = (model, batch, torch.tensor(0.3, device=device), elbo, 1, "none", None)

    def draws(differentiate):
        torch.manual_seed(1)
        outcomes = [differentiate(*arguments) for _ in range(1000)]
        rows = [torch.cat([v.flatten() for v in (o[0].value, *o[1], *o[2])]) for o in outcomes]
        return torch.stack(rows).double()

    compiled.reset()
    with compiled.compiled(step.differentiate, device) as both_passes:
        found = draws(both_passes)
        program = compiled._program(step.differentiate)
    compiled.reset()
    right = draws(step.differentiate)
    assert program._run is not step.differentiate
    error = ((found.var(0) + right.var(0)) / 1000).sqrt()
    # what does not vary at all is equal up to rounding
    assert ((found.mean(0) - right.mean(0)).abs() <= 5 * error + 1e-6).all()
    # and most of them vary alike; some are rare and large
    varies = right.var(0) > 1e-8
    assert (found.var(0) / right.var(0))[varies].log().abs().median() < 0.1


def test_where_nothing_can_be_compiled_the_step_runs_as_it_is(monkeypatch, capsys):
    def fail(*arguments, **options):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    assert not compiled.can_compile(torch.device("cpu"))
    assert capsys.readouterr().out.count("no C++ compiler") == 1


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_step_that_cannot_be_compiled_runs_as_it_is(monkeypatch, capsys):
    def fail(graph, inputs):
        raise RuntimeError("no such loop")

    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    compiled.reset()
    model, optimizer, data = _setup(NormalFamily)
    epochs = list(train(model, optimizer, data, _settings(compile=True, max_epochs=2)))
    compiled.reset()
    assert len(epochs) == 2
    assert capsys.readouterr().out.count("cannot be compiled, the step runs as it is") == 1
