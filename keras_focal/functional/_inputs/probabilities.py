"""The way in for probabilities: the logits that they come from. The only place that clips.

softmax(log p) = p / sum(p) and sigmoid(log p - log(1 - p)) = p, so every loss is written for
logits alone. What the softmax rounded away cannot be recovered: a probability of exactly 0 has no
gradient, and a sigmoid of exactly 1 counts as 1 - 2**-24. Prefer logits.
"""

import math

import numpy as np
from keras import ops

from keras_focal._validation import check_probabilities
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import TINY, Tensor, to_float

LARGEST_PROBABILITY = 1.0 - 2.0**-24
"""The largest float32 below 1: -log(1 - p) is at most 16.6 from a probability."""

TOLERANCE = 0.01
"""How far from 1 a row may sum: a softmax in bfloat16 is off by up to 3 * 2**-9 = 0.006, also
where its rows were cast to float32 since."""


FEW_ENTRIES = 2**20
"""Entries that are copied to the host in less time than it takes to start a few operations."""


def check_distributions(
    name: str, predictions: Tensor, weights: Tensor, *, from_logits: bool = False
) -> None:
    """Raise where probabilities are none: outside [0, 1], or not of sum 1.

    Inside a compiled step no value can be read, and none is checked.

    Args:
        name: What the caller calls `predictions`.
        predictions: Probabilities, shape (..., K); K = 1 is the positive class of two.
        weights: Float tensor, shape (...): rows of weight 0 pass.
        from_logits: Whether `predictions` are logits, which always pass.

    Raises:
        ValueError: If a finite row has an entry outside [0, 1] or, for K >= 2, a sum other than 1,
            by more than 0.01.
    """
    if from_logits:
        return
    p = to_float(predictions)
    if 0 in p.shape or None in p.shape:
        return
    is_binary = p.shape[-1] == 1
    # Few numbers are read at once, many are reduced where they lie: on another device perhaps.
    of = np if math.prod(p.shape) <= FEW_ENTRIES else ops
    p = value_now(p) if of is np else p
    if p is None:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        total, least = of.sum(p, axis=-1), of.min(p)
    if of is not np:
        total, least = value_now(total), value_now(least)
    if total is None or (least >= -TOLERANCE and np.all(np.abs(total - 1.0) <= TOLERANCE)):
        return  # rows of sum 1 with no entry below 0 have none above 1
    low, high, weight = map(value_now, (of.min(p, axis=-1), of.max(p, axis=-1), weights))
    if weight is not None:
        check_probabilities(
            name, low, high, total, weight, is_binary=is_binary, tolerance=TOLERANCE
        )


def are_distributions(p: Tensor) -> Tensor:
    """Return where rows (..., K) are probabilities, bool of shape (...), as far as is checked."""
    if 0 in p.shape:
        return ops.ones(p.shape[:-1], dtype="bool")
    least = ops.min(p, axis=-1) >= -TOLERANCE
    if p.shape[-1] == 1:
        return ops.logical_and(least, ops.max(p, axis=-1) <= 1.0 + TOLERANCE)
    # NaN and infinity show in the sum.
    return ops.logical_and(least, ops.abs(ops.sum(p, axis=-1) - 1.0) <= TOLERANCE)


def nan_unless(is_valid: Tensor, dtype: str) -> Tensor:
    """Return 0 where a condition holds, NaN elsewhere: what is added to it stays or is NaN."""
    return ops.where(is_valid, ops.zeros((), dtype=dtype), float("nan"))


def logits_from_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p, logits of a categorical distribution; p below 2**-126 counts as 2**-126.

    Args:
        probabilities: Float tensor, shape (..., K), >= 0. Rows need not sum to 1.

    Returns:
        Tensor of the same shape, in [-87.3, ...), float32 or float64.
    """
    return ops.log(ops.clip(to_float(probabilities), TINY, float("inf")))


def logits_from_binary_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p - log(1 - p), the logit of each probability in [2**-126, 1 - 2**-24].

    Args:
        probabilities: Float tensor of any shape, in [0, 1].

    Returns:
        Tensor of the same shape, float32 or float64.
    """
    p = ops.clip(to_float(probabilities), TINY, LARGEST_PROBABILITY)
    return ops.log(p) - ops.log1p(-p)


def logits_of(probabilities: Tensor) -> Tensor:
    """Return the logits that probabilities (..., K) come from: of a softmax, K = 1 of a sigmoid."""
    if probabilities.shape[-1] == 1:
        return logits_from_binary_probabilities(probabilities)
    return logits_from_probabilities(probabilities)


def two_classes(predictions: Tensor, from_logits: bool) -> Tensor:
    """Return predictions (..., K >= 2): where K is 1, the negative class is put before it."""
    if predictions.shape[-1] != 1:
        return predictions
    negative = ops.zeros_like(predictions) if from_logits else 1.0 - predictions
    return ops.concatenate([negative, predictions], axis=-1)


def first_largest(predictions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first of the classes with the largest entry of each row, and that entry."""
    largest = ops.max(predictions, axis=-1)
    # Compiled, several times as fast as argmax.
    num_classes = predictions.shape[-1]
    is_largest = ops.equal(predictions, ops.expand_dims(largest, -1))
    top = ops.min(ops.where(is_largest, ops.arange(num_classes, dtype="int32"), num_classes), -1)
    return top, largest
