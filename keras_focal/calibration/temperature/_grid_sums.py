"""Held-out predictions that are read once: sums at fixed temperatures, and a fit from the sums.

NLL and its first two derivatives are summed at temperatures four an octave apart. Between them NLL
is the polynomial of degree 17 in log T that takes all three at the six nearest (Hermite): it is
analytic there, so that the temperature of least NLL is found to 2e-8.
"""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature._sums import GRID, Reading, grid_gaps, likelihood_sums

OCTAVE = 4
"""Temperatures in each octave at which NLL is summed."""

NEAREST = 6
"""Temperatures that NLL is interpolated between."""


def grid_betas(low: float, high: float) -> np.ndarray:
    """Return 1 / temperatures, rising, that [low, high] and `GRID` lie well within.

    1 is one of them.
    """
    ends = np.log2([1.0 / max(high, GRID[-1]), 1.0 / min(low, GRID[0])]) * OCTAVE
    margin = NEAREST // 2
    steps = np.arange(np.floor(ends[0]) - margin + 1, np.ceil(ends[1]) + margin)
    return 2.0 ** (steps / OCTAVE)


@dataclass(frozen=True)
class GridSums:
    """What held-out predictions add up to at fixed temperatures.

    Attributes:
        betas: 1 / temperatures of the NLL, from `grid_betas`.
        num_bins: Number of bins of the calibration error.
        num_samples: Number of predictions.
        values: Float64 array: weight of the predictions, weight of labels below the largest logit,
            then NLL, slope and curvature at each of `betas`, and the gap of each bin at each of
            `GRID`. Those of two collections add up to those of both.
    """

    betas: np.ndarray
    num_bins: int
    num_samples: int
    values: np.ndarray

    @classmethod
    def of(cls, data: HeldOut, betas: np.ndarray, num_bins: int) -> "GridSums":
        """Return what some predictions add up to."""
        return cls(betas, num_bins, len(data.labels), cls.values_of(data, betas, num_bins))

    def plus(self, other: "GridSums") -> "GridSums":
        """Return the sums of both."""
        count, values = self.num_samples + other.num_samples, self.values + other.values
        return GridSums(self.betas, self.num_bins, count, values)

    @staticmethod
    def values_of(data: HeldOut, betas: np.ndarray, num_bins: int) -> np.ndarray:
        """Return the values of some predictions."""
        counts = [data.weights.sum(), data.weights @ ~data.has_largest]
        parts = (counts, likelihood_sums(data, betas, OCTAVE), grid_gaps(data, num_bins))
        return np.concatenate(parts)

    @property
    def weight(self) -> float:
        """Weight of the predictions."""
        return float(self.values[0])

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta.

        Args:
            beta: 1 / temperature, within `betas`.
            rough: Changes nothing.

        Returns:
            Reading. The ECE is NaN where 1 / beta is not in `GRID`.
        """
        nll, slope, _ = self._likelihood
        is_separable = self.values[1] == 0 and bool(slope[0] < 0 or nll[0] == 0)
        at = self._interpolated(beta)
        on_grid = np.isclose(GRID * beta, 1.0, rtol=1e-12, atol=0.0)
        ece = float(self.grid_errors()[on_grid][0]) if on_grid.any() else np.nan
        return Reading(beta, self.num_samples, *at, is_separable, ece)

    def says_nothing(self) -> bool:
        """Tell whether NLL rises from the least beta on."""
        _, slope, curvature = self._likelihood[:, 0]
        return bool(slope >= -1e-9 * np.sqrt(curvature))

    def grid_errors(self) -> np.ndarray:
        """Return the ECE at every temperature of `GRID`."""
        gaps = self.values[2 + 3 * len(self.betas) :] / self.weight
        return np.abs(gaps).reshape(len(GRID), self.num_bins).sum(axis=1)

    @property
    def _likelihood(self) -> np.ndarray:
        """Mean NLL, slope and curvature at each of `betas`, shape (3, betas)."""
        sums = self.values[2 : 2 + 3 * len(self.betas)] / self.weight
        return sums.reshape(3, len(self.betas))

    def _interpolated(self, beta: float) -> tuple[float, float, float]:
        """Return mean NLL, slope and curvature at `beta`."""
        start = int(np.searchsorted(self.betas, beta)) - NEAREST // 2
        start = min(max(start, 0), len(self.betas) - NEAREST)
        near = slice(start, start + NEAREST)
        betas, (nll, slope, curvature) = self.betas[near], self._likelihood[:, near]
        # Derivatives by x, which is log beta scaled so that the nearest reach from -1 to 1.
        middle, scale = np.log(betas[-1] * betas[0]) / 2, np.log(betas[-1] / betas[0]) / 2
        x, first = (np.log(betas) - middle) / scale, scale * betas * slope
        second = scale * (first + scale * betas**2 * curvature)
        # Without its level, a likelihood that is flat is so to the last digit.
        targets = np.concatenate([nll - nll[0], first, second])
        size = len(targets)
        equations = [
            chebyshev.chebvander(x, size - 1 - order) @ chebyshev.chebder(np.eye(size), order)
            for order in range(3)
        ]
        series = np.linalg.solve(np.concatenate(equations), targets)
        at = (np.log(beta) - middle) / scale
        value, first, second = (
            float(chebyshev.chebval(at, chebyshev.chebder(series, order))) for order in range(3)
        )
        by_beta = first / (scale * beta)
        return value + float(nll[0]), by_beta, (second / scale - first) / (scale * beta**2)
