"""Poly-1 loss: the first coefficient of the series of a focal loss, changed.

docs/maths.md, equation L6.
"""

from keras import ops

from keras_focal.functional._backend.precision import Tensor, floating
from keras_focal.functional._inputs.gamma import Gamma, power, resolve, split_rows
from keras_focal.functional._inputs.labels import are_ids, ids_or_rows, targets_of
from keras_focal.functional._stable.margin import (
    StableProbability,
    chosen_class,
    class_margin,
    stable_probabilities,
    stable_probability,
)
from keras_focal.functional.losses._focal import focal_terms
from keras_focal.functional.losses._terms import Terms, loss_of_rows, only_of_classes


def poly_focal_crossentropy(
    labels: Tensor, logits: Tensor, *, gamma: Gamma = 0.0, epsilon: float = 1.0
) -> Tensor:
    """Return -(1 - p_t)^gamma log p_t + epsilon (1 - p_t)^(gamma + 1) of each row of logits.

    gamma = 0 is Poly-1 cross-entropy, gamma > 0 Poly-1 focal loss, epsilon = 0 the loss without
    the change. A row q gives the sum over classes with weights q_c.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows q, shape (..., K). An id outside
            [0, K) gives loss 0 and gradient 0.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            classes that cannot be.
        gamma: Number, tensor, or function from p to gamma, as for `focal_crossentropy`.
        epsilon: Number >= -1: what is added to the coefficient 1 of (1 - p_t)^(gamma + 1).

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
    logits = floating(logits)
    labels = ids_or_rows(labels, logits.shape)
    gamma, gammas = split_rows(gamma, labels if are_ids(labels, logits) else logits)

    def terms_at(of_class: StableProbability, *of_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of a class, and minus its derivative with respect to log p."""
        exponent = resolve(of_rows[0] if of_rows else gamma, of_class.p)
        value, slope = focal_terms(of_class, exponent)
        first = epsilon * power(of_class.complement, exponent)
        return (
            value + first * of_class.complement,
            slope + first * (1.0 + exponent) * of_class.p,
        )

    def of_ids(labels: Tensor, z: Tensor, *of_rows: Tensor) -> Terms:
        margin, others = class_margin(labels, z)
        of_true = stable_probability(margin)
        value, slope = terms_at(of_true, *of_rows)
        pull = slope * of_true.complement
        is_true = chosen_class(labels, z.shape[-1])
        share = ops.exp(ops.where(is_true, 0.0, z - ops.expand_dims(others.reference, -1)))
        push = ops.expand_dims(pull * others.factor, -1)
        gradient = ops.where(is_true, -ops.expand_dims(pull, -1), share * push)
        return only_of_classes(labels, Terms(value, gradient))

    def of_targets(labels: Tensor, z: Tensor, *of_rows: Tensor) -> Terms:
        targets = targets_of(labels, z)
        of_each = stable_probabilities(z)
        value, slope = terms_at(of_each, *of_rows)
        pull = targets * slope
        others = ops.sum(pull, axis=-1, keepdims=True) - pull
        value = ops.sum(ops.where(targets > 0, targets * value, 0.0), axis=-1)
        return Terms(value, of_each.p * others - of_each.complement * pull)

    kernel = of_ids if are_ids(labels, logits) else of_targets
    return loss_of_rows(kernel, labels, logits, *gammas)
