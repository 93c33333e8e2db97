"""Predictions, labels and weights that a user gave, as flat arrays of what counts."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._validation.shapes import check_labels_fit, check_same_shape

NOTHING_COUNTS = (
    "`sample_weight` must be finite, >= 0, and not all 0. Received: no prediction that counts, by "
    "its weight, mask or `ignore_class`. Calibration needs held-out data."
)


class Rows(NamedTuple):
    """Predictions, shape (N, K), class ids (N,), and weights (N,), float64, > 0."""

    predictions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def flattened(
    predictions: np.ndarray,
    labels: Any,
    sample_weight: Any,
    *,
    ignore_class: int | None = None,
    multi_label: bool = False,
) -> Rows:
    """Check labels and weights, and return the predictions that count.

    What has the weight 0, the label `ignore_class`, or a row of zeros for a label is left out
    before anything is checked.

    Args:
        predictions: Array, shape (..., K); K = 1 stands for two classes.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K).
        sample_weight: None, or weights of shape (B,) or (...).
        ignore_class: None, or the id of labels to leave out.
        multi_label: Whether each of the K predictions has its own label, 0 or 1. Then `labels` has
            the shape of `predictions`, and the result has K = 1.
    """
    labels = to_numpy(labels)
    if multi_label:
        fix = "Give 0 or 1 for each label of each prediction."
        check_same_shape("labels", labels.shape, predictions.shape, fix)
        predictions = predictions[..., None]
    check_labels_fit("labels", labels.shape, predictions.shape)
    leading_shape, width = predictions.shape[:-1], predictions.shape[-1]
    weights = _spread(sample_weight, leading_shape)
    predictions = predictions.reshape(-1, width)
    is_rows = labels.ndim == len(leading_shape) + 1 and labels.shape[-1] == width > 1
    labels = labels.reshape(-1, width) if is_rows else labels.reshape(-1)
    counts = weights != 0
    if is_rows:
        counts &= (labels != 0).any(axis=1)
    elif ignore_class is not None:
        counts &= labels != ignore_class
    if not counts.all():
        predictions, labels, weights = predictions[counts], labels[counts], weights[counts]
    ids = _ids_of_rows(labels) if is_rows else labels
    _check_ids(ids, max(width, 2), ignore_class)
    is_weight = np.isfinite(weights) & (weights > 0)
    if not is_weight.all():
        raise ValueError(
            "`sample_weight` must be finite, >= 0, and not all 0. Received: "
            f"{weights[~is_weight][0]!s}."
        )
    return Rows(predictions, ids.astype("int64"), weights)


def _ids_of_rows(rows: np.ndarray) -> np.ndarray:
    """Return the class of rows that name one, one-hot or smoothed, or raise."""
    if rows.dtype.kind not in "fc":
        rows = rows.astype("float64")
    ids = rows.argmax(axis=1)
    largest = rows[np.arange(len(rows)), ids]
    names_one = (rows.min(axis=1, initial=0) >= 0) & (rows.sum(axis=1) <= 1.01)
    names_one &= (rows == largest[:, None]).sum(axis=1) == 1
    if not names_one.all():
        bad = int(np.argmin(names_one))
        positives = int((rows[bad] == largest[bad]).sum())
        raise ValueError(
            "`labels` must name one class for each prediction: rows >= 0 with one largest entry "
            f"and a sum of 1 at most. Received: row {bad} of sum {rows[bad].sum():g} with "
            f"{positives} largest entries. For labels that are independent of each other pass "
            "multi_label=True."
        )
    return ids


def _check_ids(labels: np.ndarray, num_classes: int, ignore_class: int | None) -> None:
    fits = (labels >= 0) & (labels < num_classes) & (labels == np.floor(labels))
    if not np.all(fits):
        fix = "" if ignore_class is not None else " `ignore_class` leaves one out."
        raise ValueError(
            f"`labels` must be class ids in [0, {num_classes}). Received: {labels[~fits][0]!s}."
            + fix
        )


def _spread(sample_weight: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return weights for predictions of a shape, flat: ones, or given ones of (B,) or all axes."""
    if sample_weight is None:
        return np.ones(int(np.prod(shape)))
    weights = to_numpy(sample_weight).astype("float64")
    if weights.shape == (*shape, 1):
        weights = weights[..., 0]
    if weights.shape != shape[: weights.ndim] or weights.ndim == 0:
        raise ValueError(
            f"`sample_weight` must have shape {shape} or {shape[:1]}. Received: shape "
            f"{weights.shape}. Give one weight for each prediction or each sample."
        )
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.broadcast_to(weights, shape).reshape(-1)


def to_numpy(x: Any) -> np.ndarray:
    """Return a NumPy array of numbers or of any framework's tensor; half precision as float32."""
    return single(as_numpy(x))


def as_numpy(x: Any) -> np.ndarray:
    """Return a NumPy array of numbers or of any framework's tensor, of its own dtype."""
    is_host = isinstance(x, list | tuple | np.ndarray | np.generic | int | float)
    return np.asarray(x if is_host else ops.convert_to_numpy(x))


def single(array: np.ndarray) -> np.ndarray:
    """Return an array of half precision in float32, another as it is."""
    is_half = array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
    return array.astype("float32") if is_half else array
