"""What the accuracy of nearest neighbours owes to choices that Table 2 of the paper leaves open.

    python -m benchmarks.votes RUN_FOLDER      a run on MNIST; prints a table in Markdown

The labelled images are drawn uniformly, or balanced: as many of each digit. Of digits with as many
of the five votes the smallest wins (as in scikit-learn), or that of the nearest voter (as in
`svae.metrics.neighbours`), or votes weigh 1 / distance. Mean and standard error of
50 draws, in per cent.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import svae
from svae.data import mnist
from svae.evaluate import latents
from svae.manifolds import Manifold
from svae.metrics.neighbours import LABELLED, NEIGHBOURS
from svae.training.streams import stream

DRAWS = 50
VOTES: dict[str, Callable[[Tensor], Tensor]] = {
    "ties to the smallest digit": torch.ones_like,
    "ties to the nearest voter": lambda d: 1 + 0.5 ** torch.arange(1, d.shape[1] + 1),
    "weights 1 / distance": lambda d: 1 / d.clamp(min=1e-9),
}


def uniform(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(labels), generator=generator)[:size]


def balanced(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == digit][: size // 10] for digit in range(10)])


def nearest(points: Tensor, references: Tensor, manifold: Manifold) -> tuple[Tensor, Tensor]:
    """Return distances and indices (Q, k) of the nearest references, the nearest first."""
    return manifold.distances(points, references).topk(NEIGHBOURS, largest=False)


def accuracies(train: dict, test: dict, draw, size: int, manifold: Manifold) -> dict[str, Tensor]:
    """Return the accuracy (DRAWS,) of each kind of vote on the same draws."""
    found = {name: [] for name in VOTES}
    for number in range(DRAWS):
        chosen = draw(train["labels"], size, stream("cpu", 0, "votes", number))
        distances, index = nearest(test["loc"], train["loc"][chosen], manifold)
        members = F.one_hot(train["labels"][chosen], 10)[index]
        for name, weights in VOTES.items():
            digits = (weights(distances)[..., None] * members).sum(1).argmax(1)
            found[name].append((digits == test["labels"]).double().mean() * 100)
    return {name: torch.stack(values) for name, values in found.items()}


def main(folder: str) -> None:
    model = svae.Run(folder).model()
    data, generator = mnist.load(), stream("cpu", 0, "votes")
    train, test = (latents(model, split, generator) for split in (data.train, data.test))
    manifold = model.latent.manifold
    print(f"| draw | vote | {' | '.join(f'{size} labels' for size in LABELLED)} |")
    print("|---" * (2 + len(LABELLED)) + "|")
    for draw in (uniform, balanced):
        columns = [accuracies(train, test, draw, size, manifold) for size in LABELLED]
        for name in VOTES:
            cells = (f"{c[name].mean():.1f} ± {c[name].std() / DRAWS**0.5:.1f}" for c in columns)
            print(f"| {draw.__name__} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case [folder]:
            main(folder)
        case _:
            sys.exit(__doc__)
