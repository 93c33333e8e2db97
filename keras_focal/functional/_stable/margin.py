"""The margin of a class against all others.

Every focal loss needs three quantities of a class: its probability p, the complement 1 - p and
-log p, each with a small *relative* error as p approaches 0 or 1. They follow from the margin
m = logsumexp(other logits) - logit, since p = sigmoid(-m), 1 - p = sigmoid(m) and
-log p = softplus(m) (docs/maths.md, equation M1). Subtracting p from 1 would lose this precision:
in float32, 1 - p is exactly 0 for margins below -17.

The margin is stored in parts relative to the largest logit: a sum of exponentials and a difference
of logits are each accurate to a rounding error, but their sum is not. The rounding error of the
difference is stored too, since the exponential multiplies it by up to 87.
"""

import math
from typing import NamedTuple

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.operations import log_of_one_plus
from keras_focal.functional._backend.precision import LOWEST, TINY
from keras_focal.functional._stable.exact import exact_difference

LARGEST_GAP = 2.0**100
"""Larger gaps are clipped to this, so that the sum over a batch of extreme samples is finite."""


LOG_SCALE = 44.361419677734375
"""64 log 2 in float32."""

LOG_SCALE_ERROR = 64 * math.log(2.0) - LOG_SCALE


class Margin(NamedTuple):
    """The margin m = gap + gap_error + log(rest) of a class.

    Attributes:
        gap: Largest logit minus the logit of the class, in [0, 2**100].
        gap_error: Rounding error of `gap`.
        rest: Sum of exp(other logit - largest logit), in [0, K - 1].
    """

    gap: Tensor
    gap_error: Tensor
    rest: Tensor


class Others(NamedTuple):
    """The normaliser of the other classes: their shares are factor exp(logit - reference).

    Attributes:
        reference: logsumexp(other logits), rounded.
        factor: Correction for the rounding of `reference`, near 1.
    """

    reference: Tensor
    factor: Tensor


class StableProbability(NamedTuple):
    """p, 1 - p and -log p of a class.

    Attributes:
        p: Probability of the class.
        complement: 1 - p, accurate to a few rounding errors also where p rounds to 1.
        neg_log_p: -log p in nats, accurate for p near 0 and near 1.
    """

    p: Tensor
    complement: Tensor
    neg_log_p: Tensor


def chosen_class(index: Tensor, num_classes: int) -> Tensor:
    """Return the one-hot rows of an index as a bool tensor, shape index.shape + (num_classes,).

    The row of an index outside [0, num_classes) is all False.
    """
    return ops.equal(ops.expand_dims(index, -1), ops.arange(num_classes, dtype="int32"))


def class_margin(index: Tensor, logits: Tensor) -> tuple[Margin, Others]:
    """Return the margin of the class `index` of each row, and the normaliser of the other classes.

    Args:
        index: int32 tensor, shape (...). The margin of an index outside [0, K) is undefined.
        logits: Float tensor, shape (..., K >= 2).

    Returns:
        Margin and Others with parts of shape (...).
    """
    num_classes = logits.shape[-1]
    # The floor avoids -inf - (-inf) where all logits are -inf.
    largest = ops.max(logits, axis=-1, initial=LOWEST)
    # Exponentials are scaled by 2**64, so that tiny ones do not underflow before they are summed.
    reference, reference_error = exact_difference(largest, LOG_SCALE)
    below, error = exact_difference(logits, ops.expand_dims(reference, -1))
    # The error of an overflowed difference is meaningless. The comparison is also false for NaN.
    error = ops.where(ops.abs(error) < 1.0, error, 0.0)
    weights = ops.exp(below)
    weights = ops.where(chosen_class(index, num_classes), 0.0, weights + weights * error)
    rest = ops.sum(weights, axis=-1) * ops.exp(LOG_SCALE_ERROR - reference_error) * 2.0**-64
    nearest = ops.expand_dims(ops.clip(index, 0, num_classes - 1), -1)
    logit = ops.squeeze(ops.take_along_axis(logits, nearest, axis=-1), axis=-1)
    gap, gap_error = exact_difference(largest, logit)
    gap_error = ops.where(ops.abs(gap_error) < 1.0, gap_error, 0.0)
    margin = Margin(ops.clip(gap, -1.0, LARGEST_GAP), gap_error, rest)
    positive = ops.clip(rest, TINY, float("inf"))
    log_rest = ops.log(positive)
    reference, reference_error = exact_difference(largest, -log_rest)
    return margin, Others(reference, ops.exp(log_rest) / positive * ops.exp(-reference_error))


def stable_probability(margin: Margin) -> StableProbability:
    """Return p, 1 - p and -log p of a class from its margin."""
    gap, gap_error, rest = margin
    # A factor, not a summand: a summand would be flushed to zero before the exponential is.
    own = ops.exp(-gap) * (1.0 - gap_error)
    total = own + rest
    # Near p = 1, -log p is log(1 + rest) with a small `rest`, which 1 + rest would round away.
    is_sure = ops.logical_and(gap <= 0, rest <= 1)
    log_total = ops.log(ops.where(total > 0, total, float("nan")))
    neg_log_p = ops.where(
        is_sure, log_of_one_plus(ops.where(is_sure, rest, 0.0)), gap + (gap_error + log_total)
    )
    return StableProbability(own / total, rest / total, neg_log_p)


def stable_probabilities(logits: Tensor) -> StableProbability:
    """Return p, 1 - p and -log p of every class, each of shape (..., K).

    Only the largest probability can be close to 1, so only it is computed from the margin.
    """
    top = ops.cast(ops.argmax(logits, axis=-1), "int32")
    is_top = chosen_class(top, logits.shape[-1])
    margin, others = class_margin(top, logits)
    of_top = StableProbability(*(ops.expand_dims(part, -1) for part in stable_probability(margin)))
    below = ops.where(is_top, 0.0, logits - ops.expand_dims(others.reference, -1))
    share = ops.exp(below) * ops.expand_dims(others.factor, -1)
    p = ops.where(is_top, of_top.p, of_top.complement * share)
    behind = ops.max(logits, axis=-1, keepdims=True) - logits
    return StableProbability(
        p=p,
        complement=ops.where(is_top, of_top.complement, 1.0 - p),
        neg_log_p=ops.clip(behind, -1.0, LARGEST_GAP) + of_top.neg_log_p,
    )
