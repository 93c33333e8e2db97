"""Base classes of the layers."""

from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal._host import least_probability
from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal.functional._backend.precision import compute_dtype
from keras_focal.functional.maps._export import logits_of


class FrozenLayer(keras.layers.Layer):
    """A layer of logits or probabilities with frozen float32 weights."""

    def __init__(self, inputs: str = "logits", **kwargs: Any):
        # Not cast before `call`, which reads from the dtype what a probability of 0 counts as.
        super().__init__(autocast=False, **kwargs)
        check_choice("inputs", inputs, ("logits", "probabilities"))
        self.inputs = inputs
        self.supports_masking = True

    def freeze(self, name: str, value: np.ndarray) -> Any:
        """Add and return a frozen weight."""
        return self.add_weight(
            shape=value.shape,
            initializer=lambda shape, dtype: ops.cast(ops.convert_to_tensor(value), dtype),
            trainable=False,
            dtype="float32",
            autocast=False,
            name=name,
        )

    def finish(self, num_classes: int | None) -> None:
        """Finish building: accept inputs of `num_classes` classes, or of any number if None."""
        axes = {} if num_classes is None else {-1: num_classes}
        self.input_spec = keras.layers.InputSpec(min_ndim=1, axes=axes)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inputs": self.inputs}


class CalibrationMap(FrozenLayer):
    """A map computed in float32 or better.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, or a sigmoid if K = 1.
    """

    @abstractmethod
    def map(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of float32 or float64 logits."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Return float32 or float64 logits of what the layer takes."""
        if self.inputs == "logits":
            return ops.cast(inputs, compute_dtype(inputs.dtype))
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        return logits_of(inputs, least_probability(dtype, is_binary=inputs.shape[-1] == 1))

    def call(self, inputs: Tensor) -> Tensor:
        return ops.cast(self.map(self.logits(inputs)), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


def listed(weight: Any) -> Any:
    """Return a weight as a float or nested lists of floats."""
    return ops.convert_to_numpy(weight).astype("float64").tolist()
