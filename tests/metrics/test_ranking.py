"""Ranking metrics agree with scikit-learn's."""

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from svae.metrics.ranking import auc, average_precision


@pytest.mark.parametrize("distinct", [3, 50, 10**9])
def test_ranking_agrees_with_scikit_learn(distinct):
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 10, 400):
        scores = torch.randint(distinct, (count,), generator=generator).double()
        labels = torch.rand(count, generator=generator) < 0.4
        labels[0], labels[-1] = True, False
        ours = auc(scores, labels).item(), average_precision(scores, labels).item()
        theirs = roc_auc_score(labels, scores), average_precision_score(labels, scores)
        assert ours == pytest.approx(theirs, abs=1e-12)
