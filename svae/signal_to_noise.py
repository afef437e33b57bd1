"""How much of the gradient in the concentration is signal: what estimators differ in."""

import torch
from torch import Tensor

from svae.data.splits import Split
from svae.objectives import elbo

REPEATS = 8


def kappa_gradients(
    model, observations: Tensor, repeats: int, baseline="none", generator=None, kl_weight=1.0
) -> Tensor:
    """Return gradients (repeats, batch) of each observation's ELBO in its own concentration.

    Every repeat has a posterior sample of its own. The KL, which is in closed form, is part of it.
    """
    bound = elbo(model, observations.repeat(repeats, 1), 1, baseline, generator)
    kappa = bound.summary["concentration_mean"]
    (gradient,) = torch.autograd.grad(-len(kappa) * bound.loss(kl_weight), kappa)
    return gradient.view(repeats, -1)


def kappa_gradient_snr(model, split: Split, baseline: str, generator) -> float:
    """Return the signal-to-noise ratio of the gradient in kappa.

    sqrt(mean_i E[g_i]^2 / mean_i Var[g_i]) over observations i drawn from the split, g_i the
    gradient of one sample; the mean square is estimated without bias, and is 0 where that is
    negative (Rainforth et al. 2018, "Tighter variational bounds are not necessarily better",
    eq. 3). It takes a hundredth of the split, repeats included: about a hundredth of an epoch.
    """
    count = max(2, len(split) // (100 * REPEATS))
    device = split.values.device
    index = torch.randint(len(split), (count,), device=device, generator=generator)
    observations = split.observe(index, generator)
    gradients = kappa_gradients(model, observations, REPEATS, baseline, generator).double()
    noise = gradients.var(0).mean()
    signal = gradients.mean(0).square().mean() - noise / REPEATS
    return (signal / noise.clamp(min=1e-300)).clamp(min=0).sqrt().item()
