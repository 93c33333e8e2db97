"""Logarithms from operations that every exporter supports: ONNX and LiteRT have no log1p."""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.precision import TINY, to_float

LARGEST_PROBABILITY = 1.0 - 2.0**-24
"""The largest float32 below 1."""


def log_one_plus(x: Tensor) -> Tensor:
    """Return log(1 + x) for x > -1, with a relative error of 2e-7 in float32; log1p in float64."""
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return ops.log1p(x)
    is_near = ops.logical_and(x >= -0.5, x <= 1.0)
    near = ops.where(is_near, x, 0.0)
    # log(1 + x) = 2 atanh(t), |t| <= 1/3: seven terms of its series.
    t = near / (2.0 + near)
    square = t * t
    series = 1.0 / 13.0
    for divisor in (11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * square + 1.0 / divisor
    return ops.where(is_near, 2.0 * t * series, ops.log(ops.where(is_near, 1.0, 1.0 + x)))


def logits_of(probabilities: Tensor, least: float = TINY) -> Tensor:
    """Return log p, shape (..., K); of one column log(p / (1 - p)).

    Args:
        probabilities: Float tensor, shape (..., K).
        least: What a smaller probability counts as; one column is held off 1 as far, and by 2**-24
            at least in float32.
    """
    p = to_float(probabilities)
    if p.shape[-1] > 1:
        return ops.log(ops.clip(p, least, float("inf")))
    is_double = keras.backend.standardize_dtype(p.dtype) == "float64"
    p = ops.clip(p, least, 1.0 - max(least, 2.0**-53 if is_double else 2.0**-24))
    return ops.log(p) - ops.log(1.0 - p)
