"""Passes over predictions: what they are, what they add up to, and the most confident mistakes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from keras_focal.calibration import CalibrationReport
from keras_focal.calibration._predictions import check_predictions, logits_of
from keras_focal.calibration._report_state import CalibrationState
from keras_focal.calibration._report_sums import Settings
from keras_focal.cli._errors import CommandError
from keras_focal.cli._predictions import Rows

_BOUNDS = (0.05, 20.0)
"""Temperatures within which the best is sought."""


class Mistake(NamedTuple):
    """A wrong prediction.

    Attributes:
        row: Its index, from 0 on.
        label: The true class.
        prediction: The class of the greatest probability.
        confidence: That probability.
    """

    row: int
    label: int
    prediction: int
    confidence: float


class Measured(NamedTuple):
    """What a pass finds.

    Attributes:
        report: Figures of all rows.
        labels: Number of rows of each class.
        mistakes: The most confident mistakes, the worst first.
    """

    report: CalibrationReport
    labels: Counter
    mistakes: list[Mistake]


def is_logits(predictions: np.ndarray, declared: bool | None) -> bool:
    """Tell whether predictions are logits, as was said or as they look, or raise.

    Args:
        predictions: The first rows, shape (n, ..., K).
        declared: What was said; None if nothing.
    """
    predictions = predictions.reshape(-1, predictions.shape[-1])
    predictions = predictions[np.isfinite(predictions).all(axis=1)].astype("float64")
    if len(predictions) and predictions.shape[1] > 1:
        is_percent = np.abs(predictions.sum(axis=1) - 100) < 5
        if is_percent.all() and predictions.min() >= 0:
            raise CommandError("the predictions look like per cent. Divide them by 100.")
    if declared is None:
        try:
            check_predictions(predictions, False)
        except ValueError:
            return True
        return False
    try:
        check_predictions(predictions, declared)
    except ValueError as error:
        found = f"from {predictions.min():.4g} to {predictions.max():.4g}"
        raise CommandError(
            f"--from-logits was given, but every row {found} looks like probabilities. Pass "
            "--probabilities."
            if declared
            else f"--probabilities was given, but rows {found} are none. Pass --from-logits."
        ) from error
    return declared


def measure(
    rows: Iterable[Rows],
    from_logits: bool,
    *,
    num_bins: int = 15,
    temperature: float = 1.0,
    skip_invalid: bool = False,
    num_mistakes: int = 0,
) -> Measured:
    """Return what predictions, with their logits divided by a temperature, add up to."""
    is_scaled = temperature != 1.0
    state = CalibrationState(Settings(num_bins, from_logits or is_scaled, _BOUNDS))
    labels: Counter = Counter()
    worst: list[tuple[float, Mistake]] = []
    for start, predictions, of_rows, _ in rows:
        values = predictions if predictions.dtype.kind == "f" else predictions.astype("float32")
        if not skip_invalid:
            _check_finite(start, values)
        if is_scaled:
            values = (values if from_logits else logits_of(values)) / temperature
        state.add((values, of_rows))
        ids = of_rows
        if of_rows.shape == predictions.shape and predictions.shape[-1] > 1:
            ids = of_rows.argmax(axis=-1)
        ids = ids.reshape(-1).astype("int64")
        labels.update(ids.tolist())
        if num_mistakes:
            found = _mistakes(start, values, ids, from_logits or is_scaled, num_mistakes)
            worst = sorted([*worst, *found], key=lambda pair: pair[0])[:num_mistakes]
    return Measured(state.report(), labels, [mistake for _, mistake in worst])


def _check_finite(start: int, predictions: np.ndarray) -> None:
    is_finite = np.isfinite(predictions).reshape(len(predictions), -1).all(axis=1)
    if not is_finite.all():
        raise CommandError(
            f"row {start + int(is_finite.argmin())} holds NaN or infinity. Mend it, or leave such "
            "rows out with --skip-invalid."
        )


def _mistakes(
    start: int, predictions: np.ndarray, labels: np.ndarray, from_logits: bool, count: int
) -> Iterator[tuple[float, Mistake]]:
    """Yield 1 - confidence of the most confident mistakes, which orders them, and themselves."""
    width = predictions.shape[-1]
    per_row = max(1, predictions.size // width // len(predictions)) if len(predictions) else 1
    predictions = predictions.reshape(-1, width)
    logits = predictions if from_logits else logits_of(predictions)
    logits = logits.astype("float64")
    if width == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    top = logits.argmax(axis=1)
    wrong = np.flatnonzero((top != labels) & np.isfinite(logits).all(axis=1))
    others = np.exp(logits[wrong] - logits[wrong, top[wrong]][:, None])
    others[np.arange(len(wrong)), top[wrong]] = 0.0
    rest = others.sum(axis=1)
    doubt = rest / (1.0 + rest)
    for index in np.argsort(doubt, kind="stable")[:count]:
        at = wrong[index]
        row = start + int(at) // per_row
        confidence = 1.0 - float(doubt[index])
        yield float(doubt[index]), Mistake(row, int(labels[at]), int(top[at]), confidence)
