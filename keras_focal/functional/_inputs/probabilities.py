"""Probabilities are checked, clipped and converted to logits here, the only place that clips.

softmax(log p) = p / sum(p) and sigmoid(log p - log(1 - p)) = p. A logit of a small probability is
rounded by up to 4e-6, so losses take probabilities as they are (`_stable/predicted.py`). Precision
lost in a softmax cannot be recovered: a probability of exactly 0 has no gradient, and a sigmoid of
exactly 1 counts as 1 - 2**-24. Prefer logits.
"""

import math
import warnings
from typing import Any

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.entries import check_probabilities
from keras_focal.functional._backend.operations import value_now
from keras_focal.functional._backend.precision import TINY, to_float

LARGEST_PROBABILITY = 1.0 - 2.0**-24
"""The largest float32 below 1: -log(1 - p) is at most 16.6 from a probability."""

TOLERANCE = 0.01
"""How far the sum of a row may be from 1: the sum of a bfloat16 softmax is off by up to
3 * 2**-9 = 0.006, also after a cast to float32."""


ACTIVATIONS = ("Softmax", "Sigmoid")
"""Operations of a TensorFlow graph whose result is no logit."""

FEW_ENTRIES = 2**20
"""Number of entries up to which a copy to the host is faster than a few operations."""


def warn_if_activated(y_pred: Any) -> None:
    """Warn where predictions that should be logits come out of a softmax or a sigmoid.

    Keras marks what its activations return, on TensorFlow and torch; on JAX nothing shows it.
    """
    operation = getattr(getattr(y_pred, "op", None), "type", None)
    if hasattr(y_pred, "_keras_logits") or operation in ACTIVATIONS:
        warnings.warn(
            "`y_pred` must be logits under from_logits=True. Received: the output of a softmax or "
            "sigmoid. Leave the activation of the last layer out, or pass from_logits=False.",
            stacklevel=2,
        )


def check_distributions(
    name: str, predictions: Tensor, weights: Tensor, *, from_logits: bool = False
) -> None:
    """Raise unless probabilities lie in [0, 1] and sum to 1.

    Inside a compiled step values cannot be read, and nothing is checked.

    Args:
        name: Name of the argument.
        predictions: Probabilities, shape (..., K); K = 1 is the positive class of two.
        weights: Float tensor, shape (...). Rows of weight 0 are not checked.
        from_logits: Whether `predictions` are logits, which are not checked.

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
    # Small arrays are copied to the host; large ones are reduced on their device.
    of = np if math.prod(p.shape) <= FEW_ENTRIES else ops
    p = value_now(p) if of is np else p
    if p is None:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        total, least = of.sum(p, axis=-1), of.min(p)
    if of is not np:
        total, least = value_now(total), value_now(least)
    if total is None or (least >= -TOLERANCE and np.all(np.abs(total - 1.0) <= TOLERANCE)):
        return  # rows that sum to 1 without negative entries have no entry above 1
    low, high, weight = map(value_now, (of.min(p, axis=-1), of.max(p, axis=-1), weights))
    if weight is not None:
        check_probabilities(
            name, low, high, total, weight, is_binary=is_binary, tolerance=TOLERANCE
        )


def are_distributions(p: Tensor) -> Tensor:
    """Return where rows (..., K) are probability distributions up to a tolerance, shape (...)."""
    if 0 in p.shape:
        return ops.ones(p.shape[:-1], dtype="bool")
    least = ops.min(p, axis=-1) >= -TOLERANCE
    if p.shape[-1] == 1:
        return ops.logical_and(least, ops.max(p, axis=-1) <= 1.0 + TOLERANCE)
    # NaN and infinity show up in the sum.
    return ops.logical_and(least, ops.abs(ops.sum(p, axis=-1) - 1.0) <= TOLERANCE)


def nan_unless(is_valid: Tensor, dtype: str) -> Tensor:
    """Return 0 where a condition holds and NaN elsewhere, to be added to a result."""
    return ops.where(is_valid, ops.zeros((), dtype=dtype), float("nan"))


def logits_from_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p, the logits of a categorical distribution.

    Args:
        probabilities: Float tensor, shape (..., K), >= 0. Rows need not sum to 1. A probability
            below 2**-126 counts as 2**-126.

    Returns:
        Tensor of the same shape, float32 or float64, >= -87.3.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> logits = functional.logits_from_probabilities([[0.25, 0.75]])
        >>> [round(float(p), 4) for p in ops.softmax(logits)[0]]
        [0.25, 0.75]
    """
    return ops.log(clipped(probabilities))


def logits_from_binary_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p - log(1 - p), the logit of each probability.

    Args:
        probabilities: Float tensor of any shape, in [0, 1], clipped to [2**-126, 1 - 2**-24].

    Returns:
        Tensor of the same shape, float32 or float64.

    Example:
        >>> from keras_focal import functional
        >>> logits = functional.logits_from_binary_probabilities([0.5, 0.75])
        >>> [round(float(z), 4) for z in logits]
        [0.0, 1.0986]
    """
    p = clipped(probabilities, LARGEST_PROBABILITY)
    return ops.log(p) - ops.log1p(-p)


def clipped(probabilities: Tensor, largest: float = float("inf")) -> Tensor:
    """Return probabilities in [2**-126, largest], float32 or float64.

    Those outside, such as 0, have no gradient.
    """
    p = to_float(probabilities)
    # Not clip, which on JAX halves the gradient at the limits themselves.
    return ops.where(p < TINY, TINY, ops.where(p > largest, largest, p))


def two_classes(predictions: Tensor, from_logits: bool) -> Tensor:
    """Return predictions (..., K >= 2): for K = 1 the negative class is inserted before it."""
    if predictions.shape[-1] != 1:
        return predictions
    negative = ops.zeros_like(predictions) if from_logits else 1.0 - predictions
    return ops.concatenate([negative, predictions], axis=-1)


def first_largest(predictions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the largest entry of each row, the first of equal ones, and the entry."""
    largest = ops.max(predictions, axis=-1)
    # Several times faster than argmax when compiled.
    num_classes = predictions.shape[-1]
    is_largest = ops.equal(predictions, ops.expand_dims(largest, -1))
    top = ops.min(ops.where(is_largest, ops.arange(num_classes, dtype="int32"), num_classes), -1)
    return top, largest
