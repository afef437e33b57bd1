"""What is optimised and what is reported: pure functions of a model and a batch."""

from svae.objectives.bounds import (
    Elbo,
    ImportanceBound,
    LinkLoss,
    elbo,
    iwae,
    link_loss,
    link_scores,
    log_mean_exp,
    log_weights,
    ranking,
)

__all__ = [
    "Elbo",
    "ImportanceBound",
    "LinkLoss",
    "elbo",
    "iwae",
    "link_loss",
    "link_scores",
    "log_mean_exp",
    "log_weights",
    "ranking",
]
