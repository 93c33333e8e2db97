"""Labels of one class per prediction: ids, columns of ids, and one-hot or soft rows."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.shapes import check_known_rank, check_no_ragged

INVALID = -1
"""Replaces an id that is not a class."""

IGNORED = -2
"""Replaces the id of `ignore_class`, and a row of zeros, which has no label."""

TOLERANCE = 0.01
"""How far the sum of a row of targets for one class may exceed 1."""

_INT32 = np.iinfo("int32")


def as_labels(labels: Any, name: str = "labels") -> Tensor:
    """Return labels as a tensor. Ids beyond int32 are clipped, so they remain out of range."""
    check_no_ragged(name, labels)
    if isinstance(labels, list | tuple):
        labels = np.asarray(labels)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.dtype.itemsize > 2:
        labels = np.clip(labels, max(_INT32.min, np.iinfo(labels.dtype).min), _INT32.max)
        labels = labels.astype("int32")
    labels = ops.convert_to_tensor(labels)
    check_known_rank(name, labels)
    return ops.stop_gradient(labels)


def class_of_each(labels: Any, predictions_shape: tuple, ignore_class: int | None = None) -> Tensor:
    """Return the class of each prediction, shape predictions_shape[:-1].

    Args:
        labels: Ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is the
            class. For one output column, numbers in [0, 1]: the positive class above 0.5.
        predictions_shape: (..., K).
        ignore_class: None, or the id that becomes IGNORED.

    Returns:
        int32 tensor: an id in [0, max(K, 2)), INVALID or IGNORED.
    """
    labels, num_classes = as_labels(labels), predictions_shape[-1]
    if are_rows(labels, predictions_shape):
        ids = class_of_rows(labels)
        return ids if ignore_class is None else _without(ids, ids, ignore_class)
    if len(labels.shape) == len(predictions_shape):
        labels = ops.squeeze(labels, axis=-1)
    if num_classes == 1:
        values = ops.cast(labels, "float32")
        is_answer = ops.logical_and(values >= 0, values <= 1)
        ids = ops.where(is_answer, ops.cast(values > 0.5, "int32"), INVALID)
    else:
        ids = ids_in_range(labels, num_classes)
    return ids if ignore_class is None else _without(ids, labels, ignore_class)


def are_rows(labels: Tensor, predictions_shape: tuple) -> bool:
    """Tell rows (..., K) from ids (...) and (..., 1)."""
    return len(labels.shape) == len(predictions_shape) and labels.shape[-1] not in (1, None)


def ids_in_range(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels as int32 ids, INVALID unless they are whole numbers in [0, num_classes)."""
    labels = _comparable(labels)
    is_class = ops.logical_and(labels >= 0, labels < num_classes)
    if "float" in keras.backend.standardize_dtype(labels.dtype):
        is_class = ops.logical_and(is_class, ops.equal(labels, ops.floor(labels)))
        # NaN cannot be cast to an integer.
        labels = ops.where(is_class, labels, ops.zeros_like(labels))
    return ops.where(is_class, ops.cast(labels, "int32"), INVALID)


def class_of_rows(rows: Tensor) -> Tensor:
    """Return the class of each row, the first of its largest entries; or INVALID or IGNORED."""
    rows = ops.cast(rows, "float32")
    total = ops.sum(rows, axis=-1)
    is_row = ops.logical_and(ops.min(rows, axis=-1) >= 0, total <= 1.0 + TOLERANCE)
    ids = ops.cast(ops.argmax(rows, axis=-1), "int32")
    return ops.where(is_row, ops.where(total > 0, ids, IGNORED), INVALID)


def _without(ids: Tensor, labels: Tensor, ignore_class: int) -> Tensor:
    return ops.where(is_id(labels, ignore_class), IGNORED, ids)


def is_id(labels: Tensor, class_id: int) -> Tensor:
    """Return where labels of any dtype equal a class id."""
    labels = _comparable(labels)
    return ops.equal(labels, ops.cast(class_id, labels.dtype))


def _comparable(labels: Tensor) -> Tensor:
    """Return labels in a dtype that can hold any class id."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    is_narrow = dtype in ("bool", "int8", "uint8", "int16", "uint16")
    return ops.cast(labels, "int32") if is_narrow else labels


def label_message(name: str, label: Any, num_classes: int, place: str) -> str:
    """Return the error message for an invalid label: a row or an id."""
    if np.ndim(label):
        return (
            f"`{name}` must hold rows for one class, >= 0 with a sum of at most 1. Received: "
            f"{row_text(label)}{place}. For several labels per sample use "
            "BinaryFocalCrossentropy, or a metric for each output."
        )
    if num_classes == 1:
        return (
            f"`{name}` must hold numbers in [0, 1] for one output column. Received: {label:g}"
            f"{place}. For class ids, predict one column for each class."
        )
    if label == num_classes:
        fix = "If the ids start at 1, subtract 1; otherwise give the model one more output."
    elif not np.isfinite(label) or label != np.floor(label):
        fix = "Give ids, one-hot rows or distributions."
    else:
        fix = f"To leave it out, pass ignore_class={int(label)} or give it weight 0."
    return (
        f"`{name}` must hold class ids, whole numbers in [0, {num_classes}). Received: {label:g}"
        f"{place}. {fix}"
    )


def row_text(row: np.ndarray) -> str:
    """Return the first entries of a row as text."""
    return f"[{', '.join(f'{entry:g}' for entry in row[:6])}{', ...' * (len(row) > 6)}]"
