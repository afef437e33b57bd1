"""How well a linear map of points predicts their labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST = 10_000  # points that the map is fitted to


def probe_accuracy(train: Tensor, known: Tensor, test: Tensor, wanted: Tensor) -> float:
    """Return the share of `test` (Q, m) whose label `wanted` (Q,) a linear map predicts.

    It is that of a logistic regression on `train` (N, m) with the labels `known` (N,), 0, 1, ...,
    or on 10,000 of more, drawn by a generator of its own: the maximum of

        sum_i log softmax(W x_i + b)_{y_i} - |W|^2 / 2

    for coordinates that have mean 0 and variance 1 in `train`.
    """
    generator = torch.Generator(train.device).manual_seed(0)
    chosen = torch.randperm(len(train), generator=generator, device=train.device)[:_MOST]
    mean, deviation = train[chosen].mean(0), train[chosen].std(0, correction=0)
    deviation = torch.where(deviation == 0, 1.0, deviation)
    x, y = ((points - mean).double() / deviation for points in (train[chosen], test))
    weight, bias = fit(x, known[chosen])
    return ((y @ weight + bias).argmax(1) == wanted).double().mean().item()


def fit(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return W (m, K) and b (K,) of the regression of `labels` (N,) on x (N, m), float64."""
    classes = int(labels.max()) + 1
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS(
        (weight, bias), max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        missed = F.cross_entropy(x @ weight + bias, labels)
        found = missed + weight.square().sum() / (2 * len(x))
        found.backward()
        return found

    with torch.enable_grad():
        search.step(loss)
    return weight.detach(), bias.detach()
