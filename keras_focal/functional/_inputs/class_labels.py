"""Labels that name one class: ids, columns of ids, and rows, read for metrics and scores."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._validation import check_no_ragged
from keras_focal.functional._backend.precision import Tensor

INVALID = -1
"""Takes the place of an id that names no class."""

IGNORED = -2
"""Takes the place of the id to leave out, and of a row of zeros, which labels nothing."""

TOLERANCE = 0.01
"""How far the sum of a row of targets may exceed 1 where it means one class."""

_INT32 = np.iinfo("int32")


def as_labels(labels: Any, name: str = "labels") -> Tensor:
    """Return labels as a tensor; an id beyond int32 stays beyond every number of classes."""
    check_no_ragged(name, labels)
    if isinstance(labels, list | tuple):
        labels = np.asarray(labels)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.dtype.itemsize > 2:
        labels = np.clip(labels, max(_INT32.min, np.iinfo(labels.dtype).min), _INT32.max)
        labels = labels.astype("int32")
    return ops.stop_gradient(ops.convert_to_tensor(labels))


def class_of_each(labels: Any, predictions_shape: tuple, ignore_class: int | None = None) -> Tensor:
    """Return the class of each prediction, shape predictions_shape[:-1].

    Args:
        labels: Ids (...) or (..., 1), or rows (..., K), which stand for their largest entry.
            Against one output column, a number in [0, 1]: the positive class above 0.5.
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
    """Return labels as int32 ids, INVALID where they are no whole number in [0, num_classes)."""
    labels = _comparable(labels)
    is_class = ops.logical_and(labels >= 0, labels < num_classes)
    if "float" in keras.backend.standardize_dtype(labels.dtype):
        is_class = ops.logical_and(is_class, ops.equal(labels, ops.floor(labels)))
        # NaN has no integer.
        labels = ops.where(is_class, labels, ops.zeros_like(labels))
    return ops.where(is_class, ops.cast(labels, "int32"), INVALID)


def class_of_rows(rows: Tensor) -> Tensor:
    """Return the class of each row, the first of its largest entry; INVALID or IGNORED."""
    rows = ops.cast(rows, "float32")
    total = ops.sum(rows, axis=-1)
    is_row = ops.logical_and(ops.min(rows, axis=-1) >= 0, total <= 1.0 + TOLERANCE)
    ids = ops.cast(ops.argmax(rows, axis=-1), "int32")
    return ops.where(is_row, ops.where(total > 0, ids, IGNORED), INVALID)


def _without(ids: Tensor, labels: Tensor, ignore_class: int) -> Tensor:
    return ops.where(is_id(labels, ignore_class), IGNORED, ids)


def is_id(labels: Tensor, class_id: int) -> Tensor:
    """Return where labels of any dtype are a class id."""
    labels = _comparable(labels)
    return ops.equal(labels, ops.cast(class_id, labels.dtype))


def _comparable(labels: Tensor) -> Tensor:
    """Return labels in a dtype that holds any number of classes."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    is_narrow = dtype in ("bool", "int8", "uint8", "int16", "uint16")
    return ops.cast(labels, "int32") if is_narrow else labels


def label_message(name: str, label: Any, num_classes: int, place: str) -> str:
    """Return what to say of an invalid label: a row, or an id."""
    if np.ndim(label):
        return (
            f"`{name}` must hold rows that mean one class, >= 0 with a sum of at most 1. Received: "
            f"{row_text(label)}{place}. For several labels per sample use "
            "BinaryFocalCrossentropy, or a metric for each output."
        )
    if num_classes == 1:
        return (
            f"`{name}` must hold numbers in [0, 1], for one output column. Received: {label:g}"
            f"{place}. For class ids give one column for each class."
        )
    if label == num_classes:
        fix = "If the ids start at 1, subtract 1; else give the model one more output."
    elif not np.isfinite(label) or label != np.floor(label):
        fix = "Give ids, one-hot rows or distributions."
    else:
        fix = f"To leave it out pass ignore_class={int(label)}, or give it weight 0."
    return (
        f"`{name}` must hold class ids, whole numbers in [0, {num_classes}). Received: {label:g}"
        f"{place}. {fix}"
    )


def place_of(is_bad: np.ndarray) -> str:
    """Return " at [i, j]" of the first true entry."""
    if not is_bad.ndim:
        return ""
    index = np.unravel_index(is_bad.argmax(), is_bad.shape)
    return f" at [{', '.join(map(str, index))}]"


def row_text(row: np.ndarray) -> str:
    """Return the first entries of a row as text."""
    return f"[{', '.join(f'{entry:g}' for entry in row[:6])}{', ...' * (len(row) > 6)}]"
