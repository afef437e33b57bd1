"""What networks for vectors have in common: an encoder, a latent family, and a decoder."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


class EncoderDecoder(nn.Module):
    """An encoder network, a latent family, and a decoder network.

    A subclass gives `encoder`, from observations (..., D) to numbers (..., `latent.parameters`);
    `likelihood_family`, see `svae.models.likelihoods`; and `decoder`, from latent vectors (..., m)
    to (..., `likelihood_family.width`). What is computed last stands last in both.

    Args:
        latent: a family from `svae.models.latent`.
        half: compute the matrix products in bfloat16; everything about the latent distribution
            stays in float32.
        unit_variance: the decoder reads sqrt(m) z on the sphere, whose components have variance 1
            under the prior, as the Gaussian's have. The decoders are the same, with weights smaller
            by that factor: Adam's steps do not grow with a weight.
    """

    def __init__(self, latent, half: bool, unit_variance: bool):
        super().__init__()
        self.latent = latent
        self.half = half
        self.unit_variance = unit_variance

    def posterior(self, observations: Tensor) -> Distribution:
        """Return q(z | x) for observations (..., D)."""
        return self.latent.posterior(self._run(self.encoder, observations))

    def prior(self) -> Distribution:
        """Return p(z)."""
        return self.latent.prior(next(self.parameters()))

    def likelihood(self, latent: Tensor) -> Distribution:
        """Return p(x | z) for latent vectors (..., m)."""
        read = self.latent.manifold.standardised(latent) if self.unit_variance else latent
        return self.likelihood_family(self._run(self.decoder, read))

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices and kernels that Muon trains: without the encoder's last one, unless
        the family normalises what that gives.
        """
        *hidden, head = weights(self.encoder)
        hidden += weights(self.decoder)
        return [head, *hidden] if getattr(self.latent, "is_normalised", False) else hidden

    def _run(self, network: nn.Module, inputs: Tensor) -> Tensor:
        return run(network, inputs, half=self.half)


def run(network: nn.Module, *inputs: Tensor | None, half: bool) -> Tensor:
    """Return what a network gives, its matrix products in bfloat16 if `half`."""
    if not half:
        return network(*inputs)
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        return network(*inputs).float()


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the matrices and kernels of a network, in order."""
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]
