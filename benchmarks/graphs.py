"""Time of an epoch on Cora beside torch_geometric's VGAE, and what large graphs cost.

    python benchmarks/graphs.py cora FOLDER     200 epochs each; FOLDER holds the files ind.cora.*
    python benchmarks/graphs.py pubmed          a graph of Pubmed's size, the loss over all pairs
    python benchmarks/graphs.py million         1,000,000 nodes, 5,000,000 edges, sampled pairs

Everything on one thread of the CPU. It needs the extra `benchmark`: the peer is the model and loop
that torch_geometric's documentation of `VGAE` describes, with sampled negatives, dense features and
evaluation in every epoch.
"""

import resource
import sys
import time

import torch
from torch_geometric.data import Data
from torch_geometric.nn import VGAE, GCNConv
from torch_geometric.transforms import NormalizeFeatures, RandomLinkSplit

from svae.data import planetoid, sphere_graph
from svae.models.graph import GraphAutoEncoder
from svae.models.latent import NormalFamily, VonMisesFisherFamily
from svae.tasks import task_of
from svae.training.learner import Learner, Settings
from svae.training.loop import train_alone

EPOCHS = 200


def ours(data, family, latent_dim: int, epochs: int) -> list[float]:
    """Return the seconds of each epoch, validation included."""
    torch.manual_seed(0)
    model = GraphAutoEncoder(data.spec.features, family(latent_dim))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    settings = Settings(epochs, 0.01, 0, epochs, 1.0, 1, objective="val/auc")
    learner = Learner(model, optimizer, data, settings, task_of(data.spec.kind, model))
    return [epoch.metrics["seconds"] for epoch in train_alone(learner)]


class _Encoder(torch.nn.Module):
    def __init__(self, features: int, latent_dim: int):
        super().__init__()
        self.hidden = GCNConv(features, 32)
        self.mean, self.log_std = GCNConv(32, latent_dim), GCNConv(32, latent_dim)

    def forward(self, x, edges):
        hidden = self.hidden(x, edges).relu()
        return self.mean(hidden, edges), self.log_std(hidden, edges)


def theirs(folder: str, latent_dim: int, epochs: int) -> float:
    """Return the seconds of all epochs of torch_geometric's model."""
    features, edges, _ = planetoid.read(planetoid.find("cora", folder), "cora")
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


def cora(folder: str) -> None:
    data = planetoid.load("cora", folder)
    sampled = planetoid.load("cora", folder, negatives="sampled")
    print(f"torch_geometric VGAE   {theirs(folder, 16, EPOCHS):6.1f} s for {EPOCHS} epochs")
    for name, graph in (("all pairs", data), ("sampled", sampled)):
        for family in (NormalFamily, VonMisesFisherFamily):
            seconds = sum(ours(graph, family, 16, EPOCHS))
            print(f"{family.__name__:22} {seconds:6.1f} s for {EPOCHS} epochs, {name}")


def large(epochs: int = 3, **options) -> None:
    started = time.perf_counter()
    data = sphere_graph.load(**options)
    print(f"made in {time.perf_counter() - started:.1f} s")
    for number, seconds in enumerate(ours(data, VonMisesFisherFamily, 16, epochs), 1):
        print(f"epoch {number}: {seconds:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory {peak:.2f} GiB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["cora", folder]:
            cora(folder)
        case ["pubmed"]:
            large(nodes=19_717, edges=44_324, features=500)
        case ["million"]:
            large(nodes=1_000_000, edges=5_000_000, negatives="sampled")
        case _:
            sys.exit(__doc__)
