"""What a gamma does to the gradient, and which gamma to take (Propositions 1 and 2)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_focal._validation import check_open_interval
from keras_focal.functional._backend.precision import TINY, Tensor, to_float
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional.losses._focal import focal_terms


def gradient_ratio(p: Tensor, gamma: float | Tensor) -> Tensor:
    """Return g(p, gamma), the focal gradient over the cross-entropy gradient.

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


def gamma_star(p0: Any) -> Any:
    """Return the gamma at which g(p0, gamma) = 1: the smallest that damps every p >= p0.

    gamma* = a/b + W_-1(-a^(1 - a/b) log(a) / b) / log(a), a = 1 - p0, b = p0 log p0. It falls
    from infinity at p0 -> 0 to 0 at p0 -> 0.5; beyond 0.5 no gamma > 0 has g(p0, gamma) = 1.

    Args:
        p0: Number or array-like, 0 < p0 < 0.5: the probability of the true class above which
            the focal gradient shall be smaller than that of cross-entropy.

    Returns:
        float, or float64 NumPy array of the shape of `p0`.

    Raises:
        ValueError: If a p0 is not in (0, 0.5).

    Example:
        >>> from keras_focal.gammas import gamma_star
        >>> round(gamma_star(0.2), 6), round(gamma_star(0.25), 6)
        (4.850554, 3.070227)

    Source:
        Mukhoti et al., 2020, Proposition 2.
    """
    p0 = np.asarray(p0, "float64")
    check_open_interval(
        "p0", p0, 0.0, 0.5, "Proposition 2 has no solution there: g(p, gamma) < 1 for every gamma"
    )
    # With e^y = 1 - gamma b / a the condition g(p0, gamma) = 1 reads (e^y - 1) / y = ratio and
    # gamma = -y / log(a): the same root as Lambert's W_-1, without its square root near p0 = 0.5.
    log_a = np.log1p(-p0)
    ratio = p0 * np.log(p0) / ((1.0 - p0) * log_a)
    gamma = -_exponential_growth(np.log(ratio)) / log_a
    return float(gamma) if gamma.ndim == 0 else gamma


def threshold_probability(gamma: Any) -> Any:
    """Return the p0 with g(p0, gamma) = 1: a focal gradient is damped above it, raised below.

    The inverse of `gamma_star`: it falls from 0.5 at gamma -> 0 to 0 at gamma -> infinity, and is
    exactly 1/e for gamma = 1.

    Args:
        gamma: Number or array-like, > 0 and finite.

    Returns:
        float, or float64 NumPy array of the shape of `gamma`, in (0, 0.5).

    Raises:
        ValueError: If a gamma is not in (0, infinity).

    Example:
        >>> from keras_focal.gammas import threshold_probability
        >>> [round(threshold_probability(gamma), 4) for gamma in (1, 2, 3, 5)]
        [0.3679, 0.2976, 0.2526, 0.1968]

    Source:
        Mukhoti et al., 2020, Propositions 1 and 2.
    """
    check_open_interval("gamma", gamma, 0.0, np.inf, "with gamma = 0 every p has g(p, gamma) = 1")
    gamma = np.asarray(gamma, "float64")
    low, high = np.full(gamma.shape, -745.0), np.full(gamma.shape, np.log(0.5))
    for _ in range(64):
        middle = (low + high) / 2.0
        p = np.exp(middle)
        # log g, without the difference of two numbers near 1 that g itself is for a small gamma.
        is_raised = gamma * np.log1p(-p) + np.log1p(gamma * p * -middle / (1.0 - p)) > 0
        low, high = np.where(is_raised, middle, low), np.where(is_raised, high, middle)
    p0 = np.exp((low + high) / 2.0)
    return float(p0) if p0.ndim == 0 else p0


def continuous_gamma(p: Tensor, low: float, high: float) -> Tensor:
    """Return gamma_star(p) held to [low, high], on the device; `low` for p >= 0.5.

    Args:
        p: Probability of the true class, any shape, in [0, 1].
        low: Least gamma, >= 0.
        high: Greatest gamma, >= `low`: taken by every p below `threshold_probability(high)`.

    Returns:
        Tensor of the shape of `p`, float32 or float64. As a constant in the derivative: no
        gradient flows to `p`.

    Numerics:
        Within 1e-6 max(1, gamma) of `gamma_star` in float32, p0 -> 0 and p0 -> 0.5 included.

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
    # log of the ratio in `gamma_star`; near p = 0.5, where it is 0, by the logit instead.
    logit = ops.log1p(1.0 - 2.0 * p) - ops.log(2.0 * p)
    near_half = ops.log1p(ops.clip(logit, 0.0, 2.0) / neg_log_p_of_other) - logit
    ratio = -p * ops.log(p) / ((1.0 - p) * neg_log_p_of_other)
    log_ratio = ops.where(p < 0.25, ops.log(ratio), near_half)
    gamma = 2.0 * _half_of_growth(log_ratio) / neg_log_p_of_other
    return ops.clip(gamma, low, high)


def step_gamma(p: Tensor, thresholds: Sequence[float], gammas: Sequence[float]) -> Tensor:
    """Return gammas[i] where thresholds[i-1] <= p < thresholds[i], the shape of `p`."""
    value = ops.full_like(p, gammas[0])
    for threshold, gamma in zip(thresholds, gammas[1:], strict=True):
        value = ops.where(p >= threshold, ops.cast(gamma, value.dtype), value)
    return value


def _exponential_growth(log_ratio: np.ndarray) -> np.ndarray:
    """Return the y > 0 with log((e^y - 1) / y) = log_ratio > 0.

    The left side is convex and at least y / 2, so Newton falls from y = 2 log_ratio to the root.
    """
    y = 2.0 * log_ratio
    for _ in range(100):
        excess = y + np.log(-np.expm1(-y) / y) - log_ratio
        step = excess / (-1.0 / np.expm1(-y) - 1.0 / y)
        y = y - step
        if np.all(np.abs(step) <= 1e-15 * y):
            break
    return y


_SINH = [1.0 / math.factorial(2 * k + 1) for k in range(11)]
"""sinh(x) / x as a polynomial of x^2, to 1e-9 for x <= 3.2."""


def _half_of_growth(log_ratio: Tensor) -> Tensor:
    """Return half the y of `_exponential_growth`: x + log(sinh(x) / x) = log_ratio, 0 to 4.3.

    In this form nothing is subtracted near y = 0, and three steps reach the rounding of float32.
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
