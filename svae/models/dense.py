"""The fully connected auto-encoder."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from svae.models.autoencoder import EncoderDecoder
from svae.models.likelihoods import LIKELIHOODS, likelihood_family


class AutoEncoder(EncoderDecoder):
    """An MLP encoder, a latent family, and the mirrored MLP decoder.

    Encoder: features -> hidden -> parameters of the posterior; decoder: latent vector -> hidden
    reversed -> parameters of the likelihood; ReLU between (Davidson et al. 2018, section 5.2).

    Args:
        features: D, the length of an observation.
        latent: a family from `svae.models.latent`.
        likelihood: one of `LIKELIHOODS`, or a class of that kind.
        hidden: widths of the hidden layers, the encoder's first one first.
        half, unit_variance: see `EncoderDecoder`.
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
        super().__init__(latent, half, unit_variance)
        if isinstance(likelihood, str) and likelihood not in LIKELIHOODS:
            raise ValueError(
                f"network: the dense auto-encoder has no likelihood {likelihood}, expected "
                f"{' or '.join(LIKELIHOODS)} (network=gcn is the network for graphs)"
            )
        self.encoder = mlp(features, *hidden, latent.parameters)
        family = likelihood_family(likelihood, features)
        self.decoder = mlp(latent.manifold.ambient_dim, *reversed(hidden), family.width)
        self.likelihood_family = family


def mlp(*widths: int) -> nn.Sequential:
    """Return linear maps from each width to the next, with ReLU between."""
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
