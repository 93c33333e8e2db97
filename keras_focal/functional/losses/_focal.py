"""Focal losses as pure functions of labels and logits.

L = -(1 - p_t)^gamma log p_t with gradient dL/dz = g(p_t, gamma) (p - e_t) by Proposition 1
(docs/maths.md, equations F1 to F4). The gradient is written by hand: automatic differentiation of
the power gives 0 * inf = NaN for gamma < 1 on a saturated sample, and differentiating through
log-sum-exp loses 1 - p_t. A gamma that depends on p_t is a constant in the derivative.
"""

from typing import NamedTuple

from keras import ops

from keras_focal.functional._backend.compilation import over_rows
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import afresh
from keras_focal.functional._backend.precision import TINY, Tensor, floating, to_float
from keras_focal.functional._inputs.gamma import Gamma, is_signed, power, resolve, split_rows
from keras_focal.functional._inputs.labels import are_ids, ids_or_rows
from keras_focal.functional._stable.margin import (
    StableProbability,
    chosen_class,
    class_margin,
    stable_probabilities,
    stable_probability,
)


def sparse_categorical_focal_crossentropy(
    labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each row of logits at its class id, without reduction.

    L = -alpha_t (1 - p_t)^gamma log p_t, p = softmax(logits). gamma = 0 gives cross-entropy;
    p_t -> 0 gives -log p_t with gradient -1 at the true logit; p_t -> 1 gives 0.

    Args:
        labels: Integer tensor, shape (...). An id outside [0, K) counts as a row of zeros in
            one-hot form: loss 0, gradient 0, on every backend.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            classes that cannot be.
        gamma: Number, tensor broadcastable to (...), or function from p_t to gamma, entry
            by entry; >= 0. A number < 0 gives the inverse focal loss -(1 + p_t)^|gamma| log p_t,
            as does a function with an attribute `is_signed` that is true.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        Relative error of the value <= 3e-6 in float32 while it is a normal number. Finite for
        all finite logits: a gap beyond 2**100 counts as 2**100.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.sparse_categorical_focal_crossentropy(
        ...     [0], [[4.0, 1.0, -1.0]], gamma=2.0)
        >>> round(float(loss[0]), 7)
        0.0001574

    Source:
        Lin et al., 2017, eq. 5; Mukhoti et al., 2020, section 4 and Proposition 1.
    """
    logits = floating(logits)
    if 0 in logits.shape:
        return ops.sum(to_float(logits), axis=-1)
    labels = ops.cast(labels, "int32")
    gamma, gammas = split_rows(gamma, labels)

    axes = len(labels.shape)

    def kernel(labels: Tensor, z: Tensor, *of_rows: Tensor) -> SparseTerms:
        return sparse_terms(labels, to_float(z), of_rows[0] if of_rows else gamma, alpha)

    def forward(z: Tensor) -> SparseTerms:
        return SparseTerms(*over_rows(kernel, labels, z, *gammas, axes=axes))

    def differentiate(z: Tensor, terms: SparseTerms, upstream: Tensor) -> Tensor:
        _, reference, pull, push = terms
        pull, push = pull * upstream, push * upstream
        return over_rows(sparse_gradient, labels, afresh(z), reference, pull, push, axes=axes)

    return with_gradient(forward, differentiate)(logits)


def categorical_focal_crossentropy(
    targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each row of logits against a distribution, without reduction.

    L = -sum_c alpha_c q_c (1 - p_c)^gamma log p_c, p = softmax(logits): Appendix A's form for
    soft targets, and the sparse loss for one-hot ones.

    Args:
        targets: Float tensor, shape (..., K), >= 0: one-hot rows or distributions.
        logits: Float tensor, shape (..., K), K >= 2, any finite values.
        gamma: Number, tensor broadcastable to (..., K), or function from p, shape (..., K), to
            gamma; >= 0, or < 0 as for the sparse form.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        As for the sparse form.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.categorical_focal_crossentropy(
        ...     [[1.0, 0.0, 0.0]], [[0.5, 1.5, 1.0]], gamma=2.0)
        >>> round(float(loss[0]), 4)
        1.1125

    Source:
        Mukhoti et al., 2020, Appendix A.
    """
    logits = floating(logits)
    if 0 in logits.shape:
        return ops.sum(to_float(logits), axis=-1)
    targets = ops.stop_gradient(ops.convert_to_tensor(targets))
    gamma, gammas = split_rows(gamma, logits)

    def kernel(targets: Tensor, z: Tensor, *of_rows: Tensor) -> "_DenseTerms":
        z = to_float(z)
        targets = ops.cast(targets, z.dtype)
        if alpha is not None:
            targets = targets * ops.convert_to_tensor(alpha, dtype=z.dtype)
        of_each = stable_probabilities(z)
        exponent = of_rows[0] if of_rows else gamma
        value, slope = focal_terms(of_each, resolve(exponent, of_each.p), signed=is_signed(gamma))
        # A class without weight adds nothing, also where its neg_log_p is infinite (logit -inf).
        value = ops.where(targets > 0, targets * value, 0.0)
        pull = targets * slope
        # dL/dz_k = p_k sum_c pull_c - pull_k, grouped so that nothing near 1 cancels.
        others = ops.sum(pull, axis=-1, keepdims=True) - pull
        return _DenseTerms(ops.sum(value, axis=-1), of_each.p * others - of_each.complement * pull)

    def forward(z: Tensor) -> "_DenseTerms":
        return _DenseTerms(*over_rows(kernel, targets, z, *gammas, axes=len(z.shape) - 1))

    def differentiate(z: Tensor, terms: "_DenseTerms", upstream: Tensor) -> Tensor:
        return ops.cast(terms.gradient * ops.expand_dims(upstream, -1), z.dtype)

    return with_gradient(forward, differentiate)(logits)


class SparseTerms(NamedTuple):
    """What the gradient of a row needs, one number of each.

    Attributes:
        value: The loss.
        reference: logsumexp of the other logits, rounded.
        pull: Minus the gradient at the true logit, alpha_t (1 - p_t) g.
        push: The gradient at another logit over exp(logit - reference).
    """

    value: Tensor
    reference: Tensor
    pull: Tensor
    push: Tensor


def sparse_terms(labels: Tensor, z: Tensor, gamma: Gamma, alpha: Tensor | None) -> SparseTerms:
    """Return the loss of each row of float32 logits, and what its gradient needs."""
    margin, others = class_margin(labels, z)
    of_true = stable_probability(margin)
    value, slope = focal_terms(of_true, resolve(gamma, of_true.p), signed=is_signed(gamma))
    weight = _class_weight(labels, alpha, z)
    pull = weight * slope * of_true.complement
    return SparseTerms(weight * value, others.reference, pull, pull * others.factor)


def sparse_gradient(
    labels: Tensor, z: Tensor, reference: Tensor, pull: Tensor, push: Tensor
) -> Tensor:
    """Return dL/dz: -(1 - p_t) g at the true class, (1 - p_t) share_j g at another."""
    is_true = chosen_class(labels, z.shape[-1])
    below = to_float(z) - ops.expand_dims(reference, -1)
    share = ops.exp(ops.where(is_true, 0.0, below))
    gradient = ops.where(is_true, -ops.expand_dims(pull, -1), share * ops.expand_dims(push, -1))
    return ops.cast(gradient, z.dtype)


class _DenseTerms(NamedTuple):
    value: Tensor
    gradient: Tensor


def focal_terms(
    of_class: StableProbability, gamma: float | Tensor, *, signed: bool = False
) -> tuple[Tensor, Tensor]:
    """Return (1 - p)^gamma (-log p) and g(p, gamma), both finite at p = 0 and p = 1.

    g = (1 - p)^gamma (1 + gamma p r) with r = -log p / (1 - p), which tends to 1 as p -> 1:
    Proposition 1 without its negative power. If `signed`, 1 + p and |gamma| take the place of
    1 - p and gamma where gamma < 0, the inverse focal loss; g keeps its form.
    """
    p, base, neg_log_p = of_class
    exponent = gamma
    if signed:
        base = ops.where(gamma < 0, 1.0 + p, base)
        exponent = abs(gamma)
    modulation = power(base, exponent)
    vanished = base < TINY
    ratio = ops.where(vanished, 1.0, neg_log_p / ops.where(vanished, 1.0, base))
    return modulation * neg_log_p, modulation * (1.0 + gamma * (p * ratio))


def _class_weight(labels: Tensor, alpha: Tensor | None, logits: Tensor) -> Tensor:
    """Return the weight of each label: 1 or its alpha, and 0 of a label that names no class."""
    num_classes = logits.shape[-1]
    is_class = ops.cast(ops.logical_and(labels >= 0, labels < num_classes), logits.dtype)
    if alpha is None:
        return is_class
    alpha = ops.convert_to_tensor(alpha, dtype=logits.dtype)
    if len(alpha.shape) == 0:
        return is_class * alpha
    return is_class * ops.take(alpha, ops.clip(labels, 0, num_classes - 1))


def focal_crossentropy(labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0) -> Tensor:
    """Return the focal loss of each row of logits, for labels of either form.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        logits: Float tensor, shape (..., K), K >= 2.
        gamma: As for the function of the form of the labels.

    Returns:
        `sparse_categorical_focal_crossentropy` of ids, `categorical_focal_crossentropy` of rows.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.focal_crossentropy([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]] * 2)
        >>> [round(float(value), 4) for value in loss]
        [0.1733, 0.1733]
    """
    logits = ops.convert_to_tensor(logits)
    labels = ids_or_rows(labels, logits.shape)
    if are_ids(labels, logits):
        return sparse_categorical_focal_crossentropy(labels, logits, gamma=gamma)
    return categorical_focal_crossentropy(labels, logits, gamma=gamma)
