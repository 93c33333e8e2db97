"""Rules that give each sample its own gamma from the probability of its true class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import (
    check_bounds,
    check_increasing,
    check_open_interval,
    check_that,
)
from keras_focal.functional import continuous_gamma, gamma_star, step_gamma


class GammaRule(ABC):
    """Base of the rules: a function from p_t to gamma that a loss can hold, save and load.

    A subclass gives `__call__` and `get_config`.
    """

    @abstractmethod
    def __call__(self, p: Any) -> Any:
        """Return the gamma of each probability, a tensor of the shape of `p`."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GammaRule":
        return cls(**config)

    def now(self) -> Callable[[Any], Any]:
        """Return the rule as it is now, a function of tensors alone: what a step computes with."""
        return self

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        values = ", ".join(repr(value) for value in self.get_config().values())
        return f"{type(self).__name__}({values})"


@keras.saving.register_keras_serializable(package="keras_focal")
class SampleDependentGamma(GammaRule):
    """A gamma that falls in steps as the probability p_t of the true class rises.

    gamma = gammas[0] for p_t in [0, thresholds[0]), gammas[1] for p_t in [thresholds[0],
    thresholds[1]), and so on to p_t = 1. The loss treats it as a constant in the derivative.

    Args:
        thresholds: Probabilities where gamma changes, rising, each in (0, 1).
        gammas: One more exponent than thresholds, each finite and >= 0.

    Raises:
        ValueError: If the thresholds do not rise in (0, 1), a gamma is negative or not finite,
            or the lengths do not match.

    Example:
        >>> from keras_focal.gammas import SampleDependentGamma
        >>> rule = SampleDependentGamma(thresholds=[0.2], gammas=[5.0, 3.0])  # FLSD-53
        >>> [float(gamma) for gamma in rule([0.1, 0.2, 0.9])]
        [5.0, 3.0, 3.0]

    Source:
        Mukhoti et al., 2020, section 4, "How to choose gamma", and Appendix E.
    """

    def __init__(self, thresholds: Sequence[float], gammas: Sequence[float]):
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        self.gammas = tuple(check_gamma("gammas", gamma) for gamma in gammas)
        check_open_interval("thresholds", self.thresholds, 0.0, 1.0, "they are probabilities")
        check_increasing("thresholds", self.thresholds, "Sort them together with their gammas.")
        if len(self.gammas) != len(self.thresholds) + 1:
            raise ValueError(
                "`gammas` must have one entry more than `thresholds`. Received: "
                f"{len(self.gammas)} gammas for {len(self.thresholds)} thresholds. The first "
                "gamma holds below the first threshold, the last above the last."
            )

    def __call__(self, p: Any) -> Any:
        """Return the gamma of each probability, a tensor of the shape of `p`."""
        return step_gamma(keras.ops.convert_to_tensor(p), self.thresholds, self.gammas)

    def get_config(self) -> dict[str, Any]:
        return {"thresholds": list(self.thresholds), "gammas": list(self.gammas)}


@keras.saving.register_keras_serializable(package="keras_focal")
class ThresholdGamma(GammaRule):
    """Steps by Proposition 2: each gamma is the least that damps all above its threshold.

    gamma = gamma_star(p0s[0]) for p_t in [0, p0s[0]), gamma_star(p0s[i]) for p_t in [p0s[i-1],
    p0s[i]), and gamma_star of the last p0 up to p_t = 1. So the gradient is larger than that of
    cross-entropy below the last p0 and smaller above it, whatever the steps between.
    `ThresholdGamma([0.2, 0.25])` is the paper's FLSD-53 before rounding: 4.85 below 0.2, 3.07 from
    there on. One p0 gives one gamma.

    Args:
        p0s: Probabilities, rising, each in (0, 0.5).

    Raises:
        ValueError: If there is no p0, one is not in (0, 0.5), or they do not rise.

    Example:
        >>> from keras_focal.gammas import ThresholdGamma
        >>> rule = ThresholdGamma([0.2, 0.25])
        >>> [round(gamma, 4) for gamma in rule.gammas]
        [4.8506, 3.0702]
        >>> [round(float(gamma), 4) for gamma in rule([0.1, 0.2, 0.9])]
        [4.8506, 3.0702, 3.0702]

    Source:
        Mukhoti et al., 2020, Proposition 2 and section 4, "How to choose gamma".
    """

    def __init__(self, p0s: Sequence[float]):
        check_open_interval(
            "p0s", p0s, 0.0, 0.5, "Proposition 2 has a gamma there alone, such as 3.07 for 0.25"
        )
        self.p0s = tuple(float(p0) for p0 in np.ravel(p0s))
        check_that("p0s", p0s, "one or more probabilities", bool(self.p0s), "Give [0.2, 0.25].")
        check_increasing("p0s", self.p0s, "Sort them.")
        self.gammas = tuple(gamma_star(p0) for p0 in self.p0s)

    def __call__(self, p: Any) -> Any:
        return step_gamma(keras.ops.convert_to_tensor(p), self.p0s[:-1], self.gammas)

    def get_config(self) -> dict[str, Any]:
        return {"p0s": list(self.p0s)}


@keras.saving.register_keras_serializable(package="keras_focal")
class ContinuousGamma(GammaRule):
    """A gamma that falls smoothly with p_t: clip(gamma_star(p_t), low, high), without steps.

    Where gamma_star(p_t) lies between the bounds the gradient is exactly that of cross-entropy:
    g(p_t, gamma) = 1. Below `threshold_probability(high)` it is larger, above
    `threshold_probability(low)` smaller; from p_t = 0.5 on gamma is `low`. The loss treats it as a
    constant in the derivative.

    Args:
        low: Least gamma, finite and >= 0.
        high: Greatest gamma, finite and > `low`.

    Raises:
        ValueError: If a bound is negative or not finite, or the bounds are out of order.

    Example:
        >>> from keras_focal.gammas import ContinuousGamma
        >>> rule = ContinuousGamma(low=3.0, high=5.0)
        >>> [round(float(gamma), 3) for gamma in rule([0.1, 0.2, 0.22, 0.9])]
        [5.0, 4.851, 4.027, 3.0]

    Source:
        Mukhoti et al., 2020, Proposition 2 and section 4, "How to choose gamma".
    """

    def __init__(self, low: float, high: float):
        self.low, self.high = check_gamma("low", low), check_gamma("high", high)
        check_bounds(self.low, self.high)

    def __call__(self, p: Any) -> Any:
        return continuous_gamma(p, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}
