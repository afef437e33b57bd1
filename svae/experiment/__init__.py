"""Runs from objects to results: train, save, evaluate, draw; one run, or replicas side by side.

Replicas differ in the seed alone. The folder of all holds a complete run folder for each, RUN/0,
RUN/1, ...: that of a run of its seed alone.
"""

from svae.experiment.evaluation import evaluate_again
from svae.experiment.prepare import Experiment, prepare
from svae.experiment.run import run

__all__ = ["Experiment", "evaluate_again", "prepare", "run"]
