"""Every number that a run writes, one row each: what it is called, how and where it is shown.

All tables, curves and lines are views of these rows. They come in the order of the rows: what says
most about a run stands first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any


class Place(Flag):
    """Where a number is shown, beside the table at the end of a run, which has them all."""

    NOWHERE = 0
    CURVES = auto()  # the learning curves of a run
    REPORT = auto()  # the table of the report
    CHARTS = auto()  # the report's charts against the latent dimension
    BRIEF = auto()  # the table of a sweep in the terminal
    HEADLINE = auto()  # a run in one line, of which the first that it has is its number


@dataclass(frozen=True)
class Metric:
    """A number of a run.

    `name` is that in metrics.csv and results.json without the split: test/kl is the `kl` of the
    test set. What no split has, such as `seconds`, has `has_split` False. `better` says whether the
    "higher" or the "lower" one is; "" where neither is, as of an acceptance rate. A value that is
    `trivial` says nothing and is not shown. `live` has the word for it on the line of an epoch, by
    split. `meaning` says in a line what it measures, where the label alone does not. What
    `is_summary` comes from a latent family, so that one of a person's own may give it.
    """

    name: str
    label: str
    unit: str = ""
    digits: int = 2
    better: str = ""
    places: Place = Place.NOWHERE
    live: Mapping[str, str] = field(default_factory=dict)
    meaning: str = ""
    trivial: float | str | None = None
    has_split: bool = True
    is_summary: bool = False

    @property
    def final(self) -> str:
        """The name in results.json."""
        return f"test/{self.name}" if self.has_split else self.name

    @property
    def title(self) -> str:
        """The label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def column(self) -> str:
        """The title at the head of a column: without nats, which most are in."""
        return self.label if self.unit == "nats" else self.title

    def text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


CURVES, REPORT, CHARTS, BRIEF, HEADLINE = Place  # short, for the rows
_MAIN = REPORT | CHARTS | BRIEF

METRICS = (
    Metric(
        *("accuracy", "accuracy", "", 4, "higher", _MAIN | HEADLINE | CURVES),
        live={"val": "accuracy"},
    ),
    Metric("log_likelihood", "log-likelihood", "nats", 2, "higher", _MAIN | HEADLINE),
    Metric("bits_per_dimension", "bits per dimension", "", 4, "lower", _MAIN),
    Metric(
        *("auc", "AUC", "", 4, "higher", _MAIN | HEADLINE | CURVES, {"val": "AUC"}),
        meaning="the probability that a held-out edge is scored above a pair without an edge; "
        "messages pass along training edges only",
    ),
    Metric(
        *("average_precision", "average precision", "", 4, "higher", _MAIN),
        meaning="the mean, over held-out edges, of the share of edges among all pairs that are "
        "scored as high; messages pass along training edges only",
    ),
    Metric(
        *("auc_validation_messages", "AUC, validation edges seen", "", 4, "higher", REPORT),
        meaning="the AUC of the same model where messages pass along validation edges, too",
    ),
    Metric(
        "average_precision_validation_messages",
        *("average precision, validation edges seen", "", 4, "higher", REPORT),
        meaning="the average precision where messages pass along validation edges, too",
    ),
    Metric(
        *("elbo", "ELBO", "nats", 2, "higher", _MAIN | HEADLINE | CURVES),
        live={"train": "ELBO train", "val": "val"},
    ),
    Metric("iwae", "importance-weighted bound", "nats", 2, "higher", CURVES, {"val": "IWAE"}),
    Metric("reconstruction", "reconstruction", "nats", 2, "", REPORT),
    Metric("kl", "KL", "nats", 2, "lower", _MAIN | CURVES, {"val": "KL"}),
    Metric("style_kl", "KL of the style", "nats", 2, "", REPORT | CURVES),
    Metric("class_kl", "KL of the class", "nats", 2, "", REPORT),
    Metric("log_label", "log-probability of the labels", "nats", 3, "higher"),
    Metric("loss", "loss of link prediction", "", 4, "lower"),
    Metric("logistic_accuracy", "logistic regression", "", 4, "higher", REPORT),
    Metric("svm_accuracy", "linear SVM", "", 4, "higher", REPORT),
    Metric("knn_accuracy_100", "5-NN, 100 labels", "", 4, "higher", REPORT),
    Metric("knn_accuracy_600", "5-NN, 600 labels", "", 4, "higher", REPORT),
    Metric("knn_accuracy_1000", "5-NN, 1000 labels", "", 4, "higher", REPORT | CHARTS),
    Metric("knn_accuracy_100_balanced", "5-NN, 100 balanced labels", "", 4, "higher"),
    Metric("knn_accuracy_600_balanced", "5-NN, 600 balanced labels", "", 4, "higher"),
    Metric("knn_accuracy_1000_balanced", "5-NN, 1000 balanced labels", "", 4, "higher"),
    Metric(
        *("probe_accuracy", "linear probe", "", 4, "higher", REPORT),
        meaning="the share of test labels that a logistic regression on the labelled posterior "
        "means predicts",
    ),
    Metric("nmi", "normalised mutual information", "", 4, "higher"),
    Metric("ari", "adjusted Rand index", "", 4, "higher"),
    Metric("cluster_accuracy", "accuracy of clusters", "", 4, "higher"),
    Metric("silhouette", "silhouette", "", 4, "higher"),
    Metric("recovery_correlation", "recovery correlation", "", 4, "higher", REPORT | BRIEF),
    Metric("recovery_error", "recovery error", "degrees", 2, "lower", REPORT | BRIEF),
    Metric("prior_mismatch", "prior mismatch", "nats", 2, "lower", REPORT | BRIEF),
    Metric("log_density", "log density", "nats", 2, "higher", REPORT | BRIEF),
    Metric(
        *("acceptance_rate", "acceptance rate", "", 4, "", REPORT | CURVES),
        live={"train": "acceptance"},
        trivial=1.0,  # nothing is ever rejected
    ),
    Metric(
        *("concentration_mean", "concentration", "", 1, "", REPORT | CURVES),
        live={"train": "kappa"},
        is_summary=True,
    ),
    Metric("kappa_gradient_snr", "signal to noise of the kappa-gradient", "", 4, "", CURVES),
    Metric("scale_mean", "mean deviation", "", 4, "", CURVES, is_summary=True),
    Metric("scale_spread", "deviation of log scales", "", 4, "", CURVES, is_summary=True),
    Metric("active_dimensions", "active dimensions"),
    Metric("style_active_dimensions", "active dimensions of the style"),
    Metric("kl_weight", "weight of the KL", "", 4),
    Metric("learning_rate", "learning rate", "", 6),
    Metric("seconds", "training", "s", 1, "lower", REPORT | BRIEF, has_split=False),
    Metric("epoch", "epoch", has_split=False),
    Metric("epochs", "epochs", has_split=False),
    Metric("best_epoch", "best epoch", has_split=False),
    Metric("restarts", "restarts", trivial=0, has_split=False),
    Metric("samples", "posterior samples of the graph", has_split=False),
    Metric("importance_samples", "importance samples of an observation", has_split=False),
    Metric("collapse", "collapse", trivial="none", has_split=False),
)
# what the numbers of a run may depend on: only results.json has it
CIRCUMSTANCES = ("device", "versions", "commit", "split", "data_hash", "split_hash")
_ROWS = {(metric.has_split, metric.name): metric for metric in METRICS}
_LARGEST = 1e100  # so that squares of numbers, and the margins of an axis, are numbers too


def shown(place: Place) -> list[Metric]:
    """Return the rows of what is shown there."""
    return [metric for metric in METRICS if place in metric.places]


def of(name: str) -> Metric:
    """Return the row of a number such as test/kl; of a name of a person's own a plain one."""
    split, _, own = name.rpartition("/")
    return _ROWS.get((bool(split), own)) or Metric(own, own, digits=4, has_split=bool(split))


def lower_is_better(name: str) -> bool:
    """Return whether the lower number is the better, whatever the split: of test/kl and val/kl."""
    return of(name).better == "lower"


def reserved() -> set[str]:
    """Return the names that the `summary` of a person's own latent family may not give."""
    measured = {metric.name for metric in METRICS if metric.has_split and not metric.is_summary}
    return measured | {"proposals"}  # of which the acceptance rate is made


def number(value: Any) -> float | None:
    """Return what stands for a number in the results of a run, None where it is no good one.

    They may come from anybody: text, lists, nan, infinity and numbers too large to calculate with.
    """
    is_number = type(value) in (int, float) and abs(value) <= _LARGEST
    return value if is_number else None
