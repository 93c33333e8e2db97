"""Cross-entropies that hold confidence down, for `model.compile`."""

from typing import Any

import keras

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_at_least, check_fraction
from keras_focal.functional._inputs.labels import Labels
from keras_focal.losses._base import ClassificationLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class LabelSmoothingCrossentropy(ClassificationLoss):
    """Cross-entropy against the paper's smoothed labels, (1 - s) q + s (1 - q) / (K - 1).

    The wrong classes share s. Keras spreads s over all K classes: its `label_smoothing` of
    s K / (K - 1) is the same loss.

    Args:
        label_smoothing: s in [0, 1); 0 gives cross-entropy. The paper's LS-0.05 is the default.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or an id that marks entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` where it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default; computed in float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K). An id outside [0,
            K) is a ValueError where it can be read, else NaN.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If label_smoothing is not in [0, 1); shapes cannot match; float ids are not
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

    def __init__(
        self,
        label_smoothing: float = 0.05,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "label_smoothing_crossentropy",
        dtype: Any = None,
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

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return functional.label_smoothing_crossentropy(
            labels, logits, label_smoothing=self.label_smoothing
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class EntropyRegularizedCrossentropy(ClassificationLoss):
    """Cross-entropy minus weight * H(p): a confident prediction pays for its low entropy.

    The confidence penalty. Focal loss of gamma >= 1 is never less than this with weight gamma.

    Args:
        weight: Number >= 0; 0 gives cross-entropy. 0.1 to 2 in the source.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or an id that marks entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` where it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default; computed in float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K). An id outside [0,
            K) is a ValueError where it can be read, else NaN.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= -weight * log K in nats, float32 (or float64).

    Raises:
        ValueError: If weight is negative or not finite; shapes cannot match; float ids are not
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

    def __init__(
        self,
        weight: float = 0.1,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "entropy_regularized_crossentropy",
        dtype: Any = None,
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

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return functional.entropy_regularized_crossentropy(labels, logits, weight=self.weight)


@keras.saving.register_keras_serializable(package="keras_focal")
class MarginLabelSmoothingCrossentropy(ClassificationLoss):
    """Cross-entropy + weight * sum_c max(0, max_j z_j - z_c - margin), "MbLS".

    Pays only for logits further than `margin` below the largest, where label smoothing pulls all
    of them together.

    Args:
        weight: Number >= 0; 0 gives cross-entropy.
        margin: Number >= 0, a distance of logits.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities, whose logarithms
            then are the logits.
        ignore_class: None, or an id that marks entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` where it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default; computed in float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K). An id outside [0,
            K) is a ValueError where it can be read, else NaN.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0, float32 (or float64).

    Raises:
        ValueError: If weight or margin is negative or not finite; shapes cannot match; float ids
            are not whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.MarginLabelSmoothingCrossentropy(from_logits=True)
        >>> round(float(loss([0], [[20.0, 0.0]])), 4)
        1.0

    Source:
        Liu et al., 2022, "The Devil is in the Margin". The sum over classes is the paper's; its
        code takes their mean: divide `weight` by K for that.
    """

    own_arguments = ("weight", "margin", "ignore_class")

    def __init__(
        self,
        weight: float = 0.1,
        margin: float = 10.0,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "margin_label_smoothing_crossentropy",
        dtype: Any = None,
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

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return functional.margin_smoothing_crossentropy(
            labels, logits, weight=self.weight, margin=self.margin
        )
