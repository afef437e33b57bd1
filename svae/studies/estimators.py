"""The estimators of the kappa-gradient that studies compare, and what many tests say together."""

import math
from collections.abc import Iterable

# gradient and baseline
ESTIMATORS = (
    ("implicit", "none"),
    ("pathwise", "none"),
    ("corrected", "none"),
    ("corrected", "mean"),
    ("score", "none"),
    ("score", "mean"),
)
_DOUBT = 1e-3  # a chance below it is not taken for one
# a gradient has heavy tails: the score of a mean of 500 was -6 where nothing was wrong
_ENOUGH = 5000


def p_value(score: float) -> float:
    """Return how probable a standard score of that size or more is, either way."""
    return math.erfc(abs(score) / math.sqrt(2))


def chance(p_values: list[float]) -> float:
    """Return how probable a p-value as small as the least is among so many, where all is right.

    1 - (1 - p)^n; of scores that depend on each other it is the most that it can be (Sidak 1967,
    "Rectangular confidence regions for the means of multivariate normal distributions").
    """
    return 1 - (1 - min(p_values)) ** len(p_values)


def verdict(p_values: list[float], what: str) -> str:
    """Return in a sentence whether so many tests speak against what is tested."""
    odds = chance(p_values)
    end = "nothing speaks against" if odds >= _DOUBT else "that is no chance, a fault in"
    return (
        f"of {len(p_values)} tests the most extreme has p = {min(p_values):.2g}, as by chance in "
        f"{_percent(odds)} of such studies: {end} {what}"
    )


def _percent(share: float) -> str:
    """Return a share in words, the ends of which are never reached."""
    if share > 0.99:
        return "more than 99 %"
    return "less than 0.001 %" if share < 1e-5 else f"{100 * share:.2g} %"


def bias_findings(rows: Iterable[dict], samples: int) -> tuple[dict[str, float], str]:
    """Return what the rows of a `gradients.csv` come to, and the verdict on unbiased estimators."""
    biased = [row["relative_bias"] for row in rows if row["gradient"] == "pathwise"]
    scores = [row["bias_score"] for row in rows if row["gradient"] != "pathwise"]
    p_values = [p_value(score) for score in scores]
    results = {
        "largest_bias_of_pathwise": max(map(abs, biased)),
        "largest_score_of_unbiased_gradients": max(map(abs, scores)),
        "chance_of_unbiased_gradients": chance(p_values),
    }
    what = "the unbiased gradients"
    if samples < _ENOUGH:
        return results, f"{samples} samples are too few to judge {what}, {_ENOUGH} are enough"
    return results, verdict(p_values, what)
