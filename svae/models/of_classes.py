"""A network that reads a vector and a class, for all classes at once or for chosen ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from svae.models.dense import mlp


class OfClasses(nn.Module):
    """An MLP of a vector and its class: (K or 1, ..., inputs) to (K, ..., outputs), ReLU between.

    The class enters the first layer as a vector of K numbers, one of them 1, the others 0: as a
    bias of its own. With `classes` (P,), the number of the class of each of the vectors (P,
    inputs), there is one output for each, (P, outputs).
    """

    def __init__(self, inputs: int, classes: int, hidden: Sequence[int], outputs: int):
        super().__init__()
        self.vector = nn.Linear(inputs, hidden[0])
        self.label = nn.Linear(classes, hidden[0], bias=False)
        self.rest = mlp(*hidden, outputs)

    def forward(self, vectors: Tensor, classes: Tensor | None = None) -> Tensor:
        first = self.vector(vectors)
        biases = self.label.weight.T.to(first.dtype)
        if classes is None:
            own = biases.view(len(biases), *(1 for _ in first.shape[1:-1]), -1)
        else:
            own = biases[classes]
        return self.rest((first + own).relu_())
