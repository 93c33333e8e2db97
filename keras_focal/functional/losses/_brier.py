"""The Brier loss, and its sum with a focal loss (docs/maths.md, equations L1 and L7)."""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._inputs.gamma import Gamma
from keras_focal.functional._inputs.labels import read_labels, targets_like
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._focal import focal_crossentropy
from keras_focal.functional.losses._terms import Terms, loss_of_rows


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def brier_loss(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the Brier loss sum_c (p_c - q_c)^2 of each row of logits, without reduction.

    p = softmax(logits). The loss is 0 if p = q, and 2 if a wrong class has probability 1. The
    gradient of such a badly misclassified sample is 0, unlike that of cross-entropy.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            impossible classes.

    Returns:
        Tensor of shape (...), in [0, 2]; float32 also for half-precision logits.

    Numerics:
        The relative error is a few rounding errors, also where p_t rounds to 1.

    Example:
        >>> from keras_focal import functional
        >>> round(float(functional.brier_loss([0], [[0.0, 0.0]])[0]), 4)
        0.5

    Source:
        Brier, 1950; Mukhoti et al., 2020, section 5.1.
    """

    def kernel(labels: Tensor, predicted: Predicted) -> Terms:
        of_each = predicted.of_each()
        targets = targets_like(labels, predicted)
        # p - q, computed without cancellation.
        difference = ops.where(
            targets > 0.5, (1.0 - targets) - of_each.complement, of_each.p - targets
        )
        value = ops.sum(difference * difference, axis=-1)
        mean = ops.sum(of_each.p * difference, axis=-1, keepdims=True)
        slope = 2.0 * (difference - mean)
        # The derivatives of a row by log p sum to 0, so that of the top class, where
        # `difference - mean` may cancel, is computed from the others.
        top = ops.cast(ops.argmax(predicted.values, axis=-1), "int32")
        is_top = chosen_class(top, predicted.shape[-1])
        others = ops.where(is_top, 0.0, of_each.p * slope)
        of_top = -ops.sum(others, axis=-1, keepdims=True)
        gradient = ops.where(is_top, predicted.by_log(of_top), predicted.by_share(of_each.p, slope))
        return Terms(value, gradient)

    predicted = read_predicted(logits)
    return loss_of_rows(kernel, read_labels(labels, predicted.shape), predicted)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def focal_calibration_loss(
    labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, weight: float = 1.0
) -> Tensor:
    """Return focal loss + weight * Brier loss of each row of logits, without reduction.

    The Brier loss is sum_c (p_c - q_c)^2.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        gamma: As for `focal_crossentropy`.
        weight: Number >= 0; 0 gives the focal loss.

    Returns:
        Tensor of shape (...), >= 0.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.focal_calibration_loss([0], [[0.0, 0.0]], gamma=0.0, weight=1.0)
        >>> round(float(loss[0]), 4)
        1.1931

    Source:
        Liang et al., 2024.
    """
    predicted = read_predicted(logits)
    labels = read_labels(labels, predicted.shape)
    focal = focal_crossentropy(labels, predicted, gamma=gamma)
    return focal + weight * brier_loss(labels, predicted)
