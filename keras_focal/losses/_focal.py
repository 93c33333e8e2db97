"""Focal losses for `model.compile`: for class ids, for rows, and for independent outputs."""

import keras

from keras_focal import functional
from keras_focal._typing import ClassWeights, DType, Tensor
from keras_focal._validation.classes import check_alpha, check_alpha_length
from keras_focal._validation.numbers import check_fraction
from keras_focal.functional._inputs.labels import Labels, read_ids, read_rows, smoothed
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.losses._base import ClassificationLoss, FocalLoss, Gamma, OutputLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class SparseCategoricalFocalCrossentropy(FocalLoss, ClassificationLoss):
    """Focal loss for class ids: -alpha_t (1 - p_t)^gamma log p_t.

    Class ids are not expanded to one-hot rows. With `gamma=0` and `alpha=None` it is exactly
    cross-entropy.

    Args:
        gamma: Focusing exponent: a number >= 0; a rule that gives each sample its own, from
            `keras_focal.gammas` (`SampleDependentGamma`, `ThresholdGamma`, `ContinuousGamma`,
            `AdaptiveBins`); or the name of a rule, "FLSD-53" or "FLSD-532".
            `callbacks.GammaScheduler` changes a number by epoch, `callbacks.AdaptiveGamma` an
            `AdaptiveBins`.
        alpha: None, a weight for all classes, or a list with one weight per class.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras: their loss is 0,
            and a mean divides by the number of the other entries.
        axis: The class axis of `y_pred`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), whole numbers. An id outside [0, K) other than
            `ignore_class` raises a ValueError where it can be read, and gives NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; alpha is negative or does
            not have length K; shapes do not match; float ids are not whole numbers (where the loss
            is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.SparseCategoricalFocalCrossentropy(
        ...     gamma="FLSD-53", from_logits=True)
        >>> round(float(loss([0], [[4.0, 1.0, -1.0]])), 8)
        8.42e-06

    Source:
        Lin et al., 2017, eq. 5; Mukhoti et al., 2020, section 4.
    """

    own_arguments = ("gamma", "alpha", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        alpha: ClassWeights | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_focal_crossentropy",
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
        self.alpha = check_alpha(alpha)

    def read(self, y_true: Tensor, shape: tuple) -> Labels:
        return read_ids(y_true, shape, "y_true")

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.sparse_categorical_focal_crossentropy(
            labels, logits, gamma=self._traced_gamma(), alpha=self.alpha
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class CategoricalFocalCrossentropy(FocalLoss, ClassificationLoss):
    """Focal loss for one-hot or soft targets: -sum_c alpha_c q_c (1 - p_c)^gamma log p_c.

    With the defaults of Keras (`alpha=0.25, gamma=2.0`) it equals
    `keras.losses.CategoricalFocalCrossentropy` wherever that loss does not clip. With `gamma=0` and
    `alpha=None` it is exactly cross-entropy.

    Args:
        gamma: Focusing exponent: a number >= 0; a rule that gives each sample its own, from
            `keras_focal.gammas` (`SampleDependentGamma`, `ThresholdGamma`, `ContinuousGamma`,
            `AdaptiveBins`); or the name of a rule, "FLSD-53" or "FLSD-532".
            A rule is evaluated at the probability of each class. `callbacks.GammaScheduler` changes
            a number by epoch, `callbacks.AdaptiveGamma` an `AdaptiveBins`.
        alpha: None, a weight for all classes, or a list with one weight per class.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        label_smoothing: s in [0, 1): targets become q (1 - s) + s / K, as in Keras.
        axis: The class axis of `y_true` and `y_pred`.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Shape (..., K), >= 0: one-hot rows or distributions.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; alpha is negative or does
            not have length K; label_smoothing is not in [0, 1); shapes differ.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.CategoricalFocalCrossentropy(gamma=2.0, from_logits=True)
        >>> round(float(loss([[1.0, 0.0, 0.0]], [[0.5, 1.5, 1.0]])), 4)
        1.1125

    Source:
        Mukhoti et al., 2020, Appendix A.
    """

    own_arguments = ("gamma", "alpha", "label_smoothing")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        alpha: ClassWeights | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.alpha = check_alpha(alpha)
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)

    def read(self, y_true: Tensor, shape: tuple) -> Labels:
        labels = read_rows(y_true, shape, "y_true")
        if not self.label_smoothing:
            return labels
        return smoothed(labels, self.label_smoothing, 1.0 / shape[-1])

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.categorical_focal_crossentropy(
            labels, logits, gamma=self._traced_gamma(), alpha=self.alpha
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class BinaryFocalCrossentropy(FocalLoss, OutputLoss):
    """Focal loss for independent binary outputs, averaged over `axis`.

    -alpha q (1 - p)^gamma log p - (1 - alpha) (1 - q) p^gamma log(1 - p). For q = 0 or 1 it equals
    `keras.losses.BinaryFocalCrossentropy` with the same gamma wherever that loss does not clip
    (there, `alpha` is used only with `apply_class_balancing=True`). For soft targets q it follows
    equation 5 of the paper, whereas Keras uses a single p_t for both terms.

    Args:
        gamma: Focusing exponent: a number >= 0; a rule that gives each sample its own, from
            `keras_focal.gammas` (`SampleDependentGamma`, `ThresholdGamma`, `ContinuousGamma`,
            `AdaptiveBins`); or the name of a rule, "FLSD-53" or "FLSD-532".
            A rule is evaluated at the probability of each outcome. `callbacks.GammaScheduler`
            changes a number by epoch, `callbacks.AdaptiveGamma` an `AdaptiveBins`.
        alpha: None, or the weight in [0, 1] of the positive class (the negative class has weight
            1 - alpha), or a list with one such weight per output.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        label_smoothing: s in [0, 1): targets become q (1 - s) + s / 2, as in Keras.
        axis: Axis to average over.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Targets in [0, 1] of the shape of `y_pred`, or of that shape without a last axis of
            length 1.
        y_pred: Shape (..., K).
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; alpha is not in [0, 1] or
            does not have length K; label_smoothing is not in [0, 1); shapes differ.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True)
        >>> float(loss([[1.0]], [[-100.0]]))
        100.0

    Source:
        Lin et al., 2017, eq. 5; Mukhoti et al., 2020, eq. 5.
    """

    own_arguments = ("gamma", "alpha", "label_smoothing")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        alpha: ClassWeights | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.alpha = check_alpha(alpha, 1.0)
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)

    def of_outputs(self, targets: Labels, logits: Tensor | Predicted) -> Tensor:
        check_alpha_length(self.alpha, logits.shape[-1])
        if self.label_smoothing:
            targets = smoothed(targets, self.label_smoothing, 0.5, are_outputs=True)
        return functional.binary_focal_crossentropy(
            targets, logits, gamma=self._traced_gamma(), alpha=self.alpha
        )
