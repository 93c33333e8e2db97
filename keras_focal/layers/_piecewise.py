"""Histogram binning and isotonic regression: tables of probabilities over log-odds.

Tables use log-odds rather than probabilities, which coincide in float32 near 1.
"""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_finite, check_non_decreasing, check_table
from keras_focal.layers._base import CalibrationMap, listed


class _Piecewise(CalibrationMap):
    """Tables of probabilities over log-odds, one for each class."""

    def tables(self, dtype: Any) -> tuple[Tensor, Tensor]:
        return ops.cast(self.edges, dtype), ops.cast(self.values, dtype)

    def store(self, name: str, edges: Any, values: Any, fewer: int) -> None:
        table = check_table({name: edges, "values": values}, fewer)
        self.edges, self.values = (self.freeze(*each) for each in table.items())
        self.finish(len(table["values"]))


@keras.saving.register_keras_serializable(package="keras_focal")
class HistogramBinning(_Piecewise):
    """Histogram binning: the probability of each class is the frequency in its bin of log-odds.

    Several classes are normalised to sum 1. Top classes can tie or change, so the accuracy can
    change, and the gradient is 0. `keras_focal.calibration.fit_map(..., method="histogram")` fits
    it.

    Args:
        edges: Inner edges as log-odds log(p / (1 - p)), K non-decreasing rows of M - 1 finite
            numbers; one row for binary logits of shape (..., 1). Bins are (a, b].
        values: Probabilities in [0, 1], K rows of M. Below 2**-126 they count as that.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the values by
        their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, edges decrease, a value is not in [0, 1], the shapes
            do not match, or `inputs` is unknown.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> layer = keras_focal.layers.HistogramBinning([[0.0]], [[0.25, 0.75]])
        >>> p = keras.ops.sigmoid(layer(np.array([[-3.0], [9.0]], "float32")))
        >>> [round(float(x), 4) for x in p[:, 0]]
        [0.25, 0.75]

    Source:
        Zadrozny and Elkan, 2001.
    """

    def __init__(
        self,
        edges: list[list[float]],
        values: list[list[float]],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        self.store("edges", edges, values, fewer=1)

    def map(self, logits: Tensor) -> Tensor:
        return functional.piecewise_constant_map(logits, *self.tables(logits.dtype))

    def get_config(self) -> dict[str, Any]:
        tables = {"edges": listed(self.edges), "values": listed(self.values)}
        return {**super().get_config(), **tables}


@keras.saving.register_keras_serializable(package="keras_focal")
class IsotonicRegression(_Piecewise):
    """Isotonic regression: a non-decreasing function of the log-odds, linear between knots.

    For one column the order of samples is preserved except for ties. Several classes are normalised
    to sum 1, and the top class can change. `keras_focal.calibration.fit_map(...,
    method="isotonic")` fits it with scikit-learn.

    Args:
        knots: Log-odds log(p / (1 - p)), K non-decreasing rows of M finite numbers; one row for
            binary logits of shape (..., 1). Equal knots make a jump.
        values: Probabilities in [0, 1] at the knots, K non-decreasing rows of M. The function is
            constant beyond the first and the last knot. Below 2**-126 values count as that.
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the values by
        their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, knots or values decrease, a value is not in [0, 1],
            the shapes do not match, or `inputs` is unknown.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> layer = keras_focal.layers.IsotonicRegression([[0.0, 2.0]], [[0.25, 0.75]])
        >>> p = keras.ops.sigmoid(layer(np.array([[-3.0], [1.0]], "float32")))
        >>> [round(float(x), 4) for x in p[:, 0]]
        [0.25, 0.5]

    Source:
        Zadrozny and Elkan, 2002.
    """

    def __init__(
        self,
        knots: list[list[float]],
        values: list[list[float]],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        self.store(
            "knots", knots, check_non_decreasing("values", check_finite("values", values, 2)), 0
        )

    def map(self, logits: Tensor) -> Tensor:
        return functional.piecewise_linear_map(logits, *self.tables(logits.dtype))

    def get_config(self) -> dict[str, Any]:
        tables = {"knots": listed(self.edges), "values": listed(self.values)}
        return {**super().get_config(), **tables}
