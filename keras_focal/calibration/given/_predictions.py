"""Whether predictions are what they are said to be: logits or probabilities."""

import warnings

import numpy as np

from keras_focal._host import least_probability
from keras_focal.calibration.given._arrays import single
from keras_focal.functional._inputs.probabilities import TOLERANCE


def check_predictions(predictions: np.ndarray, from_logits: bool, stacklevel: int = 2) -> None:
    """Raise unless predictions are what `from_logits` says they are; warn of one doubtful column.

    Rows that are not finite say nothing.

    Args:
        predictions: Array, shape (..., K).
        from_logits: What was said.
        stacklevel: Of the warning: 1 is the caller of this function.
    """
    if from_logits:
        if look_like_probabilities(predictions):
            refuse_as_logits(is_binary=predictions.shape[-1] == 1, stacklevel=stacklevel + 1)
        return
    rows, fits = _as_probabilities(predictions)
    if not fits.all():
        bad = int(np.argmin(fits))
        raise ValueError(
            "`from_logits` must say what the model gives. Received: from_logits=False for outputs "
            f"from {rows.min():.4g} to {rows.max():.4g} that are not probabilities: row {bad} has "
            f"entries from {rows[bad].min():.4g} to {rows[bad].max():.4g} with sum "
            f"{rows[bad].sum():.4g}. If the model gives logits, pass from_logits=True."
        )


def look_like_probabilities(predictions: np.ndarray) -> bool:
    """Tell whether every row has entries in [0, 1] of sum 1; one column, whether all are in [0, 1].

    Of rows that are not finite, and of no rows at all, it is not known: False.
    """
    few = predictions.reshape(-1, predictions.shape[-1])[:1024]
    if not _as_probabilities(few)[1].all():
        return False
    rows, fits = _as_probabilities(predictions)
    return bool(len(rows) and fits.all())


def refuse_as_logits(*, is_binary: bool, stacklevel: int) -> None:
    """Raise for probabilities that were given as logits; warn where they may be logits yet."""
    message = (
        "`from_logits` must say what the model gives. Received: from_logits=True for outputs "
        "that all look like probabilities. If the model ends in softmax or sigmoid, pass "
        "from_logits=False."
    )
    if not is_binary:
        raise ValueError(message)
    warnings.warn(message, stacklevel=stacklevel + 1)


def _as_probabilities(predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite rows, and which of them are probabilities."""
    rows = single(predictions.reshape(-1, predictions.shape[-1]))
    is_finite = np.isfinite(rows).all(axis=1)
    rows = rows if is_finite.all() else rows[is_finite]
    fits = (rows >= -TOLERANCE).all(axis=1) & (rows <= 1 + TOLERANCE).all(axis=1)
    if rows.shape[1] > 1:
        fits &= np.abs(rows.sum(axis=1, dtype="float64") - 1) <= TOLERANCE
    return rows, np.asarray(fits)


def count_rounded(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """Return how many rounding took to 0 or 1: of labels, or of the predictions of one column."""
    if probabilities.shape[1] == 1:
        return int(((probabilities <= 0) | (probabilities >= 1)).sum())
    return int((probabilities[np.arange(len(labels)), labels] <= 0).sum())


def warn_of_rounded(
    count: int, total: int, *, is_binary: bool, dtype: np.dtype, stacklevel: int
) -> None:
    """Warn of probabilities that were rounded, which say how sure a model is but not how very."""
    if count:
        least = np.log2(least_probability(str(dtype), is_binary=is_binary))
        what, fate = (
            ("predictions are exactly 0 or 1", "the nearest number to them")
            if is_binary
            else ("labels have a probability of exactly 0", f"2**{least:.0f}")
        )
        warnings.warn(
            f"{count} of {total} {what}: they were rounded and count as {fate}. "
            "Pass the logits in front of the last activation with from_logits=True.",
            stacklevel=stacklevel + 1,
        )
