"""Structured vector and matrix scaling: a linear map of what a temperature gives."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_finite, check_lengths
from keras_focal._validation.numbers import check_positive
from keras_focal.functional.maps._maps import log_probabilities
from keras_focal.layers._base import CalibrationMap, listed


class _Structured(CalibrationMap):
    """A vector or matrix and a bias on log softmax(z / T)."""

    factors_name: str
    rank: int

    def __init__(
        self, temperature: float, factors: Any, bias: list[float], inputs: str, **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        name = self.factors_name
        log_temperature = np.log(check_positive("temperature", temperature))
        rows, offsets = check_finite(name, factors, self.rank), check_finite("bias", bias, 1)
        columns = {f"columns of {name}": rows.T} if self.rank == 2 else {}
        check_lengths(**{name: rows, **columns, "bias": offsets})
        if len(offsets) < 2:
            raise ValueError(
                f"`{name}` must be of two classes or more. Received: 1. For one logit of two "
                "classes use PlattScaling, the same map."
            )
        self.log_temperature = self.freeze("log_temperature", np.asarray(log_temperature))
        self.factors = self.freeze(name, rows)
        self.bias = self.freeze("bias", offsets)
        self.finish(len(offsets))

    @property
    def temperature(self) -> float:
        """The temperature now."""
        return float(np.exp(listed(self.log_temperature)))

    def map(self, logits: Tensor) -> Tensor:
        scaled = functional.scale_logits(logits, ops.exp(self.log_temperature))
        factors, bias = (ops.cast(part, logits.dtype) for part in (self.factors, self.bias))
        return functional.linear_map(log_probabilities(scaled)[0], factors, bias)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            self.factors_name: listed(self.factors),
            "bias": listed(self.bias),
        }


@keras.saving.register_keras_serializable(package="keras_focal")
class StructuredVectorScaling(_Structured):
    """Give w log softmax(z / T) + b: a temperature, then each class its own factor and offset.

    The top class can change. `keras_focal.calibration.fit_map(..., method="structured_vector")`
    fits it. A number added to a row of logits does not matter.

    Args:
        temperature: T, a finite number > 0.
        scale: w, a list of K finite numbers, K >= 2.
        bias: b, a list of as many.
        inputs: "logits", or "probabilities" of a softmax.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K); the same. The output is logits: a softmax follows.

    Raises:
        ValueError: If the temperature is not a finite number > 0, K < 2, a number is not finite,
            the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.StructuredVectorScaling(2.0, [1.0, 2.0], [0.5, 0.0])
        >>> [round(float(z), 4) for z in layer(np.array([[4.0, 4.0]], "float32"))[0]]
        [-0.1931, -1.3863]

    Source:
        Berta, Holzmüller, Jordan and Bach, 2026, "Structured Matrix Scaling for Multi-Class
        Calibration".
    """

    factors_name, rank = "scale", 1

    def __init__(
        self,
        temperature: float,
        scale: list[float],
        bias: list[float],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(temperature, scale, bias, inputs, **kwargs)


@keras.saving.register_keras_serializable(package="keras_focal")
class StructuredMatrixScaling(_Structured):
    """Give W log softmax(z / T) + b: a temperature, then every class sees every other.

    The top class can change. `keras_focal.calibration.fit_map(..., method="structured_matrix")`
    fits it. A number added to a row of logits does not matter.

    Args:
        temperature: T, a finite number > 0.
        matrix: W, K rows of K finite numbers, K >= 2; row k makes logit k.
        bias: b, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K); the same. The output is logits: a softmax follows.

    Raises:
        ValueError: If the temperature is not a finite number > 0, K < 2, a number is not finite,
            the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.StructuredMatrixScaling(
        ...     2.0, [[1.0, 1.0], [0.0, 1.0]], [0.0, 0.0])
        >>> [round(float(z), 4) for z in layer(np.array([[4.0, 4.0]], "float32"))[0]]
        [-1.3863, -0.6931]

    Source:
        Berta, Holzmüller, Jordan and Bach, 2026, "Structured Matrix Scaling for Multi-Class
        Calibration".
    """

    factors_name, rank = "matrix", 2

    def __init__(
        self,
        temperature: float,
        matrix: list[list[float]],
        bias: list[float],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(temperature, matrix, bias, inputs, **kwargs)
