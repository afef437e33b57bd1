"""The training loop: a generator of epochs that logs nothing and touches no file."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from svae.data.binarise import Generators
from svae.data.splits import DataSet
from svae.models.foreign import is_own
from svae.objectives import Elbo, objective
from svae.training.adam import Descent
from svae.training.averaging import Average, averaged
from svae.training.compiled import compiled
from svae.training.gradient_noise import kappa_gradient_snr
from svae.training.guard import Diverged, Guard, look
from svae.training.recorded import CapturedStep, side_stream
from svae.training.streams import seeded, stream


@dataclass(frozen=True)
class Settings:
    """How to train; the keys of `trainer`, with the seed, the baseline and the objective.

    A graph is one observation and has no batch size. `on_nan` is for the caller: `train` stops.
    With `averaging` the mean of an epoch's parameters is validated, see `svae.averaging`.
    """

    max_epochs: int
    learning_rate: float
    warmup_epochs: int
    patience: int
    kl_weight: float
    samples: int
    batch_size: int | None = None
    averaging: bool = False
    on_nan: str = "stop"
    baseline: str = "none"
    objective: str = "val/elbo"
    seed: int = 0
    compile: bool = False
    cuda_graph: bool = False
    bound: str = "elbo"
    schedule: str = "constant"

    @property
    def measured_samples(self) -> int:
        """How many posterior samples an observation is validated with.

        One is enough for a mean, such as the ELBO; another number of them is another bound.
        """
        return self.samples if self.bound == "iwae" else 1

    def learning_rate_at(self, epoch: int) -> float:
        """Return Adam's in `epoch` = 1, 2, ...: constant, or on half a cosine towards 0.

        lr (1 + cos(pi (epoch - 1) / max_epochs)) / 2 (Loshchilov and Hutter 2017, eq. 5).
        """
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.max_epochs)) / 2

    def kl_weight_at(self, epoch: int) -> float:
        """Return the weight of the KL in `epoch` = 1, 2, ...: a linear warm-up, then kl_weight."""
        return self.kl_weight * min(1.0, epoch / max(1, self.warmup_epochs))


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave, and all that the next one has to know besides the tensors."""

    number: int
    metrics: dict[str, float]
    best_epoch: int
    best_value: float

    @property
    def improved(self) -> bool:
        return self.best_epoch == self.number


START = Epoch(0, {}, 0, -math.inf)


def train(
    model,
    optimizer: torch.optim.Optimizer,
    data: DataSet,
    settings: Settings,
    last: Epoch = START,
    restarts: int = 0,
) -> Iterator[Epoch]:
    """Train `model` in place and yield one record per epoch, up to the last or to early stopping.

    The learning rate is that of `settings`, whatever `optimizer` was made with.

    Continues after the epoch `last`; given the tensors of that moment the result is that of a run
    without the break, since every epoch draws from streams of its own. Training stops when the
    objective on the validation split has not risen for `patience` epochs after the warm-up.

    Raises:
        Diverged: when a training or validation quantity is not finite (see `svae.guard`).
    """
    while goes_on(last, settings):
        started = time.perf_counter()
        names = (last.number + 1, restarts)
        trained = _train_epoch(model, optimizer, data, settings, names)
        with averaged(optimizer):
            validated = _validate(model, data, settings, names)
        last = complete(last, settings, trained, validated, time.perf_counter() - started)
        yield last


def goes_on(last: Epoch, settings: Settings) -> bool:
    """Tell whether another epoch is due after `last`."""
    waited = last.number - max(last.best_epoch, settings.warmup_epochs)
    return last.number < settings.max_epochs and waited < settings.patience


def complete(
    last: Epoch,
    settings: Settings,
    trained: dict[str, float],
    validated: dict[str, float],
    seconds: float,
) -> Epoch:
    """Return the epoch after `last`, of which training and validation gave metrics.

    Raises:
        Diverged: when a quantity is not finite.
    """
    number = last.number + 1
    planned = {
        "train/kl_weight": settings.kl_weight_at(number),
        "train/learning_rate": settings.learning_rate_at(number),
    }
    metrics = trained | planned | validated | {"seconds": seconds}
    _check_finite(metrics, number)
    return _record(last, number, metrics, settings.objective)


def _record(last: Epoch, number: int, metrics: dict[str, float], objective: str) -> Epoch:
    value = metrics[objective]
    if value > last.best_value:
        return Epoch(number, metrics, number, value)
    return Epoch(number, metrics, last.best_epoch, last.best_value)


def _train_epoch(model, optimizer, data: DataSet, settings: Settings, names) -> dict[str, float]:
    generator = stream(data.device, settings.seed, "train", *names)
    batches = data.train.shuffled(settings.batch_size, generator)
    measure = objective(data.likelihood, settings.bound)
    steps = step_count(data, settings)
    with seeded(data.device, settings.seed, "dropout", *names):
        if settings.compile:
            _find_divergence(model, data)
        terms, guard = descend(
            model,
            optimizer,
            measure,
            data.train.observe,
            batches,
            steps,
            settings,
            names[0],
            generator,
        )
    guard.check(names[0])
    return summarise(terms, "train")


@torch.no_grad()
def _find_divergence(model, data: DataSet) -> None:
    """Let torch find the formula of the KL, which it remembers: a search cannot be compiled."""
    kl_divergence(model.posterior(data.train.values[:1].float()), model.prior())


def step_count(data: DataSet, settings: Settings) -> int:
    """Return how many steps an epoch has."""
    return math.ceil(len(data.train) / (settings.batch_size or len(data.train)))


def descend(
    model,
    optimizer: torch.optim.Optimizer,
    measure: Callable[..., Elbo],
    observe: Callable,
    batches: Iterable,
    steps: int,
    settings: Settings,
    epoch: int,
    generator: Generators,
) -> tuple[list[Elbo], Guard]:
    """Take a step for each of the `steps` batches of an epoch; return what each gave, and a guard.

    A step begins with `observe`(batch, generator), see `Split`. Reads nothing from the device.
    `model` may be a stack of models, see `svae.together`, and `generator` that of each.
    """
    model.train()
    kl_weight = settings.kl_weight_at(epoch)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate_at(epoch)
    guard, descent, average = Guard(model), Descent(optimizer), Average(optimizer, steps)
    options = (measure, settings.samples, settings.baseline, generator)
    terms = []
    with contextlib.ExitStack() as stack:
        both_passes, device = differentiate, next(model.parameters()).device
        if settings.compile:
            both_passes = stack.enter_context(compiled(differentiate, device))
            kl_weight = torch.full((), kl_weight, device=device)
            # a compiled step draws from torch's own generator
            options = (*options[:-1], None)

        def step(batch) -> tuple[Elbo, Tensor]:
            observations = observe(batch, generator)
            descent.clear()
            bound, gradients, seen = both_passes(model, observations, kl_weight, *options)
            descent.step(gradients)
            return bound, seen

        if settings.cuda_graph:
            stack.enter_context(side_stream(device))
            step = CapturedStep(step, generator if isinstance(generator, tuple) else (generator,))
        for number, batch in enumerate(batches, 1):
            bound, seen = step(batch)
            terms.append(bound)
            guard.note(seen, bound.summary)
            if settings.averaging:
                average.note(number)
    return terms, guard


def differentiate(
    model, batch, kl_weight: float | Tensor, measure: Callable[..., Elbo], *options
) -> tuple[Elbo, Sequence[Tensor | None], Tensor]:
    """Return the bound, the gradient of its loss in each parameter, and what the guard sees.

    `options` are those of `measure`. A parameter that is not trained or not used has no gradient.
    """
    bound = measure(model, batch, *options)
    loss = bound.loss(kl_weight)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, torch.ones_like(loss), allow_unused=True)
    return bound.detach(), gradients, look(loss, gradients)


def _validate(model, data: DataSet, settings: Settings, names) -> dict[str, float]:
    metrics = {}
    if is_noisy_in_kappa(model, data):
        generator = stream(data.device, settings.seed, "gradient", *names)
        snr = kappa_gradient_snr(model, data.train, settings.baseline, generator)
        metrics["train/kappa_gradient_snr"] = snr.item()
    generator = stream(data.device, settings.seed, "validation", *names)
    measure = objective(data.likelihood, settings.bound)
    terms = measured(model, measure, data.validation, settings.measured_samples, generator)
    return metrics | summarise(terms, "val")


def is_noisy_in_kappa(model, data: DataSet) -> bool:
    """Tell whether the noise of the gradient in kappa is told: a graph's would double its epoch.

    A family of a person's own need not have such a kappa.
    """
    return is_own(model.latent) and model.latent.has_unit_length and not data.is_graph


@torch.no_grad()
def measured(
    model, measure: Callable[..., Elbo], split, samples: int, generator: Generators
) -> list[Elbo]:
    """Return the bound of every observation of a split, by batches of up to a thousand samples."""
    model.eval()
    batches = split.batches(max(1, 1000 // samples), generator)
    return [measure(model, batch, samples, generator=generator) for batch in batches]


def summarise(terms: Iterable[Elbo], split: str) -> dict[str, float]:
    """Return means over all observations by their metric names; reads the device once."""
    names, means = _means(terms)
    return _metrics(names, means.tolist(), split)


def summarise_rows(terms: Iterable[Elbo], split: str) -> list[dict[str, float]]:
    """Return the same for every model of a stack."""
    names, means = _means(terms)
    return [_metrics(names, values, split) for values in means.T.tolist()]


def _means(terms: Iterable[Elbo]) -> tuple[list[str], Tensor]:
    columns = [term.columns for term in terms]
    names = list(columns[0])
    means = [torch.cat([c[name] for c in columns], -1).double().mean(-1) for name in names]
    return names, torch.stack(means)


def _metrics(names: list[str], values: list[float], split: str) -> dict[str, float]:
    metrics = dict(zip(names, values, strict=True))
    metrics["acceptance_rate"] = 1 / metrics.pop("proposals")
    return {f"{split}/{name}": value for name, value in metrics.items()}


def _check_finite(metrics: dict[str, float], number: int) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} in epoch {number}")
