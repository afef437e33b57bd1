"""What the estimators of the gradient do to a model's own loss, and to its training."""

from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from svae import build
from svae.data.splits import DataSet
from svae.plots.studies import gradient_bias_and_noise, training_curves
from svae.studies import Findings
from svae.studies.estimators import ESTIMATORS, bias_findings
from svae.tasks import task_of
from svae.training.gradient_noise import kappa_gradients
from svae.training.learner import Learner
from svae.training.loop import train_alone
from svae.training.streams import stream


@dataclass(frozen=True)
class GradientStudy:
    """Trains a model under each estimator, and measures all of them on the one trained by implicit.

    `curves.csv` has a row per dimension, estimator and epoch. `gradients.csv` has a row per
    dimension, measured epoch and estimator, see `compare`: about the gradient of E_q[log p(x|z)] in
    the concentration, one for each of `observations` of the validation split. The exact gradient is
    the mean of the implicit estimator over as many other samples.
    """

    latent_dims: list[int]
    epochs: list[int]
    observations: int
    repeats: int
    trained_epochs: int

    def __post_init__(self):
        if self.observations < 2 or self.repeats < 16:
            raise ValueError(
                f"study: expected 2 observations and 16 repeats or more, got {self.observations} "
                f"and {self.repeats}"
            )
        if max(self.epochs) > self.trained_epochs:
            raise ValueError(
                f"study.epochs={self.epochs}: expected at most trainer.max_epochs="
                f"{self.trained_epochs}"
            )

    def __call__(self, config: DictConfig, device, progress) -> Findings:
        data = build.data(config).to(device)
        curves, gradients = [], []
        for d, estimator in progress([(d, e) for d in self.latent_dims for e in ESTIMATORS]):
            chosen = _with(config, d, *estimator)
            model = build.model(chosen, data.spec).to(device)
            optimizer, task = build.optimizer(chosen, model), task_of(data.spec.kind, model)
            learner = Learner(model, optimizer, data, build.training(chosen), task)
            for epoch in train_alone(learner):
                curves.append({**_about(d, epoch.number, estimator), **epoch.metrics})
                if estimator == ESTIMATORS[0] and epoch.number in self.epochs:
                    gradients += self.measure(config, model, data, d, epoch.number)
        results, verdict = bias_findings(gradients, self.observations * self.repeats)
        figures = {
            "gradients": partial(gradient_bias_and_noise, gradients),
            "curves": partial(training_curves, curves),
        }
        tables = {"gradients": gradients, "curves": curves}
        return Findings(tables, figures, results, verdict)

    def measure(self, config: DictConfig, model, data: DataSet, d: int, epoch: int) -> list[dict]:
        """Return the rows of `gradients.csv` for a model as it is."""
        generator = stream(data.device, config.seed, "gradient_study", d, epoch)
        index = torch.randperm(len(data.validation), generator=generator, device=data.device)
        observations = data.validation.observe(index[: self.observations], generator)

        def gradients(gradient: str, baseline: str) -> Tensor:
            twin = build.model(_with(config, d, gradient, baseline), data.spec)
            twin.to(data.device).load_state_dict(model.state_dict())
            parts = [
                kappa_gradients(twin, observations, 16, baseline, generator, kl_weight=0.0)
                for _ in range(self.repeats // 16)
            ]
            return torch.cat(parts).double()

        reference = gradients(*ESTIMATORS[0])
        return [
            {**_about(d, epoch, estimator), **compare(gradients(*estimator), reference)}
            for estimator in ESTIMATORS
        ]


def compare(found: Tensor, reference: Tensor) -> dict[str, float]:
    """Return bias and noise of gradients (repeats, N), relative to the unbiased `reference`'s.

    With g_i the mean of the reference and f_i that of what was found: the bias is
    sum_i (f_i - g_i) g_i / sum_i g_i^2, two halves of the reference standing for the two g_i; its
    score is over its standard error. The noise is the root mean square over i of one sample's
    standard deviation, over that of g_i; 1 / noise is the signal-to-noise ratio.
    """
    halves = [half.mean(0) for half in reference.chunk(2)]
    power = (halves[0] * halves[1]).sum()
    f, g = found.mean(0), reference.mean(0)
    bias = sum(((f - a) * b).sum() for a, b in (halves, halves[::-1])) / 2 / power
    variance = (found.var(0) + reference.var(0)) / len(found)
    error = (g.square() * variance).sum().sqrt() / power
    noise = (found.var(0).sum() / power).sqrt()
    return {
        "relative_bias": bias.item(),
        "standard_error": error.item(),
        "bias_score": (bias / error).item(),
        "relative_noise": noise.item(),
        "signal_to_noise": 1 / noise.item(),
    }


def _with(config: DictConfig, d: int, gradient: str, baseline: str) -> DictConfig:
    sampler = {"gradient": gradient, "baseline": baseline}
    return OmegaConf.merge(config, {"latent_dim": d, "sampler": sampler})


def _about(d: int, epoch: int, estimator: tuple[str, str]) -> dict:
    return {
        "latent_dim": d,
        "epoch": epoch,
        "gradient": estimator[0],
        "baseline": estimator[1],
    }
