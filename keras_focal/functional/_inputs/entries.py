"""What a metric or a calibration error is given: labels, predictions and weights, read together.

An entry is one prediction with its label and its weight. One that cannot be right is invalid: its
label is no class, its weight is no number >= 0, or its prediction is no distribution. It raises
where values can be read, and else makes NaN of the result. An entry of weight 0, that is masked or
of the ignored class is exempt.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal._validation import check_labels_fit, check_weights_fit
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import Tensor, to_float
from keras_focal.functional._inputs.class_labels import (
    IGNORED,
    INVALID,
    are_rows,
    as_labels,
    class_of_each,
    label_message,
    place_of,
)
from keras_focal.functional._inputs.probabilities import check_distributions
from keras_focal.functional._inputs.weights import align_weights


class Entries(NamedTuple):
    """Predictions with labels and weights.

    Attributes:
        predictions: Float tensor, shape (..., K).
        labels: Class ids, shape (...), or rows, shape (..., K).
        ids: int32 class ids, shape (...), INVALID where there is none.
        weights: Float32 tensor, shape (...); 0 where an entry is exempt.
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
    """Return what was given as entries.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        predictions: Probabilities or logits, shape (..., K), or (N,) of the positive class of two.
        sample_weight: None, or weights of whole samples or of each prediction.
        from_logits: Whether predictions are logits.
        ignore_class: None, or a class id that exempts an entry.
        names: What the caller calls labels and predictions.
        is_checked: Whether an invalid entry raises where it can be read.

    Raises:
        ValueError: If shapes cannot match, or an entry is invalid and can be read now.
    """
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
    """Return which entries count, and which are invalid; the others are exempt.

    Args:
        is_valid: Bool tensor: where label and prediction are valid.
        weights: Float tensor of the same shape.
    """
    # NaN is not 0.
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
    is_bad = ~((weight >= 0) & (weight < np.inf))
    if is_bad.any():
        raise ValueError(
            "`sample_weight` must hold finite numbers >= 0. Received: "
            f"{weight[is_bad].flat[0]:g}{place_of(is_bad)}. Weight 0 leaves an entry out."
        )
    is_bad = (found == INVALID) & (weight != 0)
    if not is_bad.any():
        return
    given = value_now(labels)
    # On torch, Keras asks for shapes with nothing but ones in place of labels.
    if given is None or (given.ndim > found.ndim and given.shape[-1] > 1 and np.all(given == 1)):
        return
    index = np.unravel_index(is_bad.argmax(), is_bad.shape)
    label = given.reshape(found.shape + given.shape[found.ndim :])[index]
    label = label[0] if np.shape(label) == (1,) else label
    raise ValueError(label_message(name, label, num_classes, place_of(is_bad)))
