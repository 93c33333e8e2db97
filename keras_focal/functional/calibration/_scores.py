"""Scores of single predictions: likelihood, Brier score and entropy.

NaN where a prediction is not finite, so that a mean can leave it out and count it.
"""

from typing import NamedTuple

from keras import ops

from keras_focal.functional._backend.precision import Tensor, to_float
from keras_focal.functional._inputs.labels import class_ids
from keras_focal.functional._inputs.probabilities import (
    first_largest,
    logits_from_probabilities,
    two_classes,
)
from keras_focal.functional._stable.margin import LARGEST_GAP, chosen_class
from keras_focal.functional.losses._focal import (
    categorical_focal_crossentropy,
    sparse_categorical_focal_crossentropy,
)


def class_logits(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return the logits of every class.

    Args:
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (..., max(K, 2)); NaN in a row that is not finite.
    """
    predictions = two_classes(to_float(ops.convert_to_tensor(predictions)), from_logits)
    taint = ops.sum(predictions - predictions, axis=-1, keepdims=True)
    return (predictions if from_logits else logits_from_probabilities(predictions)) + taint


def class_probabilities(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return p of every class, shape (..., max(K, 2)): given probabilities as they are.

    A logarithm and back would move some of them across the edge of a bin.
    """
    if from_logits:
        return ops.softmax(class_logits(predictions, from_logits=True), axis=-1)
    return two_classes(to_float(ops.convert_to_tensor(predictions)), False)


def _are_rows(labels: Tensor, predictions_shape: tuple) -> bool:
    same_rank = len(labels.shape) == len(predictions_shape)
    return same_rank and labels.shape[-1] == predictions_shape[-1] > 1


def class_targets(labels: Tensor, predictions_shape: tuple) -> Tensor:
    """Return the target distribution of each prediction, shape (..., max(K, 2)).

    One-hot rows of ids; rows (..., K >= 2) as they are; NaN for an id outside [0, K).
    """
    labels = ops.convert_to_tensor(labels)
    if _are_rows(labels, predictions_shape):
        return ops.cast(labels, "float32")
    num_classes = max(predictions_shape[-1], 2)
    ids = class_ids(labels, predictions_shape)
    rows = ops.cast(chosen_class(ids, num_classes), "float32")
    return rows + ops.expand_dims(_taint_of(ids, num_classes), -1)


def _taint_of(ids: Tensor, num_classes: int) -> Tensor:
    """Return 0 for a class id, NaN for any other number."""
    is_class = ops.logical_and(ids >= 0, ids < num_classes)
    return ops.where(is_class, ops.zeros_like(ids, dtype="float32"), float("nan"))


def negative_log_likelihood(
    labels: Tensor, predictions: Tensor, *, from_logits: bool = False
) -> Tensor:
    """Return -log p of the true class of each prediction, in nats.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K), which give
            -sum_c q_c log p_c.
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), in [0, inf). A probability of 0 counts as 2**-126. NaN for a
        prediction that is not finite or a class id outside [0, K).

    Example:
        >>> from keras_focal import functional
        >>> nll = functional.negative_log_likelihood([0], [[0.5, 0.5]])
        >>> round(float(nll[0]), 4)
        0.6931
    """
    labels, predictions = ops.convert_to_tensor(labels), ops.convert_to_tensor(predictions)
    logits = class_logits(predictions, from_logits=from_logits)
    taint = ops.sum(logits - logits, axis=-1)
    if _are_rows(labels, predictions.shape):
        return categorical_focal_crossentropy(labels, logits, gamma=0.0) + taint
    ids = class_ids(labels, predictions.shape)
    nll = sparse_categorical_focal_crossentropy(ids, logits, gamma=0.0)
    return nll + taint + ops.cast(_taint_of(ids, logits.shape[-1]), nll.dtype)


def brier_score(labels: Tensor, predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return sum_c (p_c - q_c)^2 of each prediction.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), in [0, 2]. NaN for a prediction that is not finite or a class id
        outside [0, K).

    Example:
        >>> from keras_focal import functional
        >>> round(float(functional.brier_score([0], [[0.75, 0.25]])[0]), 4)
        0.125

    Source:
        Brier, 1950; Mukhoti et al., 2020, section 5.1.
    """
    predictions = ops.convert_to_tensor(predictions)
    p = class_probabilities(predictions, from_logits=from_logits)
    difference = p - ops.cast(class_targets(labels, predictions.shape), p.dtype)
    return ops.sum(difference * difference, axis=-1)


def entropy(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return -sum_c p_c log p_c of each prediction, in nats.

    Args:
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), in [0, log K]; NaN for a prediction that is not finite.

    Example:
        >>> from keras_focal import functional
        >>> round(float(functional.entropy([[0.5, 0.5]])[0]), 4)
        0.6931
    """
    log_p = ops.log_softmax(class_logits(predictions, from_logits=from_logits), axis=-1)
    return -ops.sum(ops.exp(log_p) * log_p, axis=-1)


class PredictionScores(NamedTuple):
    """Scores of predictions, each part of shape (...).

    Attributes:
        wrong: 1.0 where the top label is not the true one, else 0.0.
        nll: -log p of the true class, in nats, as `negative_log_likelihood` gives it.
        entropy: In nats, as `entropy` gives it.
    """

    wrong: Tensor
    nll: Tensor
    entropy: Tensor


def prediction_scores(
    labels: Tensor, predictions: Tensor, *, from_logits: bool = False
) -> PredictionScores:
    """Return wrongness, NLL and entropy of each prediction, from one softmax.

    With rest the sum of exp(logit - largest logit) over all classes but the top one, -log p is
    largest logit - logit + log(1 + rest): sure predictions keep their digits.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        PredictionScores; NLL and entropy are NaN for a prediction that is not finite, NLL for a
        class id outside [0, K).

    Example:
        >>> from keras_focal import functional
        >>> scores = functional.prediction_scores([1], [[0.75, 0.25]])
        >>> [round(float(part[0]), 4) for part in scores]
        [1.0, 1.3863, 0.5623]
    """
    labels, predictions = ops.convert_to_tensor(labels), ops.convert_to_tensor(predictions)
    logits = class_logits(predictions, from_logits=from_logits)
    # Of what is given: a logarithm makes ties.
    top, _ = first_largest(two_classes(to_float(predictions), from_logits))
    behind = ops.clip(ops.max(logits, axis=-1, keepdims=True) - logits, 0.0, LARGEST_GAP)
    share = ops.where(chosen_class(top, logits.shape[-1]), 0.0, ops.exp(-behind))
    rest = ops.sum(share, axis=-1)
    neg_log_p = ops.log1p(rest) + ops.sum(logits - logits, axis=-1)
    targets = ops.cast(class_targets(labels, predictions.shape), logits.dtype)
    wrong = ops.not_equal(top, class_ids(labels, predictions.shape))
    return PredictionScores(
        wrong=ops.cast(wrong, logits.dtype),
        nll=ops.sum(targets * (behind + ops.expand_dims(neg_log_p, -1)), axis=-1),
        entropy=neg_log_p + ops.sum(share * behind, axis=-1) / (1.0 + rest),
    )
