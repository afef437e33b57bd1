"""The model and the loop of s-vae-pytorch's example (package hyperspherical_vae), as a peer."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily


class Peer(nn.Module):
    """The model of s-vae-pytorch's example on its distributions, with separate heads."""

    def __init__(self, name: str, d: int):
        super().__init__()
        self.name, self.m = name, d + (name == "vMF")
        self.encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.loc, self.spread = nn.Linear(128, self.m), nn.Linear(128, 1 if name == "vMF" else d)
        self.decoder = AutoEncoder(784, NormalFamily(self.m)).decoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.encoder(x)
        loc, spread = self.loc(features), F.softplus(self.spread(features))
        if self.name == "Gaussian":
            q = Normal(loc, spread)
            kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
        else:
            from hyperspherical_vae.distributions import HypersphericalUniform, VonMisesFisher

            q = VonMisesFisher(loc / loc.norm(dim=-1, keepdim=True), spread + 1)
            kl = kl_divergence(q, HypersphericalUniform(self.m - 1, device=x.device))
        logits = self.decoder(q.rsample())
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return (error + kl).mean()


def peer_epoch(name: str, d: int, images: torch.Tensor, batch: int) -> Callable:
    """Return a function that trains s-vae-pytorch's model for an epoch, as its example does.

    On a GPU the images lie there and are taken a batch at a time, not one by one.
    """
    model = Peer(name, d).to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = images.float() / 255
    dataset = torch.utils.data.TensorDataset(images)
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True)

    def batches() -> Iterator[torch.Tensor]:
        if images.is_cuda:
            order = torch.randperm(len(images), device=images.device)
            return (images[index] for index in order.split(batch))
        return (x for (x,) in loader)

    def run() -> None:
        for x in batches():
            optimizer.zero_grad()
            model((x > torch.rand_like(x)).float()).backward()
            optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    return run
