"""Variants of the focal loss, for `model.compile`. `GammaScheduler` changes their gamma too."""

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_at_least
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.losses._base import ClassificationLoss, FocalLoss, Gamma


@keras.saving.register_keras_serializable(package="keras_focal")
class DualFocalCrossentropy(FocalLoss, ClassificationLoss):
    """Dual focal loss: -(1 - p_t + p_j)^gamma log p_t.

    p_j is the largest probability strictly below p_t, or 0 if there is none. Focal loss can make
    predictions under-confident; this loss counteracts it by widening the margin between the true
    class and the class ranked next below it.

    Args:
        gamma: Focusing exponent: a number >= 0, a rule from `keras_focal.gammas` with gammas >= 0,
            or "FLSD-53" or "FLSD-532". 0 gives cross-entropy.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K), whose largest
            entry is the true class. An id outside [0, K) raises a ValueError where it can be read,
            and gives NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; shapes do not match;
            float ids are not whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.DualFocalCrossentropy(gamma=2.0, from_logits=True)
        >>> round(float(loss([0], [[1.0, 0.0, -1.0]])), 4)
        0.1369

    Source:
        Tao et al., 2023, "Dual Focal Loss for Calibration".
    """

    own_arguments = ("gamma", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dual_focal_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.dual_focal_crossentropy(labels, logits, gamma=self._traced_gamma())


@keras.saving.register_keras_serializable(package="keras_focal")
class PolyLoss(FocalLoss, ClassificationLoss):
    """Poly-1 loss: -(1 - p_t)^gamma log p_t + epsilon (1 - p_t)^(gamma + 1).

    This changes the first coefficient of the series of the focal loss in 1 - p_t: epsilon > 0
    increases the gradient of samples that are already nearly correct, epsilon < 0 reduces it.

    Args:
        gamma: 0 (the default) for Poly-1 cross-entropy; for Poly-1 focal loss a number > 0, a rule
            from `keras_focal.gammas` with gammas >= 0, or "FLSD-53" or "FLSD-532".
        epsilon: Number >= -1; 0 gives the focal loss itself. The source uses about 2 for ImageNet
            and -1 for detection.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; epsilon is less than -1
            or not finite; shapes do not match; float ids are not whole numbers (where the loss is
            called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.PolyLoss(epsilon=2.0, from_logits=True)
        >>> round(float(loss([0], [[0.0, 0.0]])), 4)
        1.6931

    Source:
        Leng et al., 2022, "PolyLoss", Poly-1.
    """

    own_arguments = ("gamma", "epsilon", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 0.0,
        epsilon: float = 1.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "poly_loss",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.epsilon = check_at_least("epsilon", epsilon, -1)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.poly_focal_crossentropy(
            labels, logits, gamma=self._traced_gamma(), epsilon=self.epsilon
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class FocalCalibrationLoss(FocalLoss, ClassificationLoss):
    """Focal calibration loss (FCL): focal loss + weight * sum_c (p_c - q_c)^2.

    The Brier term corrects the under-confidence that focal loss can cause.

    Args:
        gamma: Focusing exponent: a number >= 0, a rule from `keras_focal.gammas`, or "FLSD-53" or
            "FLSD-532".
        weight: Number >= 0; 0 gives focal loss.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; weight is negative or not
            finite; shapes do not match; float ids are not whole numbers (where the loss is called
            eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.FocalCalibrationLoss(gamma=0.0, from_logits=True)
        >>> round(float(loss([0], [[0.0, 0.0]])), 4)
        1.1931

    Source:
        Liang et al., 2024, "Calibrating Deep Neural Network using Euclidean Distance".
    """

    own_arguments = ("gamma", "weight", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        weight: float = 1.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "focal_calibration_loss",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.weight = check_at_least("weight", weight, 0)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.focal_calibration_loss(
            labels, logits, gamma=self._traced_gamma(), weight=self.weight
        )
