"""An oracle for tests: the law of the height w of a von Mises-Fisher sample, by quadrature."""

import numpy as np
from scipy.integrate import cumulative_simpson

DIMENSIONS = (2, 3, 4, 5, 11, 21, 41, 129, 1025)
CONCENTRATIONS = (0, 1e-3, 1, 10.5, 11, 15, 50, 1e3, 1e6)


class HeightLaw:
    """The law of 1 - w, of density ~ exp(-kappa (1 - w)) (1 - w^2)^((m - 3) / 2).

    In the logarithm of the angle of w, where every law of the family is some hundreds of points
    wide, and none of its digits is lost near w = 1.
    """

    def __init__(self, m: int, kappa: float, points: int = 40001):
        self.log_angle = np.linspace(-25, np.log(np.pi), points)
        half = np.sin(np.exp(self.log_angle) / 2)
        sine = np.abs(np.sin(np.exp(self.log_angle)))
        self.below_top = 2 * half * half
        with np.errstate(divide="ignore"):
            log_density = (m - 2) * np.log(sine) + self.log_angle - kappa * self.below_top
        density = np.exp(log_density - log_density.max())
        self.share = cumulative_simpson(density, x=self.log_angle, initial=0)
        self.density, self.total = density / self.share[-1], self.share[-1]
        self.share /= self.total

    def distribution(self, below_top: np.ndarray) -> np.ndarray:
        """Return the probability that 1 - w is at most that."""
        log_angle = np.log(2 * np.arcsin(np.sqrt(np.clip(below_top, 0, 2) / 2)) + 1e-300)
        return np.interp(log_angle, self.log_angle, self.share)

    def expectation(self, values: np.ndarray) -> float:
        """Return the mean of a function that is `values` at `self.below_top`."""
        return cumulative_simpson(self.density * values, x=self.log_angle)[-1]

    def scores(self, below_top: np.ndarray) -> list[float]:
        """Return the standard scores of the first two moments of a sample of 1 - w."""
        scores = []
        for power in (1, 2):
            mean = self.expectation(self.below_top**power)
            variance = self.expectation((self.below_top**power - mean) ** 2)
            error = (below_top**power).mean() - mean
            scores.append(error / np.sqrt(variance / below_top.size))
        return scores
