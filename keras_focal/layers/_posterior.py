"""The class posterior of a focal-trained model as a layer, saved and exported with the model."""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._validation import check_choice, check_posterior_gamma

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_focal")
class FocalPosterior(keras.layers.Layer):
    """Turn the logits of a focal-trained model into logits of the class posterior.

    A focal loss is minimised by probabilities flatter than the true ones; this undoes it, without
    held-out data. The order of the classes, and so the accuracy, stays. After a
    `TemperatureScaling` it is focal temperature scaling, whose two numbers
    `keras_focal.calibration.fit_focal_temperature` finds. Gamma is a frozen weight in float32, so
    that a saved or exported model carries it.

    Args:
        gamma: Finite number > -1: that of the loss, >= 0, or as fitted. 0 changes nothing. For a
            gamma that changed in training or by sample no such map is known: fit one.
        inputs: "logits", or "probabilities" of a softmax, K >= 2, or of a sigmoid, K = 1, which
            are turned back into logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K); the same. The output is logits, the largest 0: a softmax or sigmoid follows.
        K = 1 is the positive class of two.

    Raises:
        ValueError: If gamma is <= -1 or not finite, or another argument unknown.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> layer = keras_focal.layers.FocalPosterior(gamma=3.0)
        >>> posterior = keras.ops.softmax(layer(np.array([[0.45, 0.0]], "float32")))
        >>> [round(float(p), 3) for p in posterior[0]]
        [0.836, 0.164]

    Source:
        Charoenphakdee et al., 2021, Theorem 11.
    """

    def __init__(self, gamma: float = 2.0, inputs: str = "logits", **kwargs: Any):
        super().__init__(**kwargs)
        check_choice("inputs", inputs, ("logits", "probabilities"))
        self.inputs = inputs
        self._gamma = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(check_posterior_gamma("gamma", gamma)),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="gamma",
        )
        self.supports_masking = True
        self.built = True

    @property
    def gamma(self) -> float:
        """The gamma now."""
        return float(ops.convert_to_numpy(self._gamma))

    def call(self, inputs: Tensor) -> Tensor:
        logits = inputs
        if self.inputs == "probabilities":
            logits = (
                functional.logits_from_binary_probabilities(inputs)
                if inputs.shape[-1] == 1
                else functional.logits_from_probabilities(inputs)
            )
        return ops.cast(functional.focal_posterior(logits, self._gamma), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "inputs": self.inputs}
