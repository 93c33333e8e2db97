"""How to choose gamma by Propositions 1 and 2, on the host with NumPy."""

import numpy as np
from numpy.typing import ArrayLike

from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import check_open_interval


def gamma_star(p0: ArrayLike) -> float | np.ndarray:
    """Return the gamma with g(p0, gamma) = 1, the inverse of `threshold_probability`.

    It is the smallest gamma for which the focal gradient is smaller than that of cross-entropy for
    all p > p0: gamma* = a/b + W_-1(-a^(1 - a/b) log(a) / b) / log(a), with a = 1 - p0 and
    b = p0 log p0. gamma* decreases from infinity as p0 -> 0 to 0 as p0 -> 0.5. For p0 >= 0.5 there
    is no gamma > 0 with g(p0, gamma) = 1.

    Args:
        p0: Number or array-like, 0 < p0 < 0.5: the probability of the true class above which
            the focal gradient is smaller than that of cross-entropy.

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
        "p0", p0, 0.0, 0.5, "outside it Proposition 2 has no solution with gamma > 0"
    )
    # With e^y = 1 - gamma b / a the condition g(p0, gamma) = 1 reads (e^y - 1) / y = ratio and
    # gamma = -y / log(a): the same root as Lambert's W_-1, without its branch point at p0 = 0.5.
    log_a = np.log1p(-p0)
    ratio = p0 * np.log(p0) / ((1.0 - p0) * log_a)
    gamma = -_exponential_growth(np.log(ratio)) / log_a
    return float(gamma) if gamma.ndim == 0 else gamma


def threshold_probability(gamma: ArrayLike) -> float | np.ndarray:
    """Return the p0 with g(p0, gamma) = 1, the inverse of `gamma_star`.

    The focal gradient is smaller than that of cross-entropy for p > p0 and larger for p < p0. p0
    decreases from 0.5 as gamma -> 0 to 0 as gamma -> infinity, and is exactly 1/e for gamma = 1.

    Args:
        gamma: Number or array-like, > 0 and finite.

    Returns:
        float, or float64 NumPy array of the shape of `gamma`, in (0, 0.5).

    Raises:
        ValueError: If a gamma is not positive and finite.

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
        # log g; g itself would cancel for a small gamma.
        is_raised = gamma * np.log1p(-p) + np.log1p(gamma * p * -middle / (1.0 - p)) > 0
        low, high = np.where(is_raised, middle, low), np.where(is_raised, high, middle)
    p0 = np.exp((low + high) / 2.0)
    return float(p0) if p0.ndim == 0 else p0


_HALVINGS = 50
"""Of an interval of probabilities: to 1e-15, and its middle still lies inside it."""


def optimal_probability(q: ArrayLike, gamma: float) -> float | np.ndarray:
    """Return the p that the binary focal loss learns where the positive class has frequency q.

    p minimises q (1 - p)^gamma (-log p) + (1 - q) p^gamma (-log(1 - p)). For gamma = 0 it is q; a
    larger gamma keeps it closer to 0.5.

    Args:
        q: Number or array-like, 0 < q < 1.
        gamma: Focusing exponent >= 0.

    Returns:
        float, or float64 NumPy array of the shape of `q`, in (0, 1).

    Raises:
        ValueError: If a q is not in (0, 1), or `gamma` is negative or not finite.

    Numerics:
        Found by bisection in float64, to 1e-15.

    Example:
        >>> from keras_focal import functional
        >>> round(functional.optimal_probability(0.9, gamma=0.0), 4)
        0.9
        >>> round(functional.optimal_probability(0.9, gamma=3.0), 4)
        0.6471

    Source:
        Mukhoti et al., 2020, Appendix A, equation 5 and Figure 6.
    """
    gamma = check_gamma("gamma", gamma)
    check_open_interval("q", q, 0.0, 1.0, "a class that always or never occurs has no finite logit")
    q = np.asarray(q, "float64")
    # The loss is convex: (1 - p)^gamma (-log p) is (1 - p)^(gamma + 1) times -log(p) / (1 - p),
    # both convex, decreasing and >= 0. Its derivative has the sign of p g(1 - p) / ((1 - p) g(p))
    # less q / (1 - q), compared in logarithms: g underflows for a large gamma.
    wanted = np.log(q) - np.log1p(-q)
    low, high = np.zeros_like(q), np.ones_like(q)
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        log_odds = np.log(p) - np.log1p(-p)
        is_below = log_odds + _log_ratio(1.0 - p, gamma) - _log_ratio(p, gamma) < wanted
        low, high = np.where(is_below, p, low), np.where(is_below, high, p)
    p = (low + high) / 2
    return float(p) if p.ndim == 0 else p


def _log_ratio(p: np.ndarray, gamma: float) -> np.ndarray:
    """Return log g(p, gamma), finite for p in (0, 1)."""
    return gamma * np.log1p(-p) + np.log1p(-gamma * p * np.log(p) / (1.0 - p))


def _exponential_growth(log_ratio: np.ndarray) -> np.ndarray:
    """Return the y > 0 with log((e^y - 1) / y) = log_ratio > 0.

    The left side is convex and at least y / 2, so Newton's method decreases from y = 2 log_ratio to
    the root.
    """
    y = 2.0 * log_ratio
    for _ in range(100):
        excess = y + np.log(-np.expm1(-y) / y) - log_ratio
        step = excess / (-1.0 / np.expm1(-y) - 1.0 / y)
        y = y - step
        if np.all(np.abs(step) <= 1e-15 * y):
            break
    return y
