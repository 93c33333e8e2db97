"""Labels of the losses: class ids, rows of targets, and targets of independent outputs.

An id outside [0, K) and a target that is negative, not finite or, for independent outputs, above 1
are invalid. An invalid label raises an error where it can be read. Otherwise, as inside a compiled
step, the value and the gradient of the loss are NaN. Entries that do not count (weight 0, a mask,
the ignored class) are not checked.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.entries import place_of
from keras_focal._validation.shapes import check_class_axis, check_labels_fit, check_same_shape
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._inputs.class_labels import (
    IGNORED,
    INVALID,
    as_labels,
    class_of_rows,
    ids_in_range,
    is_id,
    label_message,
    row_text,
)
from keras_focal.functional._stable.margin import chosen_class


class Labels(NamedTuple):
    """Labels, converted and checked.

    Attributes:
        values: int32 class ids, shape (...), INVALID if out of range; or targets, shape (..., K).
        counts: Bool tensor, shape (...) or of the targets: where a label counts. None if all do.
        weights: Float tensor, shape (...): the weight of each label. None if all are 1.
        given: The labels as given, for error messages.
        name: Name of the argument.
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

    @property
    def ids_as_given(self) -> Tensor:
        """Class ids of shape (...), integers: `values` before ids out of range were replaced."""
        if self.given is None or self.given.shape != self.values.shape:
            return self.values
        dtype = keras.backend.standardize_dtype(self.given.dtype)
        return self.given if dtype in ("int32", "int64") else self.values


def read_ids(labels: Any, logits_shape: tuple, name: str = "labels") -> Labels:
    """Return class ids of shape (...) for logits (..., K), from ids of shape (...) or (..., 1).

    Raises:
        ValueError: If the shapes do not match.
    """
    if isinstance(labels, Labels):
        return labels
    check_class_axis(logits_shape)
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
        ValueError: If labels have neither shape.
    """
    if isinstance(labels, Labels):
        return labels
    check_class_axis(logits_shape)
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
    check_class_axis(logits_shape)
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
    """Return class ids from ids, or from rows, whose largest entry is the class."""
    read = read_labels(labels, logits_shape, name)
    if read.are_ids:
        return read
    ids = class_of_rows(read.values)
    is_label = ids != IGNORED
    counts = is_label if read.counts is None else ops.logical_and(read.counts, is_label)
    return read._replace(values=ids, counts=counts)


def is_left_out(labels: Labels, ignore_class: int) -> Tensor:
    """Return where labels are of the ignored class, shape (...)."""
    if not labels.are_ids:
        return ops.equal(ops.cast(ops.argmax(labels.values, axis=-1), "int32"), ignore_class)
    given = labels.given
    if len(given.shape) > len(labels.values.shape):
        given = ops.squeeze(given, axis=-1)
    return is_id(given, ignore_class)


def smoothed(labels: Labels, share: float, target: float, *, are_outputs: bool = False) -> Labels:
    """Return targets (1 - share) q + share * target; invalid and unlabelled ones are unchanged."""
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
    """Return a factor for the loss of each label: 1, 0 if unlabelled, NaN if invalid.

    Args:
        values: Class ids, shape (...), or rows of targets, shape (..., K), which both give shape
            (...); or, if `are_outputs`, independent targets, which give their own shape.
        are_outputs: Whether each entry is an independent target.
    """
    if keras.backend.standardize_dtype(values.dtype) == "int32":
        return ops.where(values == INVALID, float("nan"), 1.0)
    if are_outputs:
        return ops.where(ops.logical_and(values >= 0, values <= 1), 1.0, float("nan"))
    largest = ops.max(values, axis=-1)
    is_valid = ops.logical_and(ops.min(values, axis=-1) >= 0, largest < float("inf"))
    return ops.where(is_valid, ops.where(largest > 0, 1.0, 0.0), float("nan"))


def nan_unless_target(values: Tensor) -> Tensor:
    """Return targets of independent outputs, NaN in place of what is none."""
    is_target = ops.logical_and(values >= 0, values <= 1)
    return ops.where(is_target, values, ops.cast(float("nan"), values.dtype))


def check_labels(labels: Labels, num_classes: int, *, are_outputs: bool = False) -> None:
    """Raise if a label that counts is invalid.

    Args:
        labels: Labels of any form, which can be read.
        num_classes: K.
        are_outputs: Whether each entry is an independent target.
    """
    wrong = value_now(label_factor(labels.values, are_outputs=are_outputs))
    counts = True if labels.counts is None else value_now(labels.counts)
    given = value_now(labels.given)
    is_wrong = np.isnan(wrong) & counts
    if not is_wrong.any():
        return
    # On torch, Keras infers shapes with ones in place of labels.
    if given.ndim > is_wrong.ndim and given.shape[-1] > 1 and np.all(given == 1):
        return
    place = place_of(is_wrong)
    index = np.unravel_index(is_wrong.argmax(), is_wrong.shape)
    if are_outputs:
        raise ValueError(
            f"`{labels.name}` must hold targets in [0, 1]. Received: {given[index]:g}{place}. "
            "For class ids use SparseCategoricalFocalCrossentropy."
        )
    if given.ndim > is_wrong.ndim and given.shape[-1] == 1:
        given = given[..., 0]
    label = given[index]
    if labels.are_ids:
        raise ValueError(label_message(labels.name, label, num_classes, place))
    raise ValueError(
        f"`{labels.name}` must hold rows of finite targets >= 0. Received: "
        f"{row_text(label)}{place}. Give one-hot rows or distributions."
    )
