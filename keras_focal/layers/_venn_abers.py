"""Venn-Abers calibration: two step functions of the log-odds, and what they are merged to.

Weights are log(1 - p0) and log p1: of p0 itself, 1 - p0 would lose its digits near 1.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_non_decreasing, check_table
from keras_focal._validation.numbers import check_that
from keras_focal.functional.maps._maps import venn_abers_logs
from keras_focal.layers._base import CalibrationMap, listed


@keras.saving.register_keras_serializable(package="keras_focal")
class VennAbersCalibration(CalibrationMap):
    """Venn-Abers calibration: p1 / (1 - p0 + p1), where p0 and p1 bracket the probability.

    Isotonic regression gives a prediction p0 if it joins the data of the fit with the label 0, and
    p1 with the label 1. The width p1 - p0 says how little the data know there: `interval` returns
    both. Unlike isotonic regression it never says 0 or 1. For one column the order of samples is
    preserved except for ties. Several classes are normalised to sum 1, and the top class can
    change. The gradient is 0. `keras_focal.calibration.fit_map(..., method="venn_abers")` fits it
    (inductive), or `"cross_venn_abers"`, the geometric mean over folds.

    Args:
        edges: Log-odds log(p / (1 - p)) at which p0 or p1 steps, K non-decreasing rows of M finite
            numbers; one row for binary logits of shape (..., 1). Steps are (a, b].
        lower: p0, K non-decreasing rows of M + 1 numbers in [0, 1).
        upper: p1, K non-decreasing rows of M + 1 numbers in (0, 1].
        inputs: "logits", or "probabilities" of a softmax (K >= 2) or a sigmoid (K = 1).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        (..., K), unchanged. The output is logits: apply a softmax, which divides the merged
        probabilities by their sum, or a sigmoid if K = 1.

    Raises:
        ValueError: If a number is not finite, edges or probabilities decrease, one of `lower` is
            not in [0, 1) or of `upper` not in (0, 1], the shapes do not match, or `inputs` is
            unknown.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> layer = keras_focal.layers.VennAbersCalibration(
        ...     [[0.0]], [[0.0, 0.5]], [[0.25, 1.0]])
        >>> p = keras.ops.sigmoid(layer(np.array([[-3.0], [9.0]], "float32")))
        >>> [round(float(x), 4) for x in p[:, 0]]
        [0.2, 0.6667]
        >>> p0, p1 = layer.interval(np.array([[9.0]], "float32"))
        >>> float(p0[0, 0]), float(p1[0, 0])
        (0.5, 1.0)

    Source:
        Vovk, Petej and Fedorova, 2015, "Large-scale probabilistic predictors with and without
        guarantees of validity", sections 2 to 4.
    """

    def __init__(
        self,
        edges: list[list[float]],
        lower: list[list[float]],
        upper: list[list[float]],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        table = check_table({"edges": edges, "lower": lower}, 1)
        table |= check_table({"edges": edges, "upper": upper}, 1)
        for name in ("lower", "upper"):
            check_non_decreasing(name, table[name])
        fix = "A finite sample leaves p0 below 1 and p1 above 0."
        check_that("lower", lower, "numbers < 1", bool(np.all(table["lower"] < 1)), fix)
        check_that("upper", upper, "numbers > 0", bool(np.all(table["upper"] > 0)), fix)
        self.edges = self.freeze("edges", table["edges"])
        self.log_q0 = self.freeze("log_q0", np.log1p(-table["lower"]))
        self.log_p1 = self.freeze("log_p1", np.log(table["upper"]))
        self.finish(len(table["edges"]))

    def tables(self, dtype: Any) -> tuple[Tensor, ...]:
        return tuple(ops.cast(part, dtype) for part in (self.edges, self.log_q0, self.log_p1))

    def map(self, logits: Tensor) -> Tensor:
        return functional.venn_abers_map(logits, *self.tables(logits.dtype))

    def interval(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return p0 and p1, p0 <= p1, of each class against the rest.

        The one that belongs to the true label is perfectly calibrated, if the predictions are
        exchangeable with those of the fit (inductive; one column). Of `"cross_venn_abers"` they are
        1 - the geometric mean of 1 - p0 over the folds, and that of p1, without such a guarantee.

        Args:
            inputs: Tensor, shape (..., K), of what the layer takes.

        Returns:
            Two tensors of the shape of `inputs`, float32 or float64, in [0, 1]. They are not
            normalised over the classes.
        """
        logits = self.logits(ops.convert_to_tensor(inputs))
        log_q0, log_p1 = venn_abers_logs(logits, *self.tables(logits.dtype))
        return -ops.expm1(log_q0), ops.exp(log_p1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "edges": listed(self.edges),
            "lower": (-np.expm1(listed(self.log_q0))).tolist(),
            "upper": np.exp(listed(self.log_p1)).tolist(),
        }
