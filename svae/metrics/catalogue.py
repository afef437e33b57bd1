"""The final numbers of a run: what they are called, how they are written, which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A final number of a run, under its name in results.json.

    `better` says whether the higher or the lower one is the better; "" where neither is, as of an
    acceptance rate.
    """

    name: str
    label: str
    digits: int = 2
    better: str = ""
    is_brief: bool = False  # shown in the terminal, too


METRICS = (
    Metric("test/log_likelihood", "log-likelihood", better="higher", is_brief=True),
    Metric("test/elbo", "ELBO", better="higher", is_brief=True),
    Metric("test/reconstruction", "reconstruction"),
    Metric("test/kl", "KL", better="lower", is_brief=True),
    Metric("test/auc", "AUC", 4, better="higher", is_brief=True),
    Metric("test/average_precision", "average precision", 4, better="higher", is_brief=True),
    Metric("test/knn_accuracy_100", "5-NN, 100 labels", 4, better="higher"),
    Metric("test/knn_accuracy_600", "5-NN, 600 labels", 4, better="higher"),
    Metric("test/knn_accuracy_1000", "5-NN, 1000 labels", 4, better="higher"),
    Metric("test/recovery_correlation", "recovery correlation", 4, better="higher", is_brief=True),
    Metric("test/recovery_error", "recovery error (degrees)", better="lower", is_brief=True),
    Metric("test/prior_mismatch", "prior mismatch", better="lower", is_brief=True),
    Metric("test/log_density", "log density", better="higher", is_brief=True),
    Metric("test/acceptance_rate", "acceptance rate", 4),
    Metric("test/concentration_mean", "concentration", 1),
    Metric("seconds", "training (s)", 1, better="lower", is_brief=True),
)
_LOWER = {metric.name.rpartition("/")[2] for metric in METRICS if metric.better == "lower"}


def lower_is_better(name: str) -> bool:
    """Return whether the lower number is the better, whatever the split: of test/kl and val/kl."""
    return name.rpartition("/")[2] in _LOWER
