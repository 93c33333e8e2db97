"""Vector scaling, matrix scaling and Dirichlet calibration: linear maps W z + b."""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_finite, check_lengths
from keras_focal.functional.maps._maps import log_probabilities
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class VectorScaling(CalibrationMap):
    """Vector scaling: w z + b, with a factor and an offset for each logit.

    The top class can change, and the result depends on constants added to all logits of a row.
    `keras_focal.calibration.fit_map(..., method="vector")` fits it on held-out data.

    Args:
        scale: w, a list of K finite numbers; one for binary logits of shape (..., 1).
        bias: b, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1), which are
            converted to logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax or a sigmoid to it.

    Raises:
        ValueError: If a number is not finite, the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.VectorScaling([0.5, 1.0], [0.0, 1.0])
        >>> [float(z) for z in layer(np.array([[4.0, 1.0]], "float32"))[0]]
        [2.0, 2.0]

    Source:
        Guo et al., 2017, section 4.2.
    """

    def __init__(
        self, scale: list[float], bias: list[float], inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        factors, offsets = check_finite("scale", scale, 1), check_finite("bias", bias, 1)
        check_lengths(scale=factors, bias=offsets)
        self.scale = self.freeze("scale", factors)
        self.bias = self.freeze("bias", offsets)
        self.finish(len(factors))

    def map(self, logits: Tensor) -> Tensor:
        scale, bias = (ops.cast(part, logits.dtype) for part in (self.scale, self.bias))
        return functional.linear_map(logits, scale, bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": listed(self.scale), "bias": listed(self.bias)}


class _Matrix(CalibrationMap):
    """A square matrix and a bias, applied to `features` of the logits."""

    def __init__(
        self, matrix: list[list[float]], bias: list[float], inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(inputs, **kwargs)
        rows, offsets = check_finite("matrix", matrix, 2), check_finite("bias", bias, 1)
        check_lengths(**{"matrix": rows, "columns of matrix": rows.T, "bias": offsets})
        self.matrix = self.freeze("matrix", rows)
        self.bias = self.freeze("bias", offsets)
        self.finish(len(offsets))

    def features(self, logits: Tensor) -> Tensor:
        return logits

    def map(self, logits: Tensor) -> Tensor:
        matrix, bias = (ops.cast(part, logits.dtype) for part in (self.matrix, self.bias))
        return functional.linear_map(self.features(logits), matrix, bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "matrix": listed(self.matrix), "bias": listed(self.bias)}


@keras.saving.register_keras_serializable(package="keras_focal")
class MatrixScaling(_Matrix):
    """Matrix scaling: W z + b, where every output depends on all logits.

    The top class can change, and the result depends on constants added to all logits of a row. The
    K^2 + K parameters need much held-out data, or the regularisation of
    `keras_focal.calibration.fit_map(..., method="matrix")`.

    Args:
        matrix: W, K rows of K finite numbers; row k gives logit k.
        bias: b, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1), which are
            converted to logits first.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax or a sigmoid to it.

    Raises:
        ValueError: If a number is not finite, the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.MatrixScaling([[0.5, 0.0], [0.5, 1.0]], [0.0, 1.0])
        >>> [float(z) for z in layer(np.array([[4.0, 1.0]], "float32"))[0]]
        [2.0, 4.0]

    Source:
        Guo et al., 2017, section 4.2.
    """


@keras.saving.register_keras_serializable(package="keras_focal")
class DirichletCalibration(_Matrix):
    """Dirichlet calibration: W log p + b, where p is the softmax of the logits.

    The top class can change. Unlike matrix scaling, the result does not depend on constants added
    to all logits of a row. `keras_focal.calibration.fit_map(..., method="dirichlet")` fits it.

    Args:
        matrix: W, K rows of K finite numbers, K >= 2; row k gives logit k.
        bias: b, a list of K finite numbers.
        inputs: "logits", or "probabilities" of a softmax.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax to it.

    Raises:
        ValueError: If K < 2, a number is not finite, the lengths differ, or `inputs` is unknown.

    Example:
        >>> import keras_focal, numpy as np
        >>> layer = keras_focal.layers.DirichletCalibration([[2.0, 0.0], [0.0, 2.0]], [0.0, 0.0])
        >>> [round(float(z), 4) for z in layer(np.array([[0.0, 0.0]], "float32"))[0]]
        [-1.3863, -1.3863]

    Source:
        Kull et al., 2019, eq. 2 (the linear form).
    """

    def __init__(
        self, matrix: list[list[float]], bias: list[float], inputs: str = "logits", **kwargs: Any
    ):
        super().__init__(matrix, bias, inputs, **kwargs)
        if self.bias.shape[0] < 2:
            raise ValueError(
                "`matrix` must have two classes or more. Received: 1. For one logit of two classes "
                "use BetaCalibration, which is the same map."
            )

    def features(self, logits: Tensor) -> Tensor:
        return log_probabilities(logits)[0]
