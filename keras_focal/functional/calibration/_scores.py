"""Scores of single predictions: negative log-likelihood, Brier score and entropy.

The score of an invalid entry is NaN, so that a mean can skip and count it.
"""

from typing import NamedTuple

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import Kernel, over_rows, without_autograph
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.class_labels import INVALID, are_rows, as_labels, class_of_each
from keras_focal.functional._inputs.entries import as_predictions
from keras_focal.functional._inputs.probabilities import (
    are_distributions,
    first_largest,
    logits_from_probabilities,
    nan_unless,
    two_classes,
)
from keras_focal.functional._stable.margin import LARGEST_GAP, chosen_class


class _Standing(NamedTuple):
    """The logits of each prediction relative to the largest one.

    Attributes:
        behind: Largest logit minus logit, shape (..., K), at most 2**100.
        share: exp(-behind), 0 for the top class, shape (..., K).
        rest: Sum of `share`, shape (...).
    """

    behind: Tensor
    share: Tensor
    rest: Tensor

    @property
    def neg_log_top(self) -> Tensor:
        """-log p of the top class, accurate also where p rounds to 1."""
        return ops.log1p(self.rest)


def _standing(logits: Tensor, top: Tensor | None = None) -> _Standing:
    """Return logits relative to the largest; NaN in invalid rows. A logit of -inf is valid."""
    if top is None:
        top, largest = first_largest(logits)
    else:
        largest = ops.max(logits, axis=-1)
    behind = ops.expand_dims(largest, -1) - logits
    share = ops.where(chosen_class(top, logits.shape[-1]), 0.0, ops.exp(-behind))
    rest = ops.sum(share, axis=-1)
    # inf - inf is NaN, so a logit that is NaN or +inf makes either `rest` or `largest` not finite.
    rest = rest + nan_unless(ops.isfinite(largest), rest.dtype)
    return _Standing(ops.minimum(ops.relu(behind), LARGEST_GAP), share, rest)


def class_logits(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return the logits of every class.

    Args:
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (..., max(K, 2)); NaN for rows that are not probability distributions.
    """
    predictions = to_float(predictions)
    if from_logits:
        return two_classes(predictions, True)
    invalid = nan_unless(are_distributions(predictions), predictions.dtype)
    logits = logits_from_probabilities(two_classes(predictions, False))
    return logits + ops.expand_dims(invalid, -1)


def class_probabilities(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return p of every class, shape (..., max(K, 2)); given probabilities are unchanged.

    Converting them to logits and back could move some across the edge of a bin.
    """
    predictions = two_classes(to_float(predictions), from_logits)
    return ops.softmax(predictions, axis=-1) if from_logits else predictions


def class_targets(labels: Tensor, predictions_shape: tuple) -> Tensor:
    """Return the target distribution of each prediction, shape (..., max(K, 2)).

    Ids become one-hot rows; rows (..., K >= 2) are unchanged. NaN for an id outside [0, K) and for
    a row with a negative entry or a sum above 1.
    """
    labels = as_labels(labels)
    ids = class_of_each(labels, predictions_shape)
    if are_rows(labels, predictions_shape):
        rows = ops.cast(labels, "float32")
    else:
        rows = ops.cast(chosen_class(ids, max(predictions_shape[-1], 2)), "float32")
    return rows + ops.expand_dims(nan_unless(ops.not_equal(ids, INVALID), "float32"), -1)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def negative_log_likelihood(
    labels: Tensor, predictions: Tensor, *, from_logits: bool = False
) -> Tensor:
    """Return -log p of the true class of each prediction, in nats.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K), which give
            -sum_c q_c log p_c.
        predictions: Probabilities or logits, shape (..., K); K = 1, or shape (N,), is the positive
            class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), >= 0. A probability of 0 counts as 2**-126, a logit of -inf as
        2**100 below the largest. NaN for an invalid entry: a label that is not a class, or a
        prediction that is not a probability distribution.

    Example:
        >>> from keras_focal import functional
        >>> nll = functional.negative_log_likelihood([0], [[0.5, 0.5]])
        >>> round(float(nll[0]), 4)
        0.6931
    """
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    logits = class_logits(predictions, from_logits=from_logits)
    if are_rows(labels, predictions.shape):
        labels = class_targets(labels, predictions.shape)
    else:
        labels = class_of_each(labels, predictions.shape)
    return over_rows(Kernel(_nll_of_rows), logits, labels, axes=len(logits.shape) - 1)


def _nll_of_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """Return -log p from ids (...) or targets (..., K)."""
    standing = _standing(logits)
    if len(labels.shape) == len(logits.shape):
        costs = standing.behind + ops.expand_dims(standing.neg_log_top, -1)
        return ops.sum(ops.cast(labels, logits.dtype) * costs, axis=-1)
    is_true = chosen_class(labels, logits.shape[-1])
    behind = ops.sum(ops.where(is_true, standing.behind, 0.0), axis=-1)
    invalid = nan_unless(labels >= 0, logits.dtype)
    return behind + standing.neg_log_top + invalid


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def brier_score(labels: Tensor, predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return sum_c (p_c - q_c)^2 of each prediction.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1, or shape (N,), is the positive
            class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), in [0, 2]. NaN for an invalid entry, as in
        `negative_log_likelihood`.

    Example:
        >>> from keras_focal import functional
        >>> round(float(functional.brier_score([0], [[0.75, 0.25]])[0]), 4)
        0.125

    Source:
        Brier, 1950; Mukhoti et al., 2020, section 5.1.
    """
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    p = class_probabilities(predictions, from_logits=from_logits)
    difference = p - ops.cast(class_targets(labels, predictions.shape), p.dtype)
    score = ops.sum(difference * difference, axis=-1)
    # The softmax of invalid logits is NaN.
    is_valid = ops.isfinite(score) if from_logits else are_distributions(predictions)
    return score + nan_unless(is_valid, score.dtype)


def entropy(predictions: Tensor, *, from_logits: bool = False) -> Tensor:
    """Return -sum_c p_c log p_c of each prediction, in nats.

    Args:
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Float tensor, shape (...), in [0, log K]; NaN for an invalid prediction.

    Example:
        >>> from keras_focal import functional
        >>> round(float(functional.entropy([[0.5, 0.5]])[0]), 4)
        0.6931
    """
    standing = _standing(class_logits(predictions, from_logits=from_logits))
    return _entropy(standing)


def _entropy(standing: _Standing) -> Tensor:
    spread = ops.sum(standing.share * standing.behind, axis=-1)
    return standing.neg_log_top + spread / (1.0 + standing.rest)


class PredictionScores(NamedTuple):
    """Scores of predictions, each part of shape (...).

    Attributes:
        wrong: 1.0 where the top label is not the true one, else 0.0.
        nll: -log p of the true class, in nats, as `negative_log_likelihood` returns it.
        entropy: Entropy in nats, as `entropy` returns it.

    Example:
        >>> from keras_focal import functional
        >>> scores = functional.prediction_scores([0, 0], [[0.75, 0.25], [0.25, 0.75]])
        >>> [float(wrong) for wrong in scores.wrong]
        [0.0, 1.0]
    """

    wrong: Tensor
    nll: Tensor
    entropy: Tensor


def prediction_scores(
    labels: Tensor, predictions: Tensor, *, from_logits: bool = False
) -> PredictionScores:
    """Return whether each prediction is wrong, its NLL and its entropy, from one softmax.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K).
        predictions: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        PredictionScores. NLL and entropy are NaN for an invalid prediction, and NLL for an invalid
        label, as in `negative_log_likelihood`.

    Example:
        >>> from keras_focal import functional
        >>> scores = functional.prediction_scores([1], [[0.75, 0.25]])
        >>> [round(float(part[0]), 4) for part in scores]
        [1.0, 1.3863, 0.5623]
    """
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    logits = class_logits(predictions, from_logits=from_logits)
    # From the predictions as given: taking logarithms could create ties.
    top, _ = first_largest(two_classes(predictions, from_logits))
    standing = _standing(logits, top)
    ids = class_of_each(labels, predictions.shape)
    targets = ops.cast(class_targets(labels, predictions.shape), logits.dtype)
    costs = standing.behind + ops.expand_dims(standing.neg_log_top, -1)
    return PredictionScores(
        wrong=ops.cast(ops.not_equal(top, ids), logits.dtype),
        nll=ops.sum(targets * costs, axis=-1),
        entropy=_entropy(standing),
    )
