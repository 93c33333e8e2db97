"""Predictions sorted into bins by confidence, and the sums over each bin.

A prediction has a confidence (the probability of its top label), a complement (1 - confidence,
stored separately because it stays accurate where confidence rounds to 1) and a flag for whether it
is wrong. Bins are half-open intervals (a, b]; the first one also contains a (docs/maths.md,
section C).
"""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._inputs.class_labels import INVALID, as_labels, class_of_each
from keras_focal.functional._inputs.entries import as_predictions
from keras_focal.functional._inputs.probabilities import (
    are_distributions,
    first_largest,
    nan_unless,
    two_classes,
)
from keras_focal.functional._stable.margin import chosen_class

LOGIT_CELLS = 8192
"""Cells of equal width in log2(confidence / complement) over [-7, 25]: 1 / 129 to 1 - 3e-8."""


class Predictions(NamedTuple):
    """Top-label predictions, each part of shape (...).

    Attributes:
        confidence: Probability of the top label, in [0, 1].
        complement: 1 - confidence, not rounded through it.
        wrong: 1.0 where the top label is not the true one, else 0.0.
    """

    confidence: Tensor
    complement: Tensor
    wrong: Tensor


class BinStatistics(NamedTuple):
    """Sums over the predictions in each bin, each of shape (bins,).

    Attributes:
        count: Sum of the weights of the predictions: their number if they are unweighted.
        wrong: Sum of the weights of the wrong predictions.
        gap: Sum of weight times (confidence - correctness), positive where the model is
            over-confident.

    Example:
        >>> from keras_focal import functional
        >>> bins = functional.BinStatistics(count=[4.0, 6.0], wrong=[2.0, 0.0], gap=[1.0, -0.5])
        >>> round(float(functional.ece_from_bins(bins)), 4)
        0.15
    """

    count: Tensor
    wrong: Tensor
    gap: Tensor


def top_label(labels: Tensor, predictions: Tensor, *, from_logits: bool = False) -> Predictions:
    """Return the confidence and complement of each top label, and whether it is wrong.

    Args:
        labels: Class ids, shape (...) or (..., 1), or one-hot or soft rows, shape (..., K).
        predictions: Float tensor, shape (..., K): probabilities or logits. K = 1, or shape (N,),
            is the probability or the logit of the positive class of two.
        from_logits: Whether `predictions` are logits.

    Returns:
        Predictions. Ties go to the lowest class id. Confidence and complement are NaN where an
        entry is invalid: a label outside [0, K), a row with several positives, probabilities
        outside [0, 1] or whose sum differs from 1 by more than 0.01, a NaN or +inf logit.
    """
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    if 0 in predictions.shape:
        nothing = ops.zeros(predictions.shape[:-1], dtype=predictions.dtype)
        return Predictions(nothing, nothing, nothing)
    ids = class_of_each(labels, predictions.shape)
    top, confidence, complement, is_valid = _most_likely(predictions, from_logits=from_logits)
    is_valid = ops.logical_and(is_valid, ops.not_equal(ids, INVALID))
    invalid = nan_unless(is_valid, confidence.dtype)
    wrong = ops.cast(ops.not_equal(top, ids), confidence.dtype)
    return Predictions(confidence + invalid, complement + invalid, wrong)


def _most_likely(
    predictions: Tensor, *, from_logits: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the top class of each row, its probability p, 1 - p, and whether the row is valid."""
    if not from_logits:
        is_valid = are_distributions(predictions)
        top, largest = first_largest(two_classes(predictions, from_logits=False))
        # A softmax in half precision may exceed 1.
        return top, largest, ops.relu(1.0 - largest), is_valid
    predictions = two_classes(predictions, from_logits=True)
    top, largest = first_largest(predictions)
    others = ops.exp(predictions - ops.expand_dims(largest, -1))
    is_top = chosen_class(top, predictions.shape[-1])
    # NaN where an entry is NaN, or all are -inf.
    rest = ops.sum(ops.where(is_top, 0.0, others), axis=-1)
    is_valid = ops.logical_and(ops.isfinite(rest), ops.isfinite(largest))
    return top, 1.0 / (1.0 + rest), rest / (1.0 + rest), is_valid


def one_class(
    labels: Tensor, predictions: Tensor, class_id: int = 1, *, from_logits: bool = False
) -> Predictions:
    """Return the probability of one class as the confidence, whichever class is the top one.

    Args:
        labels: As for `top_label`. A label of any other class counts as wrong.
        predictions: As for `top_label`.
        class_id: The class, in [0, K), or 0 or 1 where K = 1.
        from_logits: Whether `predictions` are logits.

    Returns:
        Predictions: p of the class, 1 - p, and whether the label is a different class. NaN as in
        `top_label`.
    """
    labels = as_labels(labels)
    predictions = as_predictions(predictions, labels)
    ids = class_of_each(labels, predictions.shape)
    rows = two_classes(predictions, from_logits)
    is_class = chosen_class(ops.convert_to_tensor(class_id, dtype="int32"), rows.shape[-1])
    p = ops.softmax(rows, axis=-1) if from_logits else rows
    # The sum over the other classes stays accurate where p rounds to 1. Given probabilities need
    # not sum to 1.
    confidence = ops.sum(ops.where(is_class, p, 0.0), axis=-1)
    complement = ops.sum(ops.where(is_class, 0.0, p), axis=-1) if from_logits else 1.0 - confidence
    if from_logits:
        is_valid = ops.isfinite(confidence + complement)
    else:
        is_valid = are_distributions(predictions)
    invalid = nan_unless(ops.logical_and(is_valid, ops.not_equal(ids, INVALID)), p.dtype)
    wrong = ops.cast(ops.not_equal(ids, class_id), p.dtype)
    return Predictions(confidence + invalid, ops.relu(complement) + invalid, wrong)


def equal_width_bins(confidence: Tensor, num_bins: int) -> Tensor:
    """Return the bin of each confidence, int32 in [0, num_bins): bin i is (i/M, (i+1)/M].

    Edges are rounded to the dtype of the confidence, so that a confidence of i/M lies on one.
    """
    edges = ops.convert_to_tensor(np.arange(1, num_bins) / num_bins, dtype=confidence.dtype)
    bins = ops.searchsorted(edges, ops.reshape(confidence, (-1,)), side="left")
    return ops.reshape(ops.cast(bins, "int32"), ops.shape(confidence))


def logit_cells(predictions: Predictions, num_cells: int = LOGIT_CELLS) -> Tensor:
    """Return the cell of each prediction by log2(confidence / complement), int32 in [0, num_cells).

    Cells of equal width in the logit stay narrow near confidence 1, where a trained network makes
    most of its predictions.
    """
    # An invalid row, such as one under a mask, is assigned to the first or the last cell.
    confidence, complement = ops.relu(predictions.confidence), ops.relu(predictions.complement)
    position = (ops.log2(confidence) - ops.log2(complement) + 7.0) / 32.0
    return ops.cast(ops.floor(ops.clip(position * num_cells, 0, num_cells - 1)), "int32")


def confidence_at_cell(position: np.ndarray, num_cells: int = LOGIT_CELLS) -> np.ndarray:
    """Return the confidence at a position counted in cells: cell i of `logit_cells` starts at i."""
    return 1.0 / (1.0 + 2.0 ** (7.0 - 32.0 * position / num_cells))


def contributions(predictions: Predictions, weights: Tensor) -> Tensor:
    """Return what each prediction adds to its bin: weight, weight if wrong, weighted complement.

    Args:
        predictions: Predictions with parts of shape (...).
        weights: Float tensor of the same shape.

    Returns:
        Tensor of shape (..., 3). A complement that is not finite counts as 0.
    """
    weights = ops.cast(weights, predictions.complement.dtype)
    complement = ops.where(ops.isfinite(predictions.complement), predictions.complement, 0.0)
    return ops.stack([weights, weights * predictions.wrong, weights * complement], axis=-1)


def only_counted(predictions: Predictions, is_kept: Tensor) -> Predictions:
    """Return predictions with finite placeholders where `is_kept` is False."""
    one, zero = ops.ones_like(predictions.wrong), ops.zeros_like(predictions.wrong)
    return Predictions(
        ops.where(is_kept, predictions.confidence, one),
        ops.where(is_kept, predictions.complement, zero),
        predictions.wrong,
    )
