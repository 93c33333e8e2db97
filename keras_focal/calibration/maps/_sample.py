"""What a fit of a map is given and what it gives: held-out logits in folds, options, a map."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_focal._host import log_probabilities
from keras_focal._validation.choices import check_choice
from keras_focal._validation.maps import check_strength
from keras_focal._validation.numbers import check_count
from keras_focal.calibration.given import HeldOut
from keras_focal.calibration.maps._figures import Scored, row_blocks
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
    """Held-out logits, shape (N, K >= 2), labels, weights, and folds, shape (N,).

    Binary data have one logit: here the logits are 0 and that one.

    Attributes:
        given: The logits as they were given, float32 or float64.
        labels: Class ids.
        weights: Weights >= 0.
        folds: Fold that holds out each row.
        is_binary: Whether there is one logit.
        whole: The sample that this is a part of, and which of its rows.
        kept: What was computed once, by name. A part that is made again keeps it.
    """

    given: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    folds: np.ndarray
    is_binary: bool
    whole: "tuple[Sample, np.ndarray] | None" = None
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def logits(self) -> np.ndarray:
        """The logits in float64: a copy of others."""
        return self.given.astype("float64", copy=False)

    def parts(self) -> "Iterator[tuple[Sample, np.ndarray]]":
        """Yield the sample without each fold, and which rows the fold holds out.

        One part at a time is in memory, unless it is kept.
        """
        for fold in range(self.folds.max() + 1):
            held = self.folds == fold
            rows = ~held
            yield (
                Sample(
                    self.given[rows],
                    self.labels[rows],
                    self.weights[rows],
                    self.folds[rows],
                    self.is_binary,
                    (self, rows),
                    self.kept.setdefault(fold, {}),
                ),
                held,
            )

    @property
    def are_log_probabilities(self) -> bool:
        """Whether the exponentials of each row add up to 1, to the rounding of float32."""
        return all(
            np.all(np.abs(np.exp(block).sum(axis=1) - 1) < 1e-4)
            for _, block in row_blocks(self.given)
        )

    @property
    def temperature(self) -> TemperatureFit:
        """The temperature of least NLL, which many maps begin with."""
        if "temperature" not in self.kept:
            data = HeldOut(self.given, self.labels, self.weights)
            self.kept["temperature"] = fitted(Data([data], 15), "nll", BOUNDS)
        return self.kept["temperature"]

    @property
    def log_probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """log p and log(1 - p) of each class, both (N, K)."""
        if self.whole:
            sample, rows = self.whole
            log_p, log_q = sample.log_probabilities
            return log_p[rows], log_q[rows]
        if "log_probabilities" not in self.kept:
            self.kept["log_probabilities"] = log_probabilities(self.logits)
        return self.kept["log_probabilities"]


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
        held_out: Scores of each row by the fit without its fold, where choosing made them.
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
    held_out: Scored | None = None


FitFunction = Callable[[Sample, Options, Any], Fitted]
"""Fits a map, from a guess if there is one."""


def held_out(method: FitFunction, sample: Sample, options: Options, guess: Any) -> Scored:
    """Return the scores of each row by the map fitted without the fold that holds it."""
    found = []
    for part, rows in sample.parts():
        apply = method(part, options, guess).apply
        found.append((rows, Scored.of(sample.given[rows], sample.labels[rows], apply)))
    return Scored.joined(found)
