"""Temperature scaling as a layer, saved and exported with the model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_positive
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class TemperatureScaling(CalibrationMap):
    """Divide logits by a temperature: T > 1 lowers every confidence, the order stays.

    The temperature is a frozen weight, kept as log T in float32, so that a saved or exported model
    carries it. `keras_focal.calibration.calibrate` fits it on held-out data.

    Args:
        temperature: Finite number > 0.
        inputs: "logits", or "probabilities" of a softmax, K >= 2, or of a sigmoid, K = 1, which
            are turned back into logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K); the same. The output is logits: a softmax or sigmoid follows.

    Raises:
        ValueError: If the temperature is not a finite number > 0, or another argument unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.TemperatureScaling(2.0)
        >>> [float(z) for z in layer(np.array([[4.0, 1.0]], "float32"))[0]]
        [2.0, 0.5]

    Source:
        Guo et al., 2017, eq. 9.
    """

    def __init__(self, temperature: float = 1.0, inputs: str = "logits", **kwargs: Any):
        super().__init__(inputs, **kwargs)
        log_temperature = np.log(check_positive("temperature", temperature))
        self.log_temperature = self.freeze("log_temperature", np.asarray(log_temperature))
        self.finish(None)

    @property
    def temperature(self) -> float:
        """The temperature now."""
        return float(np.exp(listed(self.log_temperature)))

    def map(self, logits: Tensor) -> Tensor:
        return functional.scale_logits(logits, ops.exp(self.log_temperature))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
