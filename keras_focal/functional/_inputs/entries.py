"""Labels, predictions and sample weights of metrics and calibration errors, read together.

An entry is one prediction with its label and its weight. It is invalid if the label is not a class,
the weight is negative or not finite, or the prediction is not a probability distribution. An
invalid entry raises an error where its values can be read, and otherwise makes the result NaN.
Entries of weight 0, masked entries and entries of the ignored class are not checked.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.classes import check_class_id
from keras_focal._validation.entries import check_weights, place_of
from keras_focal._validation.shapes import check_labels_fit, check_weights_fit
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.class_labels import (
    IGNORED,
    INVALID,
    are_rows,
    as_labels,
    class_of_each,
    label_message,
)
from keras_focal.functional._inputs.probabilities import check_distributions
from keras_focal.functional._inputs.weights import align_weights


class Entries(NamedTuple):
    """Predictions with labels and weights.

    Attributes:
        predictions: Float tensor, shape (..., K).
        labels: Class ids, shape (...), or rows, shape (..., K).
        ids: int32 class ids, shape (...); INVALID or IGNORED where there is none.
        weights: Float32 tensor, shape (...); 0 where an entry is left out.
    """

    predictions: Tensor
    labels: Tensor
    ids: Tensor
    weights: Tensor


def as_predictions(predictions: Any, labels: Tensor) -> Tensor:
    """Return predictions (..., K) as floats; (N,) for labels (N,) or (N, 1) become (N, 1)."""
    predictions = to_float(predictions)
    if len(predictions.shape) == 1 <= len(labels.shape):
        return ops.expand_dims(predictions, -1)
    return predictions


def read_entries(
    labels: Any,
    predictions: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool,
    ignore_class: int | None = None,
    names: tuple[str, str] = ("labels", "predictions"),
    is_checked: bool = True,
) -> Entries:
    """Return labels, predictions and weights as entries.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        predictions: Probabilities or logits, shape (..., K), or (N,) of the positive class of two.
        sample_weight: None, or weights of whole samples or of each prediction.
        from_logits: Whether predictions are logits.
        ignore_class: None, or the class id of entries to leave out.
        names: Names of the arguments for labels and predictions.
        is_checked: Whether an invalid entry raises an error where it can be read.

    Raises:
        ValueError: If shapes do not match, `ignore_class` is not a whole number, or an entry is
            invalid and can be read.
    """
    ignore_class = check_class_id("ignore_class", ignore_class)
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    check_labels_fit(names[0], labels.shape, predictions.shape)
    ids = class_of_each(labels, predictions.shape, ignore_class)
    weights = ops.ones_like(ids, dtype="float32")
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype="float32")
        check_weights_fit("sample_weight", sample_weight.shape, predictions.shape)
        weights = weights * align_weights(sample_weight, weights)
    weights = ops.where(ops.equal(ids, IGNORED), 0.0, weights)
    if is_checked:
        check_distributions(names[1], predictions, weights, from_logits=from_logits)
        _check_labels_and_weights(names[0], labels, ids, weights, predictions.shape[-1])
    if not are_rows(labels, predictions.shape):
        labels = ids
    return Entries(predictions, labels, ids, weights)


def is_counted(is_valid: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return which entries count, and which are invalid; the others have weight 0.

    Args:
        is_valid: Bool tensor: where label and prediction are valid.
        weights: Float tensor of the same shape.
    """
    # NaN != 0 is true, so a NaN weight is invalid.
    weighs = ops.not_equal(weights, 0.0)
    is_weight = ops.logical_and(weights >= 0, weights < float("inf"))
    is_valid = ops.logical_and(is_valid, is_weight)
    return ops.logical_and(weighs, is_valid), ops.logical_and(weighs, ops.logical_not(is_valid))


def _check_labels_and_weights(
    name: str, labels: Tensor, ids: Tensor, weights: Tensor, num_classes: int
) -> None:
    found, weight = value_now(ids), value_now(weights)
    if found is None or weight is None:
        return
    check_weights("sample_weight", weight)
    is_bad = (found == INVALID) & (weight != 0)
    if not is_bad.any():
        return
    given = value_now(labels)
    # On torch, Keras infers shapes with ones in place of labels.
    if given is None or (given.ndim > found.ndim and given.shape[-1] > 1 and np.all(given == 1)):
        return
    index = np.unravel_index(is_bad.argmax(), is_bad.shape)
    label = given.reshape(found.shape + given.shape[found.ndim :])[index]
    label = label[0] if np.shape(label) == (1,) else label
    raise ValueError(label_message(name, label, num_classes, place_of(is_bad)))
