"""Temperature scaling as a layer."""

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
    """Temperature scaling: logits / T. T > 1 lowers every confidence.

    The order of the classes is preserved. The temperature is a frozen weight, stored as log T in
    float32, so it is part of a saved or exported model. `keras_focal.calibration.calibrate` fits it
    on held-out data.

    Args:
        temperature: Finite number > 0, or a list of K of them: one for each of K independent
            labels, each with a sigmoid of its own.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1), which are
            converted to logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax or a sigmoid to it.

    Raises:
        ValueError: If a temperature is not a finite number > 0, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.TemperatureScaling(2.0)
        >>> [float(z) for z in layer(np.array([[4.0, 1.0]], "float32"))[0]]
        [2.0, 0.5]

    Source:
        Guo et al., 2017, eq. 9.
    """

    def __init__(
        self, temperature: float | list[float] = 1.0, inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        given: Any = temperature
        is_list = np.ndim(given) == 1 and len(given) > 0
        of_each = [check_positive("temperature", each) for each in (given if is_list else [given])]
        log_temperature = np.log(of_each if is_list else of_each[0])
        self.log_temperature = self.freeze("log_temperature", np.asarray(log_temperature))
        self.finish(len(of_each) if is_list else None)

    @property
    def temperature(self) -> float | list[float]:
        """The current temperature, or the list of them."""
        return np.exp(listed(self.log_temperature)).tolist()

    def map(self, logits: Tensor) -> Tensor:
        return functional.scale_logits(logits, ops.exp(self.log_temperature))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
