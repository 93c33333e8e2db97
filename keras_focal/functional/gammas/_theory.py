"""How gamma changes the gradient, and how to choose it (Propositions 1 and 2)."""

import math
from collections.abc import Sequence

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.precision import TINY, floating, to_float
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional.losses._focal import focal_terms


def gradient_ratio(p: Tensor, gamma: float | Tensor) -> Tensor:
    """Return g(p, gamma), the ratio of the focal gradient to the cross-entropy gradient.

    g = (1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p. g(0) = 1; g(1) = 0 for gamma > 0;
    g = 1 everywhere for gamma = 0. g > 1 below a threshold p0 and < 1 above it.

    Args:
        p: Probability of the true class, any shape, in [0, 1].
        gamma: Focusing exponent >= 0, broadcastable to `p`.

    Returns:
        Tensor of the shape of `p`, >= 0, float32 or float64.

    Example:
        >>> from keras_focal.gammas import gradient_ratio
        >>> round(float(gradient_ratio(0.2, 5.0)), 3)
        0.987

    Source:
        Mukhoti et al., 2020, Proposition 1 and Figure 4(a).
    """
    p = to_float(p)
    of_class = StableProbability(p, 1.0 - p, -ops.log(ops.clip(p, TINY, 1.0)))
    return focal_terms(of_class, ops.convert_to_tensor(gamma, dtype=p.dtype))[1]


def continuous_gamma(p: Tensor, low: float, high: float) -> Tensor:
    """Return gamma_star(p) clipped to [low, high]; `low` for p >= 0.5. It runs on the device.

    Args:
        p: Probability of the true class, any shape, in [0, 1].
        low: Smallest gamma, >= 0.
        high: Largest gamma, >= `low`, which applies to every p below `threshold_probability(high)`.

    Returns:
        Tensor of the shape of `p`, float32 or float64. No gradient flows to `p`.

    Numerics:
        Within 1e-6 max(1, gamma) of `gamma_star` in float32, also as p -> 0 and p -> 0.5.

    Example:
        >>> from keras_focal import functional
        >>> gammas = functional.continuous_gamma([0.1, 0.25, 0.9], low=1.0, high=5.0)
        >>> [round(float(gamma), 3) for gamma in gammas]
        [5.0, 3.07, 1.0]

    Source:
        Mukhoti et al., 2020, Proposition 2.
    """
    p = ops.stop_gradient(to_float(p))
    p = ops.clip(p, 2.0**-100, 0.5)
    neg_log_p_of_other = -ops.log1p(-p)
    # log of the ratio in `gamma_star`; near p = 0.5, where it is 0, computed from the logit.
    logit = ops.log1p(1.0 - 2.0 * p) - ops.log(2.0 * p)
    near_half = ops.log1p(ops.clip(logit, 0.0, 2.0) / neg_log_p_of_other) - logit
    ratio = -p * ops.log(p) / ((1.0 - p) * neg_log_p_of_other)
    log_ratio = ops.where(p < 0.25, ops.log(ratio), near_half)
    gamma = 2.0 * _half_of_growth(log_ratio) / neg_log_p_of_other
    return ops.clip(gamma, low, high)


def step_gamma(p: Tensor, thresholds: Sequence[float], gammas: Sequence[float]) -> Tensor:
    """Return gamma as a step function of p: gammas[i] where thresholds[i-1] <= p < thresholds[i].

    Args:
        p: Probability of the true class, any shape, in [0, 1].
        thresholds: Probabilities where gamma changes, increasing.
        gammas: One more exponent than thresholds.

    Returns:
        Tensor of the shape and dtype of `p`, float32 for whole numbers; NaN where `p` is NaN. No
        gradient flows to `p`.

    Example:
        >>> import numpy as np
        >>> from keras_focal import functional
        >>> p = np.array([0.1, 0.2, 0.9], "float32")
        >>> [float(gamma) for gamma in functional.step_gamma(p, [0.2], [5.0, 3.0])]
        [5.0, 3.0, 3.0]

    Source:
        Mukhoti et al., 2020, section 4, "How to choose gamma".
    """
    p = ops.stop_gradient(floating(p))
    value = 0.0 * p + gammas[0]  # NaN where p is.
    for threshold, gamma in zip(thresholds, gammas[1:], strict=True):
        value = ops.where(p >= threshold, ops.cast(gamma, value.dtype), value)
    return value


_SINH = [1.0 / math.factorial(2 * k + 1) for k in range(11)]
"""sinh(x) / x as a polynomial of x^2, to 1e-9 for x <= 3.2."""


def _half_of_growth(log_ratio: Tensor) -> Tensor:
    """Return half the y of `_exponential_growth`: x + log(sinh(x) / x) = log_ratio, 0 to 4.3.

    This form avoids cancellation near y = 0, and three Newton steps reach float32 precision.
    """
    x = log_ratio / (1.0 + log_ratio / 6.0)
    for _ in range(3):
        square = x * x
        value, slope = ops.full_like(x, _SINH[-1]), ops.zeros_like(x)
        for coefficient in reversed(_SINH[:-1]):
            slope = slope * square + value
            value = value * square + coefficient
        x = x - (x + ops.log(value) - log_ratio) / (1.0 + 2.0 * x * slope / value)
    return x
