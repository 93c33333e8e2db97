"""Cross-entropies that reduce confidence, for `model.compile`."""

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_at_least, check_fraction
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.losses._base import ClassificationLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class LabelSmoothingCrossentropy(ClassificationLoss):
    """Cross-entropy with label smoothing as in the paper: (1 - s) q + s (1 - q) / (K - 1).

    The wrong classes share s. In Keras all K classes share it: `label_smoothing` s K / (K - 1)
    there gives the same loss.

    Args:
        label_smoothing: s in [0, 1); 0 gives cross-entropy. The default is LS-0.05 in the paper.
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
        ValueError: If label_smoothing is not in [0, 1); shapes do not match; float ids are not
            whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.LabelSmoothingCrossentropy(from_logits=True)
        >>> round(float(loss([0], [[2.0, 0.0, 0.0]])), 4)
        0.3395

    Source:
        Mukhoti et al., 2020, section 5.1 ("LS-0.05"); Szegedy et al., 2016.
    """

    own_arguments = ("label_smoothing", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        label_smoothing: float = 0.05,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "label_smoothing_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.label_smoothing_crossentropy(
            labels, logits, label_smoothing=self.label_smoothing
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class EntropyRegularizedCrossentropy(ClassificationLoss):
    """Cross-entropy - weight * H(p), which penalises confident predictions.

    H(p) is the entropy of the prediction. This loss is a lower bound of the focal loss with
    gamma = weight >= 1.

    Args:
        weight: Number >= 0; 0 gives cross-entropy. The source uses 0.1 to 2.
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
        Loss >= -weight * log K in nats, float32 (or float64).

    Raises:
        ValueError: If weight is negative or not finite; shapes do not match; float ids are not
            whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.EntropyRegularizedCrossentropy(0.5, from_logits=True)
        >>> round(float(loss([0], [[0.0, 0.0]])), 4)
        0.3466

    Source:
        Pereyra et al., 2017, section 3; Mukhoti et al., 2020, eq. 4.
    """

    own_arguments = ("weight", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        weight: float = 0.1,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "entropy_regularized_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.weight = check_at_least("weight", weight, 0)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.entropy_regularized_crossentropy(labels, logits, weight=self.weight)


@keras.saving.register_keras_serializable(package="keras_focal")
class MarginLabelSmoothingCrossentropy(ClassificationLoss):
    """Margin-based label smoothing (MbLS) of the logits z.

    Cross-entropy + weight * sum_c max(0, max_j z_j - z_c - margin). The penalty applies only to
    logits more than `margin` below the largest, whereas label smoothing penalises all distances
    between logits.

    Args:
        weight: Number >= 0; 0 gives cross-entropy.
        margin: Number >= 0, a distance between logits.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities, whose logarithms
            are then the logits.
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
        ValueError: If weight or margin is negative or not finite; shapes do not match; float ids
            are not whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.MarginLabelSmoothingCrossentropy(from_logits=True)
        >>> round(float(loss([0], [[20.0, 0.0]])), 4)
        1.0

    Source:
        Liu et al., 2022, "The Devil is in the Margin". The sum over classes follows that paper; its
        code uses the mean over classes, which is `weight` / K here.
    """

    own_arguments = ("weight", "margin", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        weight: float = 0.1,
        margin: float = 10.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "margin_label_smoothing_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.weight = check_at_least("weight", weight, 0)
        self.margin = check_at_least("margin", margin, 0)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.margin_smoothing_crossentropy(
            labels, logits, weight=self.weight, margin=self.margin
        )
