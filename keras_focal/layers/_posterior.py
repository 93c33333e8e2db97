"""The class posterior of a focal-trained model as a layer, saved and exported with the model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.gamma import check_posterior_gamma
from keras_focal._validation.numbers import check_positive
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class FocalPosterior(CalibrationMap):
    """Turn the logits of a focal-trained model into logits of the class posterior.

    A focal loss is minimised by probabilities flatter than the true ones; this undoes it, without
    held-out data. The order of the classes, and so the accuracy, stays. With a temperature, which
    divides the logits first, it is focal temperature scaling, whose two numbers
    `keras_focal.calibration.fit_focal_temperature` finds.

    Args:
        gamma: Finite number > -1: that of the loss, >= 0, or as fitted. 0 changes nothing. For a
            gamma that changed in training or by sample no such map is known: fit one.
        temperature: T, a finite number > 0.
        inputs: "logits", or "probabilities" of a softmax, K >= 2, or of a sigmoid, K = 1, which
            are turned back into logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K); the same. The output is logits, the largest 0: a softmax or sigmoid follows.
        K = 1 is the positive class of two.

    Raises:
        ValueError: If gamma is <= -1 or not finite, the temperature is not a finite number > 0, or
            `inputs` is unknown.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> layer = keras_focal.layers.FocalPosterior(gamma=3.0)
        >>> posterior = keras.ops.softmax(layer(np.array([[0.45, 0.0]], "float32")))
        >>> [round(float(p), 3) for p in posterior[0]]
        [0.836, 0.164]

    Source:
        Charoenphakdee et al., 2021; Komisarenko and Kull, 2024.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        temperature: float = 1.0,
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        log_temperature = np.log(check_positive("temperature", temperature))
        self.log_temperature = self.freeze("log_temperature", np.asarray(log_temperature))
        self._gamma = self.freeze("gamma", np.asarray(check_posterior_gamma("gamma", gamma)))
        self.finish(None)

    @property
    def gamma(self) -> float:
        """The gamma now."""
        return float(listed(self._gamma))

    @property
    def temperature(self) -> float:
        """The temperature now."""
        return float(np.exp(listed(self.log_temperature)))

    def map(self, logits: Tensor) -> Tensor:
        scaled = functional.scale_logits(logits, ops.exp(self.log_temperature))
        return functional.focal_posterior(scaled, self._gamma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "temperature": self.temperature}
