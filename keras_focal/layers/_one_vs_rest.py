"""Platt scaling, quadratic scaling and beta calibration, one-vs-rest for several classes."""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_finite, check_lengths, check_non_negative
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class PlattScaling(CalibrationMap):
    """Platt scaling: sigmoid(a s + b), where s = log(p / (1 - p)) are the log-odds of each class.

    For one column, a > 0 preserves the order of samples and b moves the decision threshold, so the
    accuracy can change. Several classes are normalised to sum 1, and the top class can change.
    `keras_focal.calibration.fit_map(..., method="platt")` fits it.

    Args:
        slope: a, a list of K finite numbers; one for binary logits of shape (..., 1).
        intercept: b, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the sigmoids by
        their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.PlattScaling([0.5], [1.0])
        >>> float(layer(np.array([[4.0]], "float32"))[0, 0])
        3.0

    Source:
        Platt, 1999; one-vs-rest as Zadrozny and Elkan, 2002.
    """

    def __init__(
        self, slope: list[float], intercept: list[float], inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        slopes = check_finite("slope", slope, 1)
        intercepts = check_finite("intercept", intercept, 1)
        check_lengths(slope=slopes, intercept=intercepts)
        self.slope = self.freeze("slope", slopes)
        self.intercept = self.freeze("intercept", intercepts)
        self.finish(len(slopes))

    def map(self, logits: Tensor) -> Tensor:
        slope, intercept = (ops.cast(part, logits.dtype) for part in (self.slope, self.intercept))
        return functional.platt_map(logits, slope, intercept)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "slope": listed(self.slope),
            "intercept": listed(self.intercept),
        }


@keras.saving.register_keras_serializable(package="keras_focal")
class QuadraticScaling(CalibrationMap):
    """Quadratic scaling: sigmoid(a s^2 + b s + c), where s = log(p / (1 - p)) are the log-odds.

    It bends where Platt scaling is straight: an error that differs between confident and unsure
    predictions is corrected. The parabola turns back at s = -b / (2 a), so the order of samples
    changes if that lies among the predictions. Several classes are normalised to sum 1, and the top
    class can change. `keras_focal.calibration.fit_map(..., method="quadratic")` fits it.

    Args:
        square: a, a list of K finite numbers; one for binary logits of shape (..., 1).
        slope: b, a list of K finite numbers.
        intercept: c, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the sigmoids by
        their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.QuadraticScaling([0.25], [0.5], [1.0])
        >>> float(layer(np.array([[4.0]], "float32"))[0, 0])
        7.0

    Source:
        Berta, Holzmüller, Jordan and Bach, 2026, "Structured Matrix Scaling for Multi-Class
        Calibration", which names it; as in probmetrics.
    """

    def __init__(
        self,
        square: list[float],
        slope: list[float],
        intercept: list[float],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        given = {"square": square, "slope": slope, "intercept": intercept}
        checked = {name: check_finite(name, value, 1) for name, value in given.items()}
        check_lengths(**checked)
        self.square, self.slope, self.intercept = (self.freeze(*each) for each in checked.items())
        self.finish(len(checked["slope"]))

    def map(self, logits: Tensor) -> Tensor:
        parts = (self.square, self.slope, self.intercept)
        return functional.quadratic_map(logits, *(ops.cast(part, logits.dtype) for part in parts))

    def get_config(self) -> dict[str, Any]:
        names = ("square", "slope", "intercept")
        return {**super().get_config(), **{name: listed(getattr(self, name)) for name in names}}


@keras.saving.register_keras_serializable(package="keras_focal")
class BetaCalibration(CalibrationMap):
    """Beta calibration: sigmoid(a log p - b log(1 - p) + c) of each class.

    For one column it is increasing in p, which preserves the order of samples, and c moves the
    decision threshold, so the accuracy can change. Several classes are normalised to sum 1, and the
    top class can change. `keras_focal.calibration.fit_map(..., method="beta")` fits it.

    Args:
        a: A list of K finite numbers >= 0; one for binary logits of shape (..., 1).
        b: A list of K finite numbers >= 0.
        c: A list of K finite numbers of any sign.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the sigmoids by
        their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, `a` or `b` is negative, the lengths differ, or
            `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.BetaCalibration([2.0], [2.0], [0.5])
        >>> round(float(layer(np.array([[1.0]], "float32"))[0, 0]), 4)
        2.5

    Source:
        Kull, Silva Filho and Flach, 2017.
    """

    def __init__(
        self,
        a: list[float],
        b: list[float],
        c: list[float],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        given = {"a": a, "b": b, "c": c}
        checked = {name: check_finite(name, value, 1) for name, value in given.items()}
        check_lengths(**checked)
        self.a = self.freeze("a", check_non_negative("a", checked["a"]))
        self.b = self.freeze("b", check_non_negative("b", checked["b"]))
        self.c = self.freeze("c", checked["c"])
        self.finish(len(checked["c"]))

    def map(self, logits: Tensor) -> Tensor:
        a, b, c = (ops.cast(part, logits.dtype) for part in (self.a, self.b, self.c))
        return functional.beta_map(logits, a, b, c)

    def get_config(self) -> dict[str, Any]:
        numbers = {"a": listed(self.a), "b": listed(self.b), "c": listed(self.c)}
        return {**super().get_config(), **numbers}
