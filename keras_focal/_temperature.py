"""The temperature of least NLL, from sums at fixed temperatures: NumPy in float64, on the host.

NLL and its first two derivatives are summed at temperatures four an octave apart. Between them NLL
is the polynomial of degree 17 in log T that takes all three at the six nearest (Hermite): it is
analytic there, so that the temperature of least NLL is found to 2e-8.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.polynomial import chebyshev

GRID = np.arange(1, 101) / 10
"""The paper's temperatures: 0.1, 0.2, ... 10."""

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
class Reading:
    """What the data say at one temperature.

    Attributes:
        beta: 1 / temperature.
        nll: Mean negative log-likelihood.
        slope: Its derivative by beta.
        curvature: Its second derivative, >= 0.
        is_separable: Whether every label has the largest logit of its row, so that NLL falls to 0.
        num_samples: Number of predictions, where it was counted.
        ece: Expected calibration error; NaN where it was not read.
    """

    beta: float
    nll: float
    slope: float
    curvature: float
    is_separable: bool
    num_samples: int = 0
    ece: float = np.nan


class Likelihood(Protocol):
    """What NLL can be read from at any temperature."""

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta."""


@dataclass(frozen=True)
class LikelihoodSums:
    """What predictions add up to at fixed temperatures.

    Attributes:
        betas: 1 / temperatures, from `grid_betas`.
        values: Float64 array: weight of the predictions, > 0, weight of labels below the largest
            logit, then NLL, slope and curvature at each of `betas`. Those of two collections add up
            to those of both.
    """

    betas: np.ndarray
    values: np.ndarray

    @property
    def weight(self) -> float:
        """Weight of the predictions."""
        return float(self.values[0])

    @property
    def likelihood(self) -> np.ndarray:
        """Mean NLL, slope and curvature at each of `betas`, shape (3, betas)."""
        return (self.values[2:] / self.weight).reshape(3, len(self.betas))

    def at(self, beta: float, *, rough: bool = False) -> Reading:
        """Return what the data say at temperature 1 / beta, which lies within `betas`.

        Nothing is gained by a `rough` reading.
        """
        nll, slope, _ = self.likelihood
        is_separable = self.values[1] == 0 and bool(slope[0] < 0 or nll[0] == 0)
        return Reading(beta, *self._interpolated(beta), is_separable)

    def says_nothing(self) -> bool:
        """Tell whether NLL rises from the least beta on."""
        _, slope, curvature = self.likelihood[:, 0]
        return bool(slope >= -1e-9 * np.sqrt(curvature))

    def _interpolated(self, beta: float) -> tuple[float, float, float]:
        """Return mean NLL, slope and curvature at `beta`."""
        start = int(np.searchsorted(self.betas, beta)) - NEAREST // 2
        start = min(max(start, 0), len(self.betas) - NEAREST)
        near = slice(start, start + NEAREST)
        betas, (nll, slope, curvature) = self.betas[near], self.likelihood[:, near]
        # Derivatives by x, which is log beta scaled so that the nearest reach from -1 to 1.
        middle, scale = np.log(betas[-1] * betas[0]) / 2, np.log(betas[-1] / betas[0]) / 2
        first = scale * betas * slope
        second = scale * (first + scale * betas**2 * curvature)
        # Without its level, a likelihood that is flat is so to the last digit.
        targets = np.concatenate([nll - nll[0], first, second])
        series = np.linalg.solve(_equations(), targets)
        at = (np.log(beta) - middle) / scale
        value, first, second = (
            float(chebyshev.chebval(at, chebyshev.chebder(series, order))) for order in range(3)
        )
        by_beta = first / (scale * beta)
        return value + float(nll[0]), by_beta, (second / scale - first) / (scale * beta**2)


@cache
def _equations() -> np.ndarray:
    """Return value and derivatives of each Chebyshev polynomial at `NEAREST` places in [-1, 1]."""
    x, size = np.linspace(-1.0, 1.0, NEAREST), 3 * NEAREST
    orders = [
        chebyshev.chebvander(x, size - 1 - order) @ chebyshev.chebder(np.eye(size), order)
        for order in range(3)
    ]
    return np.concatenate(orders)


def least_nll(data: Likelihood, at: Reading, bottom: float, top: float) -> tuple[Reading, bool]:
    """Return the reading at the beta in [bottom, top] of least NLL, and whether it is a bound.

    Newton's method on log beta from `at` on, held to a factor of 10 a step and to a bracket that
    shrinks. NLL is convex in beta.
    """
    if at.is_separable:
        return data.at(top), True
    bounds = (bottom, top)
    for _ in range(200):
        is_beyond = at.slope > 0 or (at.slope == 0 and at.curvature == 0)
        if at.beta == bounds[not is_beyond]:
            return data.at(at.beta), True
        bottom, top = (bottom, at.beta) if is_beyond else (at.beta, top)
        limit = -np.log(10.0) if is_beyond else np.log(10.0)
        is_flat = abs(at.slope) >= abs(limit) * at.beta * at.curvature
        step = limit if is_flat else -at.slope / (at.beta * at.curvature)
        beta = float(at.beta * np.exp(step))
        if not bottom < beta < top:
            is_bound = (bottom if is_beyond else top) in bounds
            beta = (bottom if is_beyond else top) if is_bound else float(np.sqrt(bottom * top))
        # After a small step comes the last one, about its square.
        at = data.at(beta, rough=abs(step) > 0.01)
        if abs(step) <= 2e-5:
            break
    return at, False
