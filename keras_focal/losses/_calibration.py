"""Losses that measure calibration, for `model.compile`: Brier and MMCE."""

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.numbers import check_at_least
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.functional.losses._mmce import FORMS
from keras_focal.losses._base import ClassificationLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class BrierLoss(ClassificationLoss):
    """Brier loss: sum_c (p_c - q_c)^2, in [0, 2].

    A proper score like cross-entropy, but bounded: the gradient of a badly misclassified sample is
    close to 0.

    Args:
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
        Loss in [0, 2], float32 (or float64).

    Raises:
        ValueError: If shapes do not match; float ids are not whole numbers (where the loss is
            called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.BrierLoss(from_logits=True)
        >>> round(float(loss([0, 1], [[0.0, 0.0], [0.0, 0.0]])), 4)
        0.5

    Source:
        Brier, 1950; Mukhoti et al., 2020, section 5.1.
    """

    own_arguments = ("ignore_class",)
    takes_probabilities = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "brier_loss",
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

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.brier_loss(labels, logits)


@keras.saving.register_keras_serializable(package="keras_focal")
class MMCELoss(ClassificationLoss):
    """Cross-entropy + weight * MMCE, the maximum mean calibration error of the batch.

    MMCE measures the distance between confidence and accuracy and is one number for the whole
    batch. The loss of each prediction is its cross-entropy plus weight * MMCE, so that the mean is
    the mean cross-entropy plus weight * MMCE. Sample weights and masks apply to both. With several
    replicas, each uses the MMCE of its own part of the batch.

    Args:
        weight: Number >= 0. The paper uses 2 for images and 8 for text. 0 gives cross-entropy.
        form: "published" (Kumar et al., over all pairs of the batch), "weighted" (their form that
            averages correct and wrong predictions separately), or "repository" (what the code of
            Mukhoti et al. computes). See `functional.maximum_mean_calibration_error`.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest
            entry is the true class. An id outside [0, K) raises a ValueError where it can be read,
            and gives NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0, float32 (or float64).

    Raises:
        ValueError: If weight is negative or not finite; form is unknown; shapes do not match;
            float ids are not whole numbers (where the loss is called eagerly).

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.MMCELoss(from_logits=True)
        >>> round(float(loss([0], [[0.0, 0.0]])), 4)
        1.6931

    Source:
        Kumar et al., 2018; Mukhoti et al., 2020, section 5.1.
    """

    own_arguments = ("weight", "form", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        weight: float = 2.0,
        form: str = "published",
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mmce_loss",
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
        check_choice("form", form, FORMS)
        self.form = form

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        distance = functional.maximum_mean_calibration_error(
            labels, logits, sample_weight=labels.weights, form=self.form
        )
        return functional.focal_crossentropy(labels, logits, gamma=0.0) + self.weight * distance
