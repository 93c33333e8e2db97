"""Ensemble temperature scaling: a mixture that preserves the top class."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_simplex
from keras_focal._validation.numbers import check_positive
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class EnsembleTemperatureScaling(CalibrationMap):
    """Ensemble temperature scaling: log(w1 softmax(z / T) + w2 softmax(z) + w3 / K).

    The top class is preserved. `keras_focal.calibration.fit_map(...,
    method="ensemble_temperature")` fits it.

    Args:
        temperature: T, a finite number > 0.
        weights: [w1, w2, w3], >= 0, which sum to 1.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is log-probabilities, to which a softmax can be applied;
        for K = 1 it is log-odds, for a sigmoid.

    Raises:
        ValueError: If the temperature is not a finite number > 0, the weights are not three
            numbers >= 0 that sum to 1, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.EnsembleTemperatureScaling(2.0, [0.0, 0.0, 1.0])
        >>> [round(float(z), 4) for z in layer(np.array([[4.0, 1.0]], "float32"))[0]]
        [-0.6931, -0.6931]

    Source:
        Zhang, Kailkhura and Han, 2020, eq. 8.
    """

    def __init__(
        self, temperature: float, weights: list[float], inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        log_temperature = np.log(check_positive("temperature", temperature))
        self.log_temperature = self.freeze("log_temperature", np.asarray(log_temperature))
        self.mixture = self.freeze("mixture", check_simplex("weights", weights, 3))
        self.finish(None)

    @property
    def temperature(self) -> float:
        """The current temperature."""
        return float(np.exp(listed(self.log_temperature)))

    def map(self, logits: Tensor) -> Tensor:
        temperature = ops.cast(ops.exp(self.log_temperature), logits.dtype)
        return functional.ensemble_map(logits, temperature, ops.cast(self.mixture, logits.dtype))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "weights": listed(self.mixture),
        }
