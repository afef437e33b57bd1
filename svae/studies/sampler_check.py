"""Does the sampler draw from the von Mises-Fisher law, and which estimator's gradient is right?"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from svae.distributions import VonMisesFisher
from svae.distributions.height import distribution, kolmogorov_p_value
from svae.plots.studies import estimator_gradients, sampler_statistics
from svae.studies import Findings
from svae.studies.estimators import ESTIMATORS, bias_findings, chance, p_value, verdict
from svae.training.streams import stream

_SLOPE, _LEVEL = 20.0, -100.0  # f(x) = 20 mu.x - 100: a likelihood's size and slope


@dataclass(frozen=True)
class SamplerCheck:
    """Compares samples and gradients with closed forms over ambient dimensions and concentrations.

    `sampler.csv` has a row per setting: mean and variance of w = mu.x with the standard scores of
    their errors, the Kolmogorov-Smirnov p-value, the acceptance rate with its score.
    `gradients.csv` has a row per setting and estimator: the gradient of E[20 w - 100] in kappa,
    exactly 20 A', its bias, and the standard deviation of one sample's.
    """

    dimensions: list[int]
    concentrations: list[float]
    samples: int

    def __post_init__(self):
        if min(self.dimensions) < 2 or min(self.concentrations) <= 0 or self.samples < 100:
            raise ValueError(
                f"study: expected dimensions from 2 up, concentrations above 0 and 100 samples or "
                f"more, got {self.dimensions}, {self.concentrations} and {self.samples}"
            )

    def __call__(self, config, device, progress) -> Findings:
        settings = [(m, float(k)) for m in self.dimensions for k in self.concentrations]
        samples, gradients = [], []
        for m, kappa in progress(settings):
            generator = stream(device, config.seed, "sampler_check", m, kappa)
            samples.append(self.check(m, kappa, device, generator))
            gradients += self.gradients(m, kappa, device, generator)
        results, of_gradients = bias_findings(gradients, self.samples)
        tests = {
            "mean": [p_value(row["mean_score"]) for row in samples],
            "distribution": [row["ks_p_value"] for row in samples],
            "acceptance": [p_value(row["acceptance_score"]) for row in samples],
        }
        results |= {"settings": len(settings)}
        results |= {f"smallest_p_value_of_{name}": min(values) for name, values in tests.items()}
        results |= {f"chance_of_{name}": chance(values) for name, values in tests.items()}
        of_samples = verdict(list(chain.from_iterable(tests.values())), "the sampler")
        figures = {
            "sampler_check": partial(sampler_statistics, samples),
            "gradients": partial(estimator_gradients, gradients),
        }
        tables = {"sampler": samples, "gradients": gradients}
        return Findings(tables, figures, results, f"{of_samples}; {of_gradients}")

    def check(self, m: int, kappa: float, device, generator) -> dict:
        """Return a row of `sampler.csv`."""
        law, count = _law(m, kappa, device), self.samples
        draw = law.draw((count,), generator)
        below = ((draw.value - law.loc).square().sum(-1) / 2).cpu()
        mean, variance = law.mean[0].item(), law.variance[0].item()
        rate, proposals = law.expected_acceptance_rate.item(), draw.proposals.double()
        distance = _distance(distribution(m, kappa, below.sort().values))
        spread = math.sqrt((1 - rate) / count) / rate
        return {
            "m": m,
            "concentration": kappa,
            "samples": count,
            "mean": 1 - below.mean().item(),
            "expected_mean": mean,
            "mean_score": ((1 - mean) - below.mean().item()) / math.sqrt(variance / count),
            "variance": below.var().item(),
            "expected_variance": variance,
            "ks_distance": distance,
            "ks_p_value": kolmogorov_p_value(distance, count),
            "acceptance_rate": 1 / proposals.mean().item(),
            "expected_acceptance_rate": rate,
            "acceptance_score": (1 / rate - proposals.mean().item()) / spread if spread else 0.0,
        }

    def gradients(self, m: int, kappa: float, device, generator) -> list[dict]:
        """Return the rows of `gradients.csv` for one setting."""
        law = _law(m, kappa, device)
        exact, level = _SLOPE * law.variance[0].item(), _SLOPE * law.mean[0].item() + _LEVEL
        rows = []
        for gradient, baseline in ESTIMATORS:
            slopes = self.slopes(
                m, kappa, gradient, level if baseline == "mean" else 0.0, generator
            )
            error = slopes.std().item() / math.sqrt(len(slopes))
            rows.append(
                {
                    "m": m,
                    "concentration": kappa,
                    "gradient": gradient,
                    "baseline": baseline,
                    "exact": exact,
                    "mean": slopes.mean().item(),
                    "standard_error": error,
                    "relative_bias": slopes.mean().item() / exact - 1,
                    "bias_score": (slopes.mean().item() - exact) / error,
                    "standard_deviation": slopes.std().item(),
                }
            )
        return rows

    def slopes(self, m: int, kappa: float, gradient: str, baseline: float, generator) -> Tensor:
        """Return each sample's gradient (samples,) of 20 mu.x - 100 in kappa."""
        device = generator.device
        like = {"dtype": torch.float64, "device": device}
        concentration = torch.full((self.samples,), kappa, **like).requires_grad_()
        law = VonMisesFisher(_pole(m, device), concentration, gradient, validate_args=False)
        draw = law.draw((), generator)
        value = _SLOPE * draw.value[:, 0] + _LEVEL
        surrogate = value + (value.detach() - baseline) * draw.log_weight
        return torch.autograd.grad(surrogate.sum(), concentration)[0]


def _pole(m: int, device) -> Tensor:
    return one_hot(torch.tensor(0, device=device), m).double()


def _law(m: int, kappa: float, device) -> VonMisesFisher:
    return VonMisesFisher(_pole(m, device), torch.tensor(kappa, dtype=torch.float64, device=device))


def _distance(shares: Tensor) -> float:
    """Return the Kolmogorov-Smirnov distance of sorted values of a distribution function."""
    steps = torch.arange(len(shares) + 1, dtype=shares.dtype) / len(shares)
    return torch.maximum(steps[1:] - shares, shares - steps[:-1]).max().item()
