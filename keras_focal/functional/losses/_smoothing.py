"""Cross-entropies that reduce confidence: label smoothing, an entropy term, a margin on logits.

docs/maths.md, equations L3 to L5.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._inputs.labels import read_labels, targets_like
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._terms import Terms, crossentropy_terms, loss_of_rows


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def label_smoothing_crossentropy(
    labels: Tensor, logits: Tensor, *, label_smoothing: float = 0.05
) -> Tensor:
    """Return the cross-entropy of each row of logits against smoothed labels.

    Targets are (1 - s) q + s (1 - q) / (K - 1), as in the paper: the wrong classes share s. In
    Keras all K classes share it: `label_smoothing` s there equals s (K - 1) / K here.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        label_smoothing: s, a number in [0, 1); 0 gives cross-entropy.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.label_smoothing_crossentropy([0], [[2.0, 0.0, 0.0]])
        >>> round(float(loss[0]), 4)
        0.3395

    Source:
        Mukhoti et al., 2020, section 5.1; Szegedy et al., 2016.
    """

    def kernel(labels: Tensor, predicted: Predicted) -> Terms:
        targets = targets_like(labels, predicted)
        share = label_smoothing / (predicted.shape[-1] - 1)
        smoothed = (1.0 - label_smoothing) * targets + share * (1.0 - targets)
        return crossentropy_terms(smoothed, predicted, predicted.of_each())

    predicted = read_predicted(logits)
    return loss_of_rows(kernel, read_labels(labels, predicted.shape), predicted)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def entropy_regularized_crossentropy(
    labels: Tensor, logits: Tensor, *, weight: float = 0.1
) -> Tensor:
    """Return -sum_c q_c log p_c - weight * H(p) of each row of logits.

    H(p) = -sum_c p_c log p_c is the entropy, so confident predictions are penalised. It is a lower
    bound of the focal loss with gamma = weight >= 1 (equation 4 of the paper).

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        weight: Number >= 0; 0 gives cross-entropy.

    Returns:
        Tensor of shape (...), >= -weight * log K, in nats.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.entropy_regularized_crossentropy([0], [[0.0, 0.0]], weight=0.5)
        >>> round(float(loss[0]), 4)
        0.3466

    Source:
        Pereyra et al., 2017, section 3; Mukhoti et al., 2020, eq. 4.
    """

    def kernel(labels: Tensor, predicted: Predicted) -> Terms:
        of_each = predicted.of_each()
        targets = targets_like(labels, predicted)
        value, gradient, _ = crossentropy_terms(targets, predicted, of_each)
        entropy = ops.sum(of_each.p * of_each.neg_log_p, axis=-1)
        excess = ops.expand_dims(entropy, -1) - of_each.neg_log_p
        gradient = gradient + weight * predicted.by_share(of_each.p, excess)
        return Terms(value - weight * entropy, gradient)

    predicted = read_predicted(logits)
    return loss_of_rows(kernel, read_labels(labels, predicted.shape), predicted)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def margin_smoothing_crossentropy(
    labels: Tensor, logits: Tensor, *, weight: float = 0.1, margin: float = 10.0
) -> Tensor:
    """Return -sum_c q_c log p_c + weight * sum_c max(0, max_j z_j - z_c - margin).

    Cross-entropy with a penalty for each logit more than `margin` below the largest. A margin of 0
    corresponds to label smoothing; with a margin that no logit exceeds it is cross-entropy.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        weight: Number >= 0; 0 gives cross-entropy.
        margin: Number >= 0.

    Returns:
        Tensor of shape (...), >= 0. A gap above 2**100 counts as 2**100.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.margin_smoothing_crossentropy([0], [[20.0, 0.0]])
        >>> round(float(loss[0]), 4)
        1.0

    Source:
        Liu et al., 2022. The sum over classes follows that paper; its code uses the mean.
    """

    def kernel(labels: Tensor, predicted: Predicted) -> Terms:
        targets = targets_like(labels, predicted)
        value, gradient, _ = crossentropy_terms(targets, predicted, predicted.of_each())
        behind = predicted.behind()
        is_behind = behind > margin
        value = value + weight * ops.sum(ops.where(is_behind, behind - margin, 0.0), axis=-1)
        slope = weight * ops.cast(is_behind, behind.dtype)
        # Equal largest logits share the gradient of the maximum.
        given = predicted.values
        is_largest = ops.cast(given >= ops.max(given, axis=-1, keepdims=True), behind.dtype)
        is_largest = is_largest / ops.sum(is_largest, axis=-1, keepdims=True)
        pull = is_largest * ops.sum(slope, axis=-1, keepdims=True) - slope
        return Terms(value, gradient + predicted.by_log(pull))

    predicted = read_predicted(logits)
    return loss_of_rows(kernel, read_labels(labels, predicted.shape), predicted)
