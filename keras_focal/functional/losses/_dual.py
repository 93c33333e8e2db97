"""Dual focal loss: a focal loss that also depends on the class ranked next below the true one.

docs/maths.md, equation L8.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import TINY
from keras_focal.functional._inputs.gamma import Gamma, power, read_gamma, resolve
from keras_focal.functional._inputs.labels import read_class
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._focal import log_base
from keras_focal.functional.losses._terms import Terms, loss_of_rows


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def dual_focal_crossentropy(labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0) -> Tensor:
    """Return the dual focal loss -(1 - p_t + p_j)^gamma log p_t of each row of logits.

    p_j is the largest probability strictly below p_t, or 0 if there is none; the gradient flows
    through it. gamma = 0 gives cross-entropy; p_j = 0 gives focal loss.

    Args:
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K), whose largest
            entry is the true class. An id outside [0, K) raises a ValueError where it can be read,
            and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            impossible classes.
        gamma: Number, tensor broadcastable to (...), or function from p_t to gamma; >= 0. A gamma
            that depends on p_t counts as a constant in the derivative.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        1 - p_t is the sum over the other classes, so that 1 - p_t + p_j is accurate.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.dual_focal_crossentropy([0], [[1.0, 0.0, -1.0]], gamma=2.0)
        >>> round(float(loss[0]), 4)
        0.1369

    Source:
        Tao et al., 2023, "Dual Focal Loss for Calibration".
    """
    predicted = read_predicted(logits)
    labels = read_class(labels, predicted.shape)
    gamma = read_gamma(gamma, labels.values, signed=False)

    def kernel(labels: Tensor, predicted: Predicted, given: Gamma) -> Terms:
        is_true = chosen_class(labels, predicted.shape[-1])
        (p, complement, neg_log_p), reference, of_others = predicted.of_class(labels)
        p_others = predicted.p_of_others(is_true, reference, of_others)
        is_next = _next_below(predicted.values, is_true)
        p_next = ops.sum(ops.where(is_next, p_others, 0.0), axis=-1)

        exponent = resolve(given, p)
        base = complement + p_next
        modulation = power(base, exponent)
        vanished = base < TINY
        ratio = exponent * ops.where(vanished, 1.0, neg_log_p / ops.where(vanished, 1.0, base))
        # Written such that all terms of an entry have the same sign.
        at_true = -modulation * ((1.0 + ratio * p) * complement + ratio * p * p_next)
        at_others = modulation * (1.0 + ratio * (p - p_next))
        at_next = modulation * (1.0 + ratio * (p + (1.0 - p_next)))
        slope = ops.where(is_next, ops.expand_dims(at_next, -1), ops.expand_dims(at_others, -1))
        gradient = ops.where(
            is_true,
            predicted.by_log(ops.expand_dims(at_true, -1)),
            predicted.by_share(p_others, slope),
        )
        value = modulation * neg_log_p
        return Terms(value, gradient, (value * log_base(base),) if gamma.is_learned else ())

    return loss_of_rows(kernel, labels, predicted, gamma)


def _next_below(z: Tensor, is_true: Tensor) -> Tensor:
    """Return where the largest logit strictly below the true one is: the first, or nowhere."""
    num_classes = z.shape[-1]
    true_logit = ops.sum(ops.where(is_true, z, 0.0), axis=-1, keepdims=True)
    is_below = z < true_logit
    largest = ops.max(ops.where(is_below, z, -float("inf")), axis=-1, keepdims=True)
    is_candidate = ops.logical_and(is_below, z >= largest)
    first = ops.min(
        ops.where(is_candidate, ops.arange(num_classes, dtype="int32"), num_classes), axis=-1
    )
    return chosen_class(first, num_classes)
