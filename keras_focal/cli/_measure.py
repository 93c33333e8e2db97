"""A pass over predictions: their figures, and the most confident mistakes."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from keras_focal._host import complement_of_top, logits_of
from keras_focal.calibration.report import (
    CalibrationReport,
    CalibrationState,
    Settings,
    bound_message,
)
from keras_focal.cli._entries import Entries
from keras_focal.functional.calibration._bootstrap import Resampled, measured_values, resample

_BOUNDS = (0.05, 20.0)
"""Bounds of the temperature that is fitted."""

DRAWS = 1000
"""Bootstrap draws of the rows. All passes draw the same rows, so that they can be compared."""


class Mistake(NamedTuple):
    """A wrong prediction.

    Attributes:
        row: Index of its row, from 0 on.
        label: The true class: its index, or as the file has it where there are only confidences.
        prediction: The class of the greatest probability, likewise.
        confidence: That probability.
    """

    row: int
    label: int | str
    prediction: int | str
    confidence: float


class Measured(NamedTuple):
    """What a pass finds.

    Attributes:
        report: Figures of all entries.
        labels: Number of entries of each class, shape (K,); K = 0 where there are only confidences.
        mistakes: The most confident mistakes, the worst first.
        resampled: Sums over bootstrap draws of the rows.
    """

    report: CalibrationReport
    labels: np.ndarray
    mistakes: list[Mistake]
    resampled: Resampled


def measure(
    entries: Iterable[Entries],
    num_classes: int,
    from_logits: bool,
    *,
    num_bins: int = 15,
    temperature: float = 1.0,
    num_mistakes: int = 0,
) -> Measured:
    """Return the figures of entries, with their logits divided by a temperature."""
    is_scaled = temperature != 1.0
    state = CalibrationState(Settings(num_bins, from_logits or is_scaled, _BOUNDS))
    counts = np.zeros(num_classes, "int64")
    worst: list[tuple[float, Mistake]] = []
    resampled, generator = Resampled.nothing(num_bins, DRAWS), np.random.default_rng(0)
    for part in entries:
        if not len(part.labels):
            continue
        values = part.values
        if is_scaled:
            values = (values if from_logits else logits_of(values)) / temperature
        state.add((values, part.labels))
        of_each = measured_values(
            part.labels, values, num_bins=num_bins, from_logits=from_logits or is_scaled
        )
        resampled = resampled.plus(resample(of_each, part.rows, generator, DRAWS))
        counts += np.bincount(part.labels, minlength=num_classes)
        if num_mistakes:
            found = _mistakes(part._replace(values=values), from_logits or is_scaled, num_mistakes)
            worst = sorted([*worst, *found], key=lambda pair: pair[0])[:num_mistakes]
    return Measured(state.report(), counts, [mistake for _, mistake in worst], resampled)


def _mistakes(part: Entries, from_logits: bool, count: int) -> Iterator[tuple[float, Mistake]]:
    """Yield the most confident mistakes, each after 1 - confidence, by which they are ordered."""
    rows, values, labels = part
    wrong = np.flatnonzero(values.argmax(axis=1) != labels)
    logits = values[wrong] if from_logits else logits_of(values[wrong])
    logits = logits.astype("float64")
    top, complement = logits.argmax(axis=1), complement_of_top(logits)
    for at in np.argsort(complement, kind="stable")[:count]:
        label = int(labels[wrong[at]])
        mistake = Mistake(int(rows[wrong[at]]), label, int(top[at]), 1.0 - float(complement[at]))
        yield float(complement[at]), mistake


def bound_note(temperature: float) -> str:
    """Return what a temperature at a bound means."""
    return bound_message(temperature, _BOUNDS[0])
