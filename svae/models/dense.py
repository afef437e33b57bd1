"""The fully connected auto-encoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from svae.models.likelihoods import LIKELIHOODS, likelihood_family


class AutoEncoder(nn.Module):
    """An MLP encoder, a latent family, and the mirrored MLP decoder.

    Encoder: features -> hidden -> parameters of the posterior; decoder: latent vector -> hidden
    reversed -> parameters of the likelihood; ReLU between (Davidson et al. 2018, section 5.2).

    Args:
        features: D, the length of an observation.
        latent: a family from `svae.models.latent`.
        likelihood: one of `LIKELIHOODS`, or a class of that kind.
        hidden: widths of the hidden layers, the encoder's first one first.
        half: compute the matrix products in bfloat16; everything about the latent distribution
            stays in float32.
        unit_variance: the decoder reads sqrt(m) z on the sphere, whose components have variance 1
            under the prior, as the Gaussian's have. The decoders are the same, with weights smaller
            by that factor: Adam's steps do not grow with a weight.
    """

    def __init__(
        self,
        features: int,
        latent,
        likelihood: str | type[nn.Module] = "bernoulli",
        hidden: Sequence[int] = (256, 128),
        half: bool = False,
        unit_variance: bool = False,
    ):
        super().__init__()
        if isinstance(likelihood, str) and likelihood not in LIKELIHOODS:
            raise ValueError(
                f"network: the dense auto-encoder has no likelihood {likelihood}, expected "
                f"{' or '.join(LIKELIHOODS)} (network=gcn is the network for graphs)"
            )
        self.latent = latent
        self.half = half
        self.unit_variance = unit_variance
        self.encoder = mlp(features, *hidden, latent.parameters)
        family = likelihood_family(likelihood, features)
        self.decoder = mlp(latent.manifold.ambient_dim, *reversed(hidden), family.width)
        self.likelihood_family = family

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
        """Return the matrices that Muon trains: without the encoder's last one, unless the family
        normalises what that gives.
        """
        *hidden, head = weights(self.encoder)
        hidden += weights(self.decoder)
        return [head, *hidden] if getattr(self.latent, "is_normalised", False) else hidden

    def _run(self, network: nn.Module, inputs: Tensor) -> Tensor:
        return run(network, inputs, half=self.half)


def run(network: nn.Module, inputs: Tensor, *, half: bool) -> Tensor:
    """Return what a network gives, its matrix products in bfloat16 if `half`."""
    if not half:
        return network(inputs)
    with torch.autocast(inputs.device.type, torch.bfloat16):
        return network(inputs).float()


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of the linear maps of a network, in order."""
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]


def mlp(*widths: int) -> nn.Sequential:
    """Return linear maps of these widths with ReLU between."""
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
