"""Predictions, labels and weights that a user gave, as flat arrays."""

from typing import Any

import numpy as np
from keras import ops

from keras_focal._validation import check_labels_fit


def flattened(
    predictions: np.ndarray, labels: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check labels and weights, and return predictions (N, K), class ids (N,) and weights (N,).

    Args:
        predictions: Array, shape (..., K); K = 1 stands for two classes.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K).
        sample_weight: None, or weights of shape (B,) or (...).
    """
    labels = to_numpy(labels)
    check_labels_fit("labels", labels.shape, predictions.shape)
    leading_shape, width = predictions.shape[:-1], predictions.shape[-1]
    is_rows = labels.ndim == predictions.ndim and labels.shape[-1] == width > 1
    labels = labels.argmax(-1).reshape(-1) if is_rows else labels.reshape(-1)
    num_classes = max(width, 2)
    fits = (labels >= 0) & (labels < num_classes) & (labels == np.floor(labels))
    if not np.all(fits):
        raise ValueError(
            f"`labels` must be class ids in [0, {num_classes}). Received: {labels[~fits][0]!s}."
        )
    weights = _spread(sample_weight, leading_shape)
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError(
            "`sample_weight` must be finite, >= 0, and not all 0. Received: "
            f"{weights[~(np.isfinite(weights) & (weights >= 0))][0]!s}."
        )
    return predictions.reshape(-1, width), labels.astype("int64"), weights


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
    is_host = isinstance(x, list | tuple | np.ndarray | np.generic | int | float)
    array = np.asarray(x if is_host else ops.convert_to_numpy(x))
    is_half = array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
    return array.astype("float32") if is_half else array
