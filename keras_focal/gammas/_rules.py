"""Rules that compute the gamma of each sample from the probability of its true class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_focal._typing import Tensor
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import (
    check_bounds,
    check_increasing,
    check_open_interval,
    check_that,
)
from keras_focal.functional import continuous_gamma, gamma_star, step_gamma


class GammaRule(ABC):
    """Base class of rules: functions from p_t to gamma that are saved and loaded with a loss.

    A subclass implements `__call__` and `get_config`.
    """

    @abstractmethod
    def __call__(self, p: Tensor) -> Tensor:
        """Return the gamma of each probability, a tensor of the shape of `p`."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GammaRule":
        return cls(**config)

    def now(self) -> Callable[[Tensor], Tensor]:
        """Return the current rule as a function of tensors, which a compiled step can use."""
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
    """A gamma that is a step function of the probability p_t of the true class.

    gamma = gammas[0] for p_t in [0, thresholds[0]), gammas[1] for p_t in [thresholds[0],
    thresholds[1]), and so on up to p_t = 1. It counts as a constant in the derivative of the loss.

    Args:
        thresholds: Probabilities where gamma changes, strictly increasing, in (0, 1).
        gammas: One more exponent than thresholds, each finite and >= 0.

    Raises:
        ValueError: If the thresholds are not strictly increasing in (0, 1), a gamma is negative or
            not finite, or the lengths do not match.

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
                "gamma applies below the first threshold, the last above the last threshold."
            )

    def __call__(self, p: Tensor) -> Tensor:
        """Return the gamma of each probability, a tensor of the shape of `p`."""
        return step_gamma(p, self.thresholds, self.gammas)

    def get_config(self) -> dict[str, Any]:
        return {"thresholds": list(self.thresholds), "gammas": list(self.gammas)}


@keras.saving.register_keras_serializable(package="keras_focal")
class ThresholdGamma(GammaRule):
    """A step function of p_t with gammas from Proposition 2.

    gamma = gamma_star(p0s[0]) for p_t in [0, p0s[0]), gamma_star(p0s[i]) for p_t in [p0s[i-1],
    p0s[i]), and gamma_star of the last p0 up to p_t = 1. The gradient is larger than that of
    cross-entropy below the last p0 and smaller above it, whatever the other thresholds.
    `ThresholdGamma([0.2, 0.25])` is FLSD-53 of the paper before rounding: 4.85 below 0.2 and 3.07
    above. A single p0 gives a constant gamma.

    Args:
        p0s: Probabilities, strictly increasing, in (0, 0.5).

    Raises:
        ValueError: If `p0s` is empty, not in (0, 0.5), or not strictly increasing.

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
            "p0s", p0s, 0.0, 0.5, "Proposition 2 gives a gamma only there, such as 3.07 for 0.25"
        )
        self.p0s = tuple(float(p0) for p0 in np.ravel(p0s))
        check_that("p0s", p0s, "one or more probabilities", bool(self.p0s), "Give [0.2, 0.25].")
        check_increasing("p0s", self.p0s, "Sort them.")
        self.gammas = tuple(float(gamma_star(p0)) for p0 in self.p0s)

    def __call__(self, p: Tensor) -> Tensor:
        return step_gamma(p, self.p0s[:-1], self.gammas)

    def get_config(self) -> dict[str, Any]:
        return {"p0s": list(self.p0s)}


@keras.saving.register_keras_serializable(package="keras_focal")
class ContinuousGamma(GammaRule):
    """A gamma that decreases continuously with p_t: clip(gamma_star(p_t), low, high).

    Where gamma_star(p_t) lies between the bounds, the gradient equals that of cross-entropy:
    g(p_t, gamma) = 1. It is larger below `threshold_probability(high)` and smaller above
    `threshold_probability(low)`. For p_t >= 0.5 gamma is `low`. Gamma counts as a constant in the
    derivative of the loss.

    Args:
        low: Smallest gamma, finite and >= 0.
        high: Largest gamma, finite and > `low`.

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

    def __call__(self, p: Tensor) -> Tensor:
        return continuous_gamma(p, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}
