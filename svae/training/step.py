"""A training step behind one call: eager, compiled, or recorded as a CUDA graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from svae.distributions.divergence import is_sampled
from svae.noise import Rows, Source
from svae.objectives import Elbo
from svae.training.adam import Descent
from svae.training.compiled import compiled
from svae.training.guard import look
from svae.training.recorded import CapturedStep, side_stream
from svae.training.stack import Stack

Step = Callable[[Tensor], tuple[Elbo, Tensor]]


@contextmanager
def stepping(stack: Stack, epoch: int, source: Source) -> Iterator[Step]:
    """Yield what takes a step of `epoch` with a batch, given by its place in the training split.

    It returns the bound of the batch and what the guard sees, and reads nothing from the device.
    """
    settings, split = stack.settings, stack.split("train")
    device = next(stack.model.parameters()).device
    for group in stack.optimizer.param_groups:
        group["lr"] = settings.learning_rate_at(epoch)
    kl_weight = settings.kl_weight_at(epoch)
    descent = Descent(stack.optimizer, stack.model.parameters())
    both_passes, drawn_from = differentiate, source
    with ExitStack() as contexts:
        if settings.compile:
            _find_divergence(stack.model, split)
            both_passes = contexts.enter_context(compiled(differentiate, device))
            kl_weight = torch.full((), kl_weight, device=device)
            drawn_from = None  # a compiled step draws from torch's own generator
        options = (stack.task.objective, settings.samples, settings.baseline, drawn_from)

        def step(batch: Tensor) -> tuple[Elbo, Tensor]:
            observations = split.observe(batch, source)
            descent.clear()
            bound, gradients, seen = both_passes(stack.model, observations, kl_weight, *options)
            descent.step(gradients)
            return bound, seen

        if settings.cuda_graph:
            contexts.enter_context(side_stream(device))
            step = CapturedStep(step, source if isinstance(source, Rows) else (source,))
        yield step


def differentiate(
    model, batch, kl_weight: float | Tensor, objective: Callable[..., Elbo], *options
) -> tuple[Elbo, Sequence[Tensor], Tensor]:
    """Return the bound, the gradient of its loss in each parameter, and what the guard sees.

    `options` are those of `objective`. That of a parameter which the bound does not use is 0, so
    that an optimiser knows as much of every parameter, whichever part of a network a step goes by.
    """
    bound = objective(model, batch, *options)
    loss = bound.loss(kl_weight)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters, torch.ones_like(loss), allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    gradients = [torch.zeros_like(p) if gradient is None else gradient for p, gradient in pairs]
    return bound.detach(), gradients, look(loss, gradients)


@torch.no_grad()
def _find_divergence(model, split) -> None:
    """Let torch find the formula of the KL, which it remembers: a search cannot be compiled."""
    posterior = model.posterior(split.values[:1].float())
    if not is_sampled(posterior):
        kl_divergence(posterior, model.prior())
