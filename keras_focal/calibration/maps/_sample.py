"""What a fit of a map is given and what it gives: held-out logits in folds, options, a map."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from keras_focal._host import log_probabilities
from keras_focal._validation.choices import check_choice
from keras_focal._validation.maps import check_strength
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.temperature import BOUNDS, Data, TemperatureFit, fitted


@dataclass(frozen=True)
class Options:
    """Arguments of `fit_map` that belong to single methods."""

    diagonal: float | None = None
    off_diagonal: float | None = None
    bias: float | None = None
    smoothing: bool = True
    map_bins: int = 30
    binning: str = "balanced"

    @classmethod
    def of(
        cls,
        diagonal: Any,
        off_diagonal: Any,
        bias: Any,
        smoothing: Any,
        map_bins: Any,
        binning: Any,
    ) -> "Options":
        """Check the arguments."""
        check_choice("smoothing", smoothing, (True, False))
        check_choice("binning", binning, ("balanced", "equal_width"))
        return cls(
            check_strength("diagonal", diagonal),
            check_strength("off_diagonal", off_diagonal),
            check_strength("bias", bias),
            bool(smoothing),
            check_count("map_bins", map_bins),
            binning,
        )


@dataclass(frozen=True)
class Sample:
    """Held-out logits, shape (N, K >= 2), float64, labels, weights, and folds, shape (N,).

    Binary data have one logit: here the logits are 0 and that one.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    folds: np.ndarray
    is_binary: bool

    def part(self, rows: np.ndarray) -> "Sample":
        return Sample(
            self.logits[rows],
            self.labels[rows],
            self.weights[rows],
            self.folds[rows],
            self.is_binary,
        )

    @cached_property
    def parts(self) -> "list[tuple[Sample, np.ndarray]]":
        """The sample without each fold, and which rows the fold holds out."""
        held = [self.folds == fold for fold in range(self.folds.max() + 1)]
        return [(self.part(~rows), rows) for rows in held]

    @property
    def are_log_probabilities(self) -> bool:
        """Whether the exponentials of each row add up to 1, to the rounding of float32."""
        return bool(np.all(np.abs(np.exp(self.logits).sum(axis=1) - 1) < 1e-4))

    @cached_property
    def temperature(self) -> TemperatureFit:
        """The temperature of least NLL, which many maps begin with."""
        data = HeldOut(self.logits, self.labels, self.weights)
        return fitted(Data([data], 15), "nll", BOUNDS)

    @cached_property
    def log_probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """log p and log(1 - p) of each class, both (N, K)."""
        return log_probabilities(self.logits)


@dataclass(frozen=True)
class Fitted:
    """A fitted map.

    Attributes:
        apply: The map on (N, K >= 2) logits in float64.
        arguments: Of the Keras layer of the map.
        num_parameters: Free numbers.
        iterations: Of the solver; 0 for what has a closed form.
        converged: Whether the optimum was reached.
        at_bound: Whether a parameter lies at a bound of its search or the optimum at infinity.
        reason: Why the map has no best parameters, in words; empty where it has.
        options: The options with what was chosen in place of None.
        guess: Where a fit of nearly the same data begins.
        held_out: Logits of each row by the fit without its fold, where choosing made them.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    arguments: tuple[Any, ...]
    num_parameters: int
    iterations: int = 0
    converged: bool = True
    at_bound: bool = False
    reason: str = ""
    options: Options = field(default_factory=Options)
    guess: Any = None
    held_out: np.ndarray | None = None


FitFunction = Callable[[Sample, Options, Any], Fitted]
"""Fits a map, from a guess if there is one."""


def held_out(method: FitFunction, sample: Sample, options: Options, guess: Any) -> np.ndarray:
    """Return the logits of each row by the map fitted without the fold that holds it."""
    logits = np.empty_like(sample.logits)
    for part, rows in sample.parts:
        logits[rows] = method(part, options, guess).apply(sample.logits[rows])
    return logits
