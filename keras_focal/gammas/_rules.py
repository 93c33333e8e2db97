"""Rules that give each sample its own gamma from the probability of its true class."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_focal._validation import check_gamma, check_open_interval
from keras_focal.functional import step_gamma


@keras.saving.register_keras_serializable(package="keras_focal")
class SampleDependentGamma:
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
        if any(b <= a for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ValueError(
                f"`thresholds` must rise. Received: thresholds={list(self.thresholds)}. Sort them "
                "together with their gammas."
            )
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

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SampleDependentGamma":
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SampleDependentGamma) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((self.thresholds, self.gammas))

    def __repr__(self) -> str:
        return f"SampleDependentGamma({list(self.thresholds)}, {list(self.gammas)})"
