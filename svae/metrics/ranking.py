"""How well scores rank positives before negatives."""

import torch
from torch import Tensor


def auc(scores: Tensor, is_positive: Tensor) -> Tensor:
    """Return the area under the ROC curve of scores (P,) for labels (P,); ties count one half.

    The probability that a positive is scored above a negative: (sum of the positives' ranks -
    p(p+1)/2) / (p n) for p positives and n negatives (Mann and Whitney 1947).
    """
    _, groups, sizes = scores.unique(return_inverse=True, return_counts=True)
    ranks = sizes.cumsum(0) - (sizes - 1) / 2
    positives = is_positive.sum().double()
    negatives = len(scores) - positives
    total = ranks.double()[groups][is_positive].sum()
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision(scores: Tensor, is_positive: Tensor) -> Tensor:
    """Return sum_k (recall_k - recall_{k-1}) precision_k over the distinct scores, falling."""
    _, groups, sizes = scores.neg().unique(return_inverse=True, return_counts=True)
    hits = torch.zeros(len(sizes), dtype=torch.float64, device=scores.device)
    hits.index_add_(0, groups, is_positive.double())
    precision = hits.cumsum(0) / sizes.cumsum(0)
    return (precision * hits).sum() / hits.sum()
