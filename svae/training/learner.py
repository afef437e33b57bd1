"""A model in training: how it is trained, and how far it has come."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from svae.data.splits import DataSet
from svae.training.guard import Diverged


@dataclass(frozen=True)
class Settings:
    """How to train; the keys of `trainer`, with the seed, the baseline and the objective.

    A graph is one observation and has no batch size. `on_nan` is for the caller: training stops.
    With `averaging` the mean of an epoch's parameters is validated, see `svae.training.averaging`.
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
        """Return that of `epoch` = 1, 2, ...: constant, or falling towards 0.

        With t = (epoch - 1) / max_epochs, cosine: lr (1 + cos(pi t)) / 2 (Loshchilov and Hutter
        2017, eq. 5); linear: lr min(1, 2 (1 - t)), constant up to the middle.
        """
        past = epoch - 1
        match self.schedule:
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * past / self.max_epochs)) / 2
            case "linear":
                return self.learning_rate * min(1.0, 2 * (1 - past / self.max_epochs))
        return self.learning_rate

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


@dataclass(eq=False)
class Learner:
    """A model in training and how far it is; `failure` ends its training until it is cleared.

    `task` is one of `svae.tasks`. The learning rate is that of `settings`, whatever `optimizer` was
    made with. `restarts` counts how often it went back to a good epoch, to go on with other random
    numbers.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: DataSet
    settings: Settings
    task: object
    last: Epoch = START
    restarts: int = 0
    failure: Diverged | None = None

    @property
    def goes_on(self) -> bool:
        """Whether another epoch is due."""
        waited = self.last.number - max(self.last.best_epoch, self.settings.warmup_epochs)
        is_over = self.last.number >= self.settings.max_epochs or waited >= self.settings.patience
        return self.failure is None and not is_over

    def complete(self, metrics: dict[str, float]) -> None:
        """Take over the metrics of the epoch after the last one.

        Raises:
            Diverged: when a number is not finite.
        """
        number, value = self.last.number + 1, metrics[self.settings.objective]
        for name, found in metrics.items():
            if not math.isfinite(found):
                raise Diverged(f"{name} is {found} in epoch {number}")
        best = (number, value)
        if value <= self.last.best_value:
            best = (self.last.best_epoch, self.last.best_value)
        self.last = Epoch(number, metrics, *best)
