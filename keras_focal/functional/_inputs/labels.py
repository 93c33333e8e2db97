"""Labels: class ids, rows of targets, and targets of independent outputs, read in one place.

An id outside [0, K), NaN among them, and a row or an output that no target can be, are invalid:
they make NaN of what is computed from them, in value and gradient, also inside a compiled step,
and an error where they can be read. What does not count (weight 0, a mask, the ignored class) is
exempt from that.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_focal._validation import check_labels_fit, check_no_ragged, check_same_shape
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional._stable.margin import chosen_class

INVALID = -1
"""Takes the place of an id that names no class."""

IGNORED = -2
"""Takes the place of the id to leave out."""

TOLERANCE = 0.01
"""How far the sum of a row of targets may exceed 1 where it means one class."""


class Labels(NamedTuple):
    """Labels that have been read.

    Attributes:
        values: int32 class ids, shape (...), INVALID where there is none; or targets, (..., K).
        counts: Bool tensor, shape (...) or of the targets: where a label counts. None if all do.
        weights: Float tensor, shape (...): how much each counts. None if all count 1.
        given: The labels as they came, for an error to show.
        name: What the caller calls them.
    """

    values: Tensor
    counts: Tensor | None = None
    weights: Tensor | None = None
    given: Any = None
    name: str = "labels"

    @property
    def are_ids(self) -> bool:
        """Whether they are class ids."""
        return keras.backend.standardize_dtype(self.values.dtype) == "int32"


def as_labels(labels: Any, name: str = "labels") -> Tensor:
    """Return labels as a tensor without a gradient; lists of whole numbers stay whole."""
    check_no_ragged(name, labels)
    if isinstance(labels, list | tuple):
        labels = np.asarray(labels)
    return ops.stop_gradient(ops.convert_to_tensor(labels))


def ids_in_range(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels as int32 ids, INVALID where they are no whole number in [0, num_classes)."""
    is_class = ops.logical_and(labels >= 0, labels < num_classes)
    if "float" in keras.backend.standardize_dtype(labels.dtype):
        is_class = ops.logical_and(is_class, ops.equal(labels, ops.floor(labels)))
        # NaN has no integer.
        labels = ops.where(is_class, labels, ops.zeros_like(labels))
    return ops.where(is_class, ops.cast(labels, "int32"), INVALID)


def read_ids(labels: Any, logits_shape: tuple, name: str = "labels") -> Labels:
    """Return class ids of shape (...) for logits (..., K), from ids of shape (...) or (..., 1).

    Raises:
        ValueError: If the shapes cannot match.
    """
    if isinstance(labels, Labels):
        return labels
    given = as_labels(labels, name)
    values = _without_last_one(given, logits_shape)
    fix = (
        "Give one class id for each row of predictions; for one-hot rows use the categorical loss."
    )
    check_same_shape(name, values.shape, logits_shape[:-1], fix)
    return Labels(ids_in_range(values, logits_shape[-1]), given=given, name=name)


def read_labels(labels: Any, logits_shape: tuple, name: str = "labels") -> Labels:
    """Return class ids, or rows of targets (..., K), for logits (..., K).

    Raises:
        ValueError: If labels are neither.
    """
    if isinstance(labels, Labels):
        return labels
    given = as_labels(labels, name)
    check_labels_fit(name, given.shape, logits_shape)
    if len(given.shape) == len(logits_shape) and given.shape[-1] != 1:
        return Labels(as_targets(given), given=given, name=name)
    return read_ids(labels, logits_shape, name)


def read_rows(labels: Any, logits_shape: tuple, name: str = "labels") -> Labels:
    """Return rows of targets of the shape of the logits.

    Raises:
        ValueError: If the shapes differ.
    """
    fix = "For class ids use SparseCategoricalFocalCrossentropy."
    return read_targets(labels, logits_shape, fix, name)


def read_targets(targets: Any, logits_shape: tuple, fix: str, name: str = "targets") -> Labels:
    """Return targets of the shape of the logits.

    Raises:
        ValueError: If the shapes differ.
    """
    if isinstance(targets, Labels):
        return targets
    given = as_labels(targets, name)
    check_same_shape(name, given.shape, logits_shape, fix)
    return Labels(as_targets(given), given=given, name=name)


def read_class(labels: Any, logits_shape: tuple, name: str = "labels") -> Labels:
    """Return class ids from ids or from rows that mean one class, their largest entry."""
    read = read_labels(labels, logits_shape, name)
    if read.are_ids:
        return read
    ids = class_of_rows(read.values)
    is_label = ids != IGNORED
    counts = is_label if read.counts is None else ops.logical_and(read.counts, is_label)
    return read._replace(values=ids, counts=counts)


def is_left_out(labels: Labels, ignore_class: int) -> Tensor:
    """Return where labels are of the class to leave out, shape (...)."""
    if not labels.are_ids:
        return ops.equal(ops.cast(ops.argmax(labels.values, axis=-1), "int32"), ignore_class)
    given = labels.given
    if len(given.shape) > len(labels.values.shape):
        given = ops.squeeze(given, axis=-1)
    return is_id(given, ignore_class)


def smoothed(labels: Labels, share: float, target: float, *, are_outputs: bool = False) -> Labels:
    """Return targets (1 - share) q + share * target; what is invalid or unlabelled stays so."""
    values = labels.values
    factor = label_factor(values, are_outputs=are_outputs)
    is_label = factor > 0
    if not are_outputs:
        is_label = ops.expand_dims(is_label, -1)
    return labels._replace(
        values=ops.where(is_label, values * (1.0 - share) + share * target, values)
    )


def as_targets(targets: Tensor) -> Tensor:
    """Return targets as floats."""
    if "float" in keras.backend.standardize_dtype(targets.dtype):
        return targets
    return ops.cast(targets, "float32")


def class_of_rows(rows: Tensor) -> Tensor:
    """Return the class of each row of targets, the first of the largest entry.

    INVALID for a negative entry, NaN or a sum above 1, such as that of several positives.
    IGNORED for a row of zeros, which labels nothing.
    """
    rows = ops.cast(rows, "float32")
    total = ops.sum(rows, axis=-1)
    is_row = ops.logical_and(ops.min(rows, axis=-1) >= 0, total <= 1.0 + TOLERANCE)
    ids = ops.cast(ops.argmax(rows, axis=-1), "int32")
    ids = ops.where(is_row, ids, INVALID)
    return ops.where(ops.logical_and(is_row, total <= 0), IGNORED, ids)


def class_ids(labels: Any, predictions_shape: tuple, ignore_class: int | None = None) -> Tensor:
    """Return class ids of shape predictions_shape[:-1] from ids, ids (..., 1), or rows (..., K).

    Args:
        labels: Labels of any form. Against one output column, a number in [0, 1]: the positive
            class from 0.5 on.
        predictions_shape: (..., K).
        ignore_class: None, or the id that becomes IGNORED.

    Returns:
        int32 tensor: in [0, max(K, 2)), INVALID, or IGNORED.
    """
    labels = as_labels(labels)
    num_classes = predictions_shape[-1]
    has_rows = len(labels.shape) == len(predictions_shape) and labels.shape[-1] not in (1, None)
    if has_rows and num_classes != 1:
        ids = class_of_rows(labels)
        return ids if ignore_class is None else _ignored(ids, ids, ignore_class)
    labels = _without_last_one(labels, predictions_shape)
    if num_classes == 1:
        values = ops.cast(labels, "float32")
        is_answer = ops.logical_and(values >= 0, values <= 1)
        ids = ops.where(is_answer, ops.cast(values > 0.5, "int32"), INVALID)
    else:
        ids = ids_in_range(labels, num_classes)
    return ids if ignore_class is None else _ignored(ids, labels, ignore_class)


def _ignored(ids: Tensor, labels: Tensor, ignore_class: int) -> Tensor:
    return ops.where(is_id(labels, ignore_class), IGNORED, ids)


def is_id(labels: Tensor, class_id: int) -> Tensor:
    """Return where labels of any dtype are a class id."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if not _holds(dtype, class_id):
        return ops.zeros_like(labels, dtype="bool")
    return ops.equal(labels, ops.cast(class_id, dtype))


def _holds(dtype: str, number: int) -> bool:
    if "float" in dtype:
        return True
    if dtype == "bool":
        return number in (0, 1)
    limits = np.iinfo(dtype)
    return bool(limits.min <= number <= limits.max)


def _without_last_one(labels: Tensor, predictions_shape: tuple) -> Tensor:
    """Return labels (..., 1) for predictions (..., K) as labels (...)."""
    if len(labels.shape) == len(predictions_shape) and labels.shape[-1] in (1, None):
        return ops.squeeze(labels, axis=-1)
    return labels


def targets_like(values: Tensor, z: Tensor) -> Tensor:
    """Return ids as one-hot rows of the dtype of z, rows in that dtype."""
    if len(values.shape) < len(z.shape):
        values = chosen_class(values, z.shape[-1])
    return ops.cast(values, z.dtype)


def label_factor(values: Tensor, *, are_outputs: bool = False) -> Tensor:
    """Return what the result of each label is multiplied by: 1, 0 without a label, NaN if invalid.

    Args:
        values: Class ids, shape (...), whose result has that shape; rows (..., K), which give
            (...); or, if `are_outputs`, independent targets.
        are_outputs: Whether each entry stands for itself.
    """
    if keras.backend.standardize_dtype(values.dtype) == "int32":
        return ops.where(values == INVALID, float("nan"), 1.0)
    if are_outputs:
        return ops.where(ops.logical_and(values >= 0, values <= 1), 1.0, float("nan"))
    largest = ops.max(values, axis=-1)
    is_valid = ops.logical_and(ops.min(values, axis=-1) >= 0, largest < float("inf"))
    return ops.where(is_valid, ops.where(largest > 0, 1.0, 0.0), float("nan"))


def check_labels(labels: Labels, num_classes: int, *, are_outputs: bool = False) -> None:
    """Raise where a label that counts is invalid and can be read now.

    Args:
        labels: What was read.
        num_classes: K.
        are_outputs: Whether each entry is a target of its own.
    """
    wrong = value_now(label_factor(labels.values, are_outputs=are_outputs))
    counts = True if labels.counts is None else value_now(labels.counts)
    given = value_now(labels.given)
    if wrong is None or counts is None or given is None:
        return
    if are_outputs or not np.shape(counts):
        counts = np.broadcast_to(np.asarray(counts), np.shape(counts))
    counts = np.asarray(counts)
    if counts.ndim and counts.ndim < wrong.ndim:
        counts = counts.reshape(counts.shape + (1,) * (wrong.ndim - counts.ndim))
    is_wrong = np.isnan(wrong) & counts
    if not is_wrong.any():
        return
    index = tuple(int(i) for i in np.unravel_index(is_wrong.argmax(), is_wrong.shape))
    place = f" at [{', '.join(map(str, index))}]"
    if (
        labels.are_ids
        and given.ndim <= is_wrong.ndim + 1
        and (given.ndim == is_wrong.ndim or given.shape[-1] == 1)
    ):
        found = given.reshape(is_wrong.shape)[index]
        raise ValueError(_id_message(labels.name, found, num_classes, place))
    if labels.are_ids:
        raise ValueError(
            f"`{labels.name}` must hold rows that mean one class, >= 0 with a sum of at most 1. "
            f"Received: {_shown(given[index])}{place}. For several labels per sample use "
            "BinaryFocalCrossentropy, or a metric for each output."
        )
    if are_outputs:
        raise ValueError(
            f"`{labels.name}` must hold targets in [0, 1]. Received: {given[index]:g}{place}. "
            "For class ids use SparseCategoricalFocalCrossentropy."
        )
    raise ValueError(
        f"`{labels.name}` must hold rows of targets >= 0. Received: {_shown(given[index])}{place}. "
        "Give one-hot rows or distributions."
    )


def _id_message(name: str, found: Any, num_classes: int, place: str) -> str:
    if found == num_classes:
        fix = "If the ids start at 1, subtract 1; else give the model one output more."
    elif not np.isfinite(found) or found != np.floor(found):
        fix = "For one-hot or soft targets use CategoricalFocalCrossentropy."
    else:
        fix = (
            f"To leave out labels of that id pass ignore_class={int(found)}, or give them weight 0."
        )
    return (
        f"`{name}` must hold class ids, whole numbers in [0, {num_classes}). Received: {found:g}"
        f"{place}. {fix}"
    )


def _shown(row: np.ndarray) -> str:
    entries = [f"{entry:g}" for entry in row[:6]]
    return f"[{', '.join(entries)}{', ...' if len(row) > 6 else ''}]"
