"""Held-out predictions that are read once: sums at fixed temperatures, and a fit from the sums."""

from dataclasses import dataclass, replace

import numpy as np

from keras_focal._temperature import GRID, OCTAVE, LikelihoodSums, Reading
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature._gaps import grid_gaps
from keras_focal.calibration.temperature._sums import likelihood_sums


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
    def likelihood(self) -> LikelihoodSums:
        """What the likelihood is read from."""
        return LikelihoodSums(self.betas, self.values[: 2 + 3 * len(self.betas)])

    @property
    def weight(self) -> float:
        """Weight of the predictions."""
        return float(self.values[0])

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta, which lies within `betas`.

        The ECE is NaN where 1 / beta is not in `GRID`. Nothing is gained by a `rough` reading.
        """
        on_grid = np.isclose(GRID * beta, 1.0, rtol=1e-12, atol=0.0)
        ece = float(self.grid_errors()[on_grid][0]) if on_grid.any() else np.nan
        return replace(self.likelihood.at(beta), num_samples=self.num_samples, ece=ece)

    def says_nothing(self) -> bool:
        """Tell whether NLL rises from the least beta on."""
        return self.likelihood.says_nothing()

    def of_least_error(self) -> float:
        """Return the first temperature of `GRID` with the least ECE."""
        return float(GRID[np.argmin(self.grid_errors())])

    def grid_errors(self) -> np.ndarray:
        """Return the ECE at every temperature of `GRID`."""
        gaps = self.values[2 + 3 * len(self.betas) :] / self.weight
        return np.abs(gaps).reshape(len(GRID), self.num_bins).sum(axis=1)
