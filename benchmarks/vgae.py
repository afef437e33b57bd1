"""The model and loop that torch_geometric's documentation of `VGAE` describes, to compare with.

It has sampled negatives, dense features and an evaluation in every epoch.
"""

import time

import torch
from torch_geometric.data import Data
from torch_geometric.nn import VGAE, GCNConv
from torch_geometric.transforms import NormalizeFeatures, RandomLinkSplit

from svae.data import planetoid


class _Encoder(torch.nn.Module):
    def __init__(self, features: int, latent_dim: int):
        super().__init__()
        self.hidden = GCNConv(features, 32)
        self.mean, self.log_std = GCNConv(32, latent_dim), GCNConv(32, latent_dim)

    def forward(self, x, edges):
        hidden = self.hidden(x, edges).relu()
        return self.mean(hidden, edges), self.log_std(hidden, edges)


def train(folder: str | None, latent_dim: int, epochs: int) -> float:
    """Return the seconds of all epochs on Cora."""
    features, edges, *_ = planetoid.read(planetoid.find("cora", folder), "cora")
    graph = NormalizeFeatures()(Data(x=features.to_dense(), edge_index=edges))
    split = RandomLinkSplit(
        0.05, 0.1, is_undirected=True, split_labels=True, add_negative_train_samples=False
    )
    train_data, _, test = split(graph)
    model = VGAE(_Encoder(graph.num_features, latent_dim))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    started = time.perf_counter()
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        latent = model.encode(train_data.x, train_data.edge_index)
        loss = model.recon_loss(latent, train_data.pos_edge_label_index)
        loss = loss + model.kl_loss() / train_data.num_nodes
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            latent = model.encode(test.x, test.edge_index)
            model.test(latent, test.pos_edge_label_index, test.neg_edge_label_index)
    return time.perf_counter() - started
