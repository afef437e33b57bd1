"""How much of the gradient in the concentration is signal: what estimators differ in."""

import torch
from torch import Tensor

from svae.data.splits import Split, Splits
from svae.noise import Source
from svae.objectives import elbo

REPEATS = 8


def kappa_gradients(
    model, observations: Tensor, repeats: int, baseline="none", generator=None, kl_weight=1.0
) -> Tensor:
    """Return gradients (repeats, batch) of each observation's ELBO in its own concentration.

    Every repeat has a posterior sample of its own. The KL is part of it, with the sampled term that
    it has of a scaled law.
    Of a stack of R models the observations are (R, batch, D), the gradients (R, repeats, batch).
    """
    repeated = torch.cat([observations] * repeats, -2)
    bound = elbo(model, repeated, 1, baseline, generator)
    kappa = bound.concentration
    loss = -kappa.shape[-1] * bound.loss(kl_weight)
    (gradient,) = torch.autograd.grad(loss, kappa, torch.ones_like(loss))
    return gradient.unflatten(-1, (repeats, -1))


def kappa_gradient_snr(model, split: Split | Splits, baseline: str, generator: Source) -> Tensor:
    """Return the signal-to-noise ratio of the gradient in kappa, of a stack (R,) for each model.

    sqrt(mean_i E[g_i]^2 / mean_i Var[g_i]) over observations i drawn from the split, g_i the
    gradient of one sample; the mean square is estimated without bias, and is 0 where that is
    negative (Rainforth et al. 2018, "Tighter variational bounds are not necessarily better",
    eq. 3). It takes a hundredth of the split, repeats included: about a hundredth of an epoch.
    """
    observations = split.sample(max(2, len(split) // (100 * REPEATS)), generator)
    gradients = kappa_gradients(model, observations, REPEATS, baseline, generator).double()
    noise = gradients.var(-2).mean(-1)
    signal = gradients.mean(-2).square().mean(-1) - noise / REPEATS
    return (signal / noise.clamp(min=1e-300)).clamp(min=0).sqrt()
