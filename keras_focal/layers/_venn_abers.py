"""Venn-Abers calibration: two step functions of the log-odds, and what they merge to.

Weights are log(1 - p0) and log p1: of p0 itself, 1 - p0 would lose its digits near 1.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.maps import check_lengths, check_non_decreasing, check_table
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
        lower_edges: Log-odds log(p / (1 - p)) at which p0 steps, K non-decreasing rows of M finite
            numbers; one row for binary logits of shape (..., 1). Steps are [a, b).
        lower: p0, K non-decreasing rows of M + 1 numbers in [0, 1).
        upper_edges: Log-odds at which p1 steps, K rows likewise. Steps are (a, b].
        upper: p1, K non-decreasing rows of one more, in (0, 1].
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
        ...     [[0.0]], [[0.0, 0.5]], [[0.0]], [[0.25, 1.0]])
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
        lower_edges: list[list[float]],
        lower: list[list[float]],
        upper_edges: list[list[float]],
        upper: list[list[float]],
        inputs: str = "logits",
        **kwargs: Any,
    ):
        super().__init__(inputs, **kwargs)
        low = check_table({"lower_edges": lower_edges, "lower": lower}, 1)
        high = check_table({"upper_edges": upper_edges, "upper": upper}, 1)
        check_lengths(lower=low["lower"], upper=high["upper"])
        for name, values in (("lower", low["lower"]), ("upper", high["upper"])):
            check_non_decreasing(name, values)
        is_open = bool(np.all(low["lower"] < 1))
        check_that("lower", lower, "numbers < 1", is_open, "p0 of a finite sample is below 1.")
        is_open = bool(np.all(high["upper"] > 0))
        check_that("upper", upper, "numbers > 0", is_open, "p1 of a finite sample is above 0.")
        self.lower_edges = self.freeze("lower_edges", low["lower_edges"])
        self.log_q0 = self.freeze("log_q0", np.log1p(-low["lower"]))
        self.upper_edges = self.freeze("upper_edges", high["upper_edges"])
        self.log_p1 = self.freeze("log_p1", np.log(high["upper"]))
        self.finish(len(low["lower"]))

    def tables(self, dtype: Any) -> tuple[Tensor, ...]:
        parts = (self.lower_edges, self.log_q0, self.upper_edges, self.log_p1)
        return tuple(ops.cast(part, dtype) for part in parts)

    def map(self, logits: Tensor) -> Tensor:
        return functional.venn_abers_map(logits, *self.tables(logits.dtype))

    def interval(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return p0 and p1, p0 <= p1, of each class against the rest.

        One of them is calibrated: the true label, had it been in the data of the fit, picks it. Of
        `"cross_venn_abers"` they are 1 - the geometric mean of 1 - p0, and that of p1.

        Args:
            inputs: Tensor, shape (..., K), of what the layer takes.

        Returns:
            Two tensors of the shape of `inputs`, float32 or float64, in [0, 1). They are not
            normalised over the classes.
        """
        logits = self.logits(ops.convert_to_tensor(inputs))
        log_q0, log_p1 = venn_abers_logs(logits, *self.tables(logits.dtype))
        return -ops.expm1(log_q0), ops.exp(log_p1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "lower_edges": listed(self.lower_edges),
            "lower": (-np.expm1(listed(self.log_q0))).tolist(),
            "upper_edges": listed(self.upper_edges),
            "upper": np.exp(listed(self.log_p1)).tolist(),
        }
