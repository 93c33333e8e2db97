"""Temperature scaling as a layer, saved and exported with the model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation import check_choice, check_positive

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_focal")
class TemperatureScaling(keras.layers.Layer):
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

    def __init__(
        self,
        temperature: float = 1.0,
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_choice("inputs", inputs, ("logits", "probabilities"))
        self.inputs = inputs
        self.log_temperature = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(
                float(np.log(check_positive("temperature", temperature)))
            ),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="log_temperature",
        )
        self.supports_masking = True
        self.built = True

    @property
    def temperature(self) -> float:
        """The temperature now."""
        return float(np.exp(ops.convert_to_numpy(self.log_temperature).astype("float64")))

    def call(self, inputs: Tensor) -> Tensor:
        logits = ops.cast(inputs, functional.compute_dtype(inputs.dtype))
        if self.inputs == "probabilities":
            logits = (
                functional.logits_from_binary_probabilities(inputs)
                if inputs.shape[-1] == 1
                else functional.logits_from_probabilities(inputs)
            )
        scaled = functional.scale_logits(logits, ops.exp(self.log_temperature))
        return ops.cast(scaled, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "inputs": self.inputs,
        }
