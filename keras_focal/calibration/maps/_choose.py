"""One map, or the best of all: rounds from cheap to dear, each measured on folds."""

from time import monotonic
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_at_least
from keras_focal.calibration.maps._figures import Figures, Scored, figures
from keras_focal.calibration.maps._registry import METHODS, Method
from keras_focal.calibration.maps._sample import Fitted, Options, Sample, held_out
from keras_focal.calibration.maps._solvers import one_thread

PLAIN = "temperature"
"""The map that "auto" fits first, and takes unless another is surely better."""


class Limits(NamedTuple):
    """What "auto" may do: seconds after which no fit begins, and which maps it may take."""

    max_seconds: float | None = None
    keep_top_class: bool = False

    @classmethod
    def of(cls, method: str, max_seconds: Any, keep_top_class: Any) -> "Limits":
        """Check the arguments."""
        check_choice("keep_top_class", keep_top_class, (True, False))
        if max_seconds is not None:
            max_seconds = check_at_least("max_seconds", max_seconds, 0, "None sets no limit.")
        if method != "auto" and (max_seconds is not None or keep_top_class):
            raise ValueError(
                "`max_seconds` and `keep_top_class` must be left out unless method='auto', which "
                f"has a choice. Received: method={method!r}."
            )
        return cls(max_seconds, bool(keep_top_class))


class MapScores(NamedTuple):
    """Held-out figures of one method (nats, fractions, 0 to 2), and seconds that it took."""

    method: str
    nll: float
    ece: float
    ada_ece: float
    brier: float
    error: float
    seconds: float


class SkippedMap(NamedTuple):
    """A method that "auto" did not try, and why."""

    method: str
    reason: str


class Measured(NamedTuple):
    """A method, its fit, its held-out figures and the scores behind them, and seconds."""

    method: Method
    fitted: Fitted
    figures: Figures
    scored: Scored
    seconds: float

    @property
    def scores(self) -> MapScores:
        return MapScores(self.method.name, *self.figures, self.seconds)


class Chosen(NamedTuple):
    """What was chosen, the figures of all that were tried, best first, and what was not."""

    best: Measured
    comparison: tuple[MapScores, ...]
    skipped: tuple[SkippedMap, ...]


def chosen_map(
    sample: Sample,
    method: str,
    options: Options,
    folds: int,
    num_bins: int,
    limits: Limits | None = None,
    verbose: int = 0,
) -> Chosen:
    """Return the map of a method, or of "auto" the best within limits."""
    limits = limits or Limits()
    names, skipped = [method], list[SkippedMap]()
    if method == "auto":
        names, skipped = _rounds(sample, limits, folds)
    tried: list[Measured] = []
    progress = keras.utils.Progbar(len(names), verbose=verbose, unit_name="map")
    begin = monotonic()
    with one_thread(any(METHODS[name].needs_solvers for name in names)):
        for name in names:
            spent = monotonic() - begin
            if tried and limits.max_seconds is not None and spent > limits.max_seconds:
                skipped.append(SkippedMap(name, f"{limits.max_seconds:g} seconds were spent"))
            else:
                tried.append(_measured(METHODS[name], sample, options, folds, num_bins))
            progress.add(1)
    tried.sort(key=lambda one: one.figures.nll)
    best = _surest(tried, sample.weights) if method == "auto" else tried[0]
    return Chosen(best, tuple(one.scores for one in tried), tuple(skipped))


def _rounds(sample: Sample, limits: Limits, folds: int) -> tuple[list[str], list[SkippedMap]]:
    """Return the methods that "auto" tries, from cheap to dear, and those that it does not."""
    if folds == 0:
        raise ValueError(
            "`folds` must be >= 2 with method='auto', which compares held-out figures. "
            "Received: folds=0."
        )
    names, skipped, classes = [], [], sample.given.shape[1]
    are_logs = sample.are_log_probabilities
    for name, method in sorted(METHODS.items(), key=lambda item: item[1].round):
        if sample.is_binary and method.is_same_in_binary:
            skipped.append(SkippedMap(name, "of one logit it is the map of another method"))
        elif method.auto == "never":
            skipped.append(SkippedMap(name, "it is left to those who name it"))
        elif method.auto == "two classes" and classes > 2:
            skipped.append(SkippedMap(name, "it pays off for two classes"))
        elif len(sample.labels) < method.labels * classes:
            skipped.append(SkippedMap(name, f"it wants {method.labels} labels of each class"))
        elif limits.keep_top_class and not method.keeps_top_class:
            skipped.append(SkippedMap(name, "it can change the top class"))
        elif are_logs and method.same_of_log_probabilities:
            same = method.same_of_log_probabilities
            skipped.append(SkippedMap(name, f"of probabilities it is the map of {same!r}"))
        else:
            names.append(name)
    return names, skipped


def _surest(tried: list[Measured], weights: np.ndarray) -> Measured:
    """Return the map whose gain in NLL over the temperature is surely the largest.

    Of several noisy gains the largest is mostly luck, so each is reduced by two standard errors.
    """
    (plain,) = [one for one in tried if one.method.name == PLAIN]

    def sure_gain(one: Measured) -> float:
        gain = plain.scored.nll - one.scored.nll
        mean = np.average(gain, weights=weights)
        error = np.sqrt(np.sum((weights * (gain - mean)) ** 2)) / weights.sum()
        return float(mean - 2 * error)

    return max((plain, *tried), key=sure_gain)


def _measured(
    method: Method, sample: Sample, options: Options, folds: int, num_bins: int
) -> Measured:
    """Return a fit on all the data, and what it does to held-out data."""
    begin = monotonic()
    fitted = method.fit(sample, options, None)
    if folds == 0:
        scored = Scored.of(sample.given, sample.labels, fitted.apply)
    elif fitted.held_out is not None:
        scored = fitted.held_out
    else:
        scored = held_out(method.fit, sample, fitted.options, fitted.guess)
    found = figures(scored, sample.weights, num_bins)
    return Measured(method, fitted, found, scored, monotonic() - begin)
