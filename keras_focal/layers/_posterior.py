"""The class posterior of a model trained with a focal loss, as a layer."""

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
    """Convert the logits of a model trained with a focal loss to logits of the class posterior.

    The minimiser of a focal loss is flatter than the class posterior; this layer inverts that map,
    without held-out data. It preserves the order of the classes, and therefore the accuracy. With a
    temperature, which divides the logits first, it is focal temperature scaling, fitted by
    `keras_focal.calibration.fit_focal_temperature`.

    Args:
        gamma: Finite number > -1: the gamma of the loss, >= 0, or a fitted one. 0 changes nothing.
            If gamma changed during training or between samples, no such map is known: fit one.
        temperature: T, a finite number > 0.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1), which are
            converted to logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits, of which the largest is 0: apply a softmax to it.
        K = 1 is the positive class of two: apply a sigmoid.

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
        """The current gamma."""
        return float(listed(self._gamma))

    @property
    def temperature(self) -> float:
        """The current temperature."""
        return float(np.exp(listed(self.log_temperature)))

    def map(self, logits: Tensor) -> Tensor:
        scaled = functional.scale_logits(logits, ops.exp(self.log_temperature))
        return functional.focal_posterior(scaled, self._gamma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "temperature": self.temperature}
