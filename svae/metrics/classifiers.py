"""Linear classifiers of latent vectors, for few labels."""

import numpy as np
from torch import Tensor

_PENALTIES = np.logspace(-3, 3, 7)  # C of scikit-learn
_FOLDS = 5


def linear_accuracies(train: dict[str, Tensor], test: dict[str, Tensor]) -> dict[str, float]:
    """Return the share of the test set that logistic regression and a linear SVM classify rightly.

    `train` and `test` hold posterior means `loc` (N, m) and `labels` (N,). The strength of the
    penalty is the best of cross-validation among the training labels, in as many parts as the
    rarest class has labels, at most five; one label of a class gives none to choose by.
    """
    # takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC

    points, labels = (train[name].cpu().double().numpy() for name in ("loc", "labels"))
    others, wanted = (test[name].cpu().double().numpy() for name in ("loc", "labels"))
    if len(np.unique(labels)) < 2 or not len(wanted):
        return {}
    found = {
        "logistic": LogisticRegression(max_iter=5000),
        "svm": LinearSVC(max_iter=20_000, random_state=0),
    }
    folds = min(_FOLDS, np.unique(labels, return_counts=True)[1].min())
    metrics = {}
    for name, classifier in found.items():
        if folds > 1:
            classifier = GridSearchCV(classifier, {"C": _PENALTIES}, cv=int(folds))
        right = classifier.fit(points, labels).predict(others) == wanted
        metrics[f"test/{name}_accuracy"] = float(right.mean())
    return metrics
