"""Poly-1 loss: a focal loss whose first polynomial coefficient is changed.

docs/maths.md, equation L6.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._inputs.gamma import Gamma, power, read_gamma, resolve
from keras_focal.functional._inputs.labels import read_labels, targets_like
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._focal import focal_terms, log_base, sparse_gradient
from keras_focal.functional.losses._terms import Terms, loss_of_rows, pulled_back


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def poly_focal_crossentropy(
    labels: Tensor, logits: Tensor, *, gamma: Gamma = 0.0, epsilon: float = 1.0
) -> Tensor:
    """Return the Poly-1 loss of each row of logits, without reduction.

    L = -(1 - p_t)^gamma log p_t + epsilon (1 - p_t)^(gamma + 1). gamma = 0 gives Poly-1
    cross-entropy, gamma > 0 Poly-1 focal loss, epsilon = 0 the focal loss itself. For a row of
    targets q it is the sum over classes, weighted by q_c.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id
            outside [0, K) raises a ValueError where it can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            impossible classes.
        gamma: Number, tensor, or function from p to gamma, as for `focal_crossentropy`.
        epsilon: Number >= -1, added to the coefficient 1 of (1 - p_t)^(gamma + 1).

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.poly_focal_crossentropy([0], [[0.0, 0.0]], epsilon=2.0)
        >>> round(float(loss[0]), 4)
        1.6931

    Source:
        Leng et al., 2022, "PolyLoss", Poly-1.
    """
    predicted = read_predicted(logits)
    labels = read_labels(labels, predicted.shape)
    of_each_row = labels.values if labels.are_ids else predicted.values
    gamma = read_gamma(gamma, of_each_row, signed=False)

    def terms_at(of_class: StableProbability, given: Gamma) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of a class, and its derivatives with respect to -log p and gamma."""
        exponent = resolve(given, of_class.p)
        focal, slope = focal_terms(of_class, exponent)
        first = epsilon * power(of_class.complement, exponent)
        value = focal + first * of_class.complement
        slope = slope + first * (1.0 + exponent) * of_class.p
        return value, slope, value * log_base(of_class.complement)

    def of_ids(ids: Tensor, predicted: Predicted, given: Gamma) -> Terms:
        of_true, reference, of_others = predicted.of_class(ids)
        value, slope, of_gamma = terms_at(of_true, given)
        slopes = slope * of_true.complement, slope * of_others
        gradient = sparse_gradient(type(predicted), ids, predicted.values, reference, *slopes)
        return Terms(value, gradient, (of_gamma,) if gamma.is_learned else ())

    def of_targets(values: Tensor, predicted: Predicted, given: Gamma) -> Terms:
        q = targets_like(values, predicted)
        of_each = predicted.of_each()
        value, slope, of_gamma = terms_at(of_each, given)
        value = ops.sum(ops.where(q > 0, q * value, 0.0), axis=-1)
        gradient = pulled_back(predicted, of_each, q * slope)
        return Terms(value, gradient, (q * of_gamma,) if gamma.is_learned else ())

    kernel = of_ids if labels.are_ids else of_targets
    return loss_of_rows(kernel, labels, predicted, gamma)
