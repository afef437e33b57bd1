"""How the gradient of E[f(x)] in mu and kappa comes out of von Mises-Fisher samples x.

implicit    dw/dkappa at a constant value of w's distribution function. Exact.
pathwise    dw/dkappa = (1 - w^2) / c at a constant accepted proposal, c = sqrt(4 kappa^2 +
            (m-1)^2). Biased, for the law of accepted proposals depends on kappa too.
corrected   pathwise, and the score of that law: (x0 - A) - (kappa/c) (w - x0)^2. Unbiased, noisy.
            Naesseth, Ruiz, Linderman and Blei 2017, eq. 8-10.
score       the score of x itself, w - A in kappa and kappa (x - w mu) in mu; x is held constant.
            Paisley, Blei and Jordan 2012; Mnih and Gregor 2014.

A score s enters as a log weight, 0 in value and of slope s, to be multiplied by f - baseline.
"""

import torch
from torch import Tensor

from svae.autograd import Function, save
from svae.distributions.sphere import (
    FORWARD_MODE,
    place,
    pull_back,
    refuse_second,
    sum_samples,
)
from svae.distributions.ulrich_wood import Envelope

GRADIENTS = ("implicit", "corrected", "score", "pathwise")


class Reparameterised(torch.autograd.Function):
    """x = w mu + sqrt(1 - w^2) v at drawn heights w, with its gradients in mu and kappa.

    forward takes loc, concentration, 1 - w (float64, the shape of the samples), a function that
    returns (dw/dkappa) / (1 - w^2) from that, and the generator of v. The slope is asked for in the
    backward pass: who only samples does not pay for it.
    """

    @staticmethod
    def forward(ctx, loc, concentration, below_top, slope, generator):
        complement = below_top.to(loc.dtype)
        sine = (2.0 - complement).mul_(complement).sqrt_()
        x = place(loc, complement, sine, generator)
        ctx.save_for_backward(x, loc, complement, below_top, concentration)
        ctx.slope = slope
        return x

    @staticmethod
    def backward(ctx, grad):
        x, loc, complement, below_top, concentration = ctx.saved_tensors
        with torch.no_grad():
            in_loc, in_w = pull_back(grad, x, loc, complement)
            gradients = [sum_samples(in_loc, loc.shape)]
            if ctx.needs_input_grad[1]:
                in_concentration = in_w * ctx.slope(below_top).to(grad.dtype)
                gradients.append(sum_samples(in_concentration, concentration.shape))
        gradients = [refuse_second(g, grad, loc, concentration) for g in gradients]
        return *gradients, *(None for _ in range(5 - len(gradients)))


def acceptance_score(
    concentration: Tensor, envelope: Envelope, mean_complement: Tensor, below_top: Tensor
) -> Tensor:
    """Return (x0 - A) - (kappa/c) (w - x0)^2, the score in kappa of an accepted proposal.

    From the envelope, 1 - A and 1 - w, all in float64.
    """
    complement, c = envelope
    distance = complement - below_top
    return mean_complement - complement - concentration / c * distance * distance


def zero_with_slope(parameter: Tensor, slope: Tensor) -> Tensor:
    """Return 0 in the shape of `slope`, with that gradient in `parameter`, which has no second."""
    return _ZeroWithSlope.apply(parameter, slope.to(parameter.dtype))


class _ZeroWithSlope(Function):
    @staticmethod
    def forward(parameter, slope):
        return torch.zeros_like(slope)

    @staticmethod
    def setup_context(ctx, inputs, output):
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx, grad):
        parameter, slope = ctx.saved_tensors
        gradient = sum_samples((grad * slope).detach(), parameter.shape)
        return refuse_second(gradient, grad, parameter), None

    @staticmethod
    def forward_mode(ctx, *tangents):
        raise NotImplementedError(FORWARD_MODE)
