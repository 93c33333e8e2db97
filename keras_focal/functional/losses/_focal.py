"""Focal losses as pure functions of labels and logits.

L = -(1 - p_t)^gamma log p_t with gradient dL/dz = g(p_t, gamma) (p - e_t) by Proposition 1
(docs/maths.md, equations F1 to F4). The gradient is written by hand: automatic differentiation of
the power gives 0 * inf = NaN for gamma < 1 on a saturated sample, and differentiating through
log-sum-exp loses 1 - p_t. A gamma that depends on p_t counts as a constant in the derivative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import Kernel, over_rows, without_autograph
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import recomputed
from keras_focal.functional._backend.precision import TINY, floating, to_float
from keras_focal.functional._inputs.class_labels import ids_in_range
from keras_focal.functional._inputs.gamma import (
    Gamma,
    Parameter,
    Parameters,
    power,
    read_alpha,
    read_gamma,
    resolve,
)
from keras_focal.functional._inputs.labels import (
    Labels,
    label_factor,
    read_ids,
    read_labels,
    read_rows,
)
from keras_focal.functional._stable.margin import (
    StableProbability,
    chosen_class,
    class_margin,
    stable_probabilities,
    stable_probability,
)
from keras_focal.functional.losses._few_classes import are_few_classes, terms_of_few_classes
from keras_focal.functional.losses._terms import Arguments, Terms, checked, loss_of_rows, masked


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def sparse_categorical_focal_crossentropy(
    labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each row of logits for class ids, without reduction.

    L = -alpha_t (1 - p_t)^gamma log p_t, p = softmax(logits). gamma = 0 gives cross-entropy;
    p_t -> 0 gives -log p_t with gradient -1 at the true logit; p_t -> 1 gives 0.

    Args:
        labels: Integer tensor, shape (...). An id outside [0, K) raises a ValueError where it
            can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2, any finite values; -inf is allowed for
            impossible classes.
        gamma: Number, tensor broadcastable to (...), or elementwise function from p_t to gamma;
            >= 0. A number < 0 gives the inverse focal loss -(1 + p_t)^|gamma| log p_t, as does a
            function with a true attribute `is_signed` where it returns gammas < 0.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        The relative error of the value is at most 3e-6 in float32 while it is a normal number. It
        is finite for all finite logits: a gap above 2**100 counts as 2**100.

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
    labels = read_ids(labels, logits.shape)
    gamma = read_gamma(gamma, labels.values)
    alpha = read_alpha(alpha, num_classes=logits.shape[-1])
    if 0 in logits.shape:
        return ops.sum(to_float(logits), axis=-1)
    if are_few_classes(logits, gamma, alpha):
        return checked(_loss_of_few_classes(labels, logits, gamma, alpha), labels, logits.shape)
    arguments = Arguments(labels, logits, gamma, alpha)
    number, axes = len(arguments.arrays), len(labels.values.shape)

    def rows(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors)
        ids, z, (exponent, weights) = given.labels, given.z, given.parameters
        terms = sparse_terms(ids, z, exponent, weights, signed=gamma.is_signed)
        value, reference, at_true, at_others, of_true = terms
        slopes = []
        if gamma.is_learned:
            slopes.append(value * log_base(of_true.complement))
        if alpha.is_learned:
            unweighted = sparse_terms(ids, z, exponent, None, signed=gamma.is_signed).value
            is_vector = len(weights.shape) == 1
            is_true = ops.cast(chosen_class(ids, z.shape[-1]), z.dtype)
            slopes.append(unweighted[..., None] * is_true if is_vector else unweighted)
        value, at_true, at_others, *slopes = map(given.masked, (value, at_true, at_others, *slopes))
        return value, reference, at_true, at_others, *slopes

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return over_rows(rows, *tensors[:number], axes=axes, shared=tensors[number:])

    def backward(tensors: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
        _, reference, at_true, at_others, *slopes = terms
        scaled = reference, at_true * upstream, at_others * upstream
        counts = arguments.counts(tensors)
        of_rows = scaled if counts is None else (*scaled, counts)
        given = tensors[0], recomputed(tensors[1]), *of_rows
        of_logits = over_rows(Kernel(sparse_gradient), *given, axes=axes)
        return arguments.gradients(of_logits, upstream, slopes)

    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, logits.shape)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def categorical_focal_crossentropy(
    targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each row of logits for one-hot or soft targets, without reduction.

    L = -sum_c alpha_c q_c (1 - p_c)^gamma log p_c, p = softmax(logits). For one-hot targets it
    equals `sparse_categorical_focal_crossentropy`.

    Args:
        targets: Float tensor, shape (..., K), >= 0: one-hot rows or distributions.
        logits: Float tensor, shape (..., K), K >= 2, any finite values.
        gamma: Number, tensor broadcastable to (..., K), or function from p, shape (..., K), to
            gamma; >= 0, or < 0 as for `sparse_categorical_focal_crossentropy`.
        alpha: None, a number, or a tensor of shape (K,): weight of each class.

    Returns:
        Tensor of shape (...), >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        As for `sparse_categorical_focal_crossentropy`.

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
    labels = read_rows(targets, logits.shape, "targets")
    gamma = read_gamma(gamma, logits)
    alpha = read_alpha(alpha, num_classes=logits.shape[-1])

    def kernel(values: Tensor, z: Tensor, exponent: Gamma, weights: Tensor | None) -> Terms:
        unweighted = ops.cast(values, z.dtype)
        q = unweighted
        if weights is not None:
            q = q * ops.convert_to_tensor(weights, dtype=z.dtype)
        of_each = stable_probabilities(z)
        exponents = resolve(exponent, of_each.p)
        value, slope = focal_terms(of_each, exponents, signed=gamma.is_signed)
        slopes = []
        if gamma.is_learned:
            of_gamma = q * value * log_base(of_each.complement)
            slopes.append(ops.where(unweighted > 0, of_gamma, 0.0))
        if alpha.is_learned:
            slopes.append(ops.where(unweighted > 0, unweighted * value, 0.0))
        # A class of weight 0 adds nothing, even if its -log p is infinite (logit -inf).
        value = ops.where(q > 0, q * value, 0.0)
        weighted = q * slope
        # dL/dz_k = p_k sum_c w_c - w_k, grouped such that nothing cancels near p = 1.
        others = ops.sum(weighted, axis=-1, keepdims=True) - weighted
        gradient = of_each.p * others - of_each.complement * weighted
        return Terms(ops.sum(value, axis=-1), gradient, tuple(slopes))

    return loss_of_rows(kernel, labels, logits, gamma, alpha)


def _loss_of_few_classes(
    labels: Labels, logits: Tensor, gamma: Parameter, alpha: Parameter
) -> Tensor:
    """Return the loss of each row of logits, whose gradient is computed together with it."""
    parameters = Parameters(gamma, alpha)
    marks = () if labels.counts is None else (labels.counts,)
    rows = labels.ids_as_given, logits, *marks

    def with_terms(terms_of: Callable) -> Callable:
        def terms(ids: Tensor, z: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            counts = others[0] if marks else None
            results = terms_of(ids, z, *parameters.values(*others[len(marks) :]))
            return tuple(masked(result, counts) for result in results)

        return terms

    def compiled_terms(ids: Tensor, z: Tensor, *values: Any) -> tuple[Tensor, Tensor]:
        ids, z = ids_in_range(ids, z.shape[-1]), to_float(z)
        terms = sparse_terms(ids, z, *values)
        factor = label_factor(ids)
        at_true, at_others = factor * terms.at_true, factor * terms.at_others
        return factor * terms.value, sparse_gradient(ids, z, terms.reference, at_true, at_others)

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return over_rows(
            with_terms(compiled_terms),
            *tensors[: len(rows)],
            axes=1,
            shared=tensors[len(rows) :],
            few=with_terms(terms_of_few_classes),
        )

    def backward(tensors: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
        gradient = ops.cast(terms[1] * ops.expand_dims(upstream, -1), tensors[1].dtype)
        return [None, gradient] + [None] * (len(tensors) - 2)

    return with_gradient(forward, backward)(*rows, *parameters.shared)


class SparseTerms(NamedTuple):
    """The loss of each row, and what its gradient is computed from.

    Attributes:
        value: The loss.
        reference: logsumexp of the other logits, rounded.
        at_true: Minus the gradient of the true logit, alpha_t (1 - p_t) g.
        at_others: The gradient of any other logit, divided by exp(logit - reference).
        of_true: p_t, 1 - p_t and -log p_t.
    """

    value: Tensor
    reference: Tensor
    at_true: Tensor
    at_others: Tensor
    of_true: StableProbability


def sparse_terms(
    ids: Tensor, z: Tensor, gamma: Gamma, alpha: Tensor | None, *, signed: bool = False
) -> SparseTerms:
    """Return the loss of each row of float32 logits, and the terms of its gradient."""
    margin, others = class_margin(ids, z)
    of_true = stable_probability(margin)
    value, slope = focal_terms(of_true, resolve(gamma, of_true.p), signed=signed)
    at_true = slope * of_true.complement
    if alpha is not None:
        weight = ops.convert_to_tensor(alpha, dtype=z.dtype)
        if len(weight.shape) == 1:
            weight = ops.take(weight, ops.clip(ids, 0, z.shape[-1] - 1))
        value, at_true = weight * value, weight * at_true
    at_others = at_true * others.factor
    return SparseTerms(value, others.reference, at_true, at_others, of_true)


def sparse_gradient(
    ids: Tensor,
    z: Tensor,
    reference: Tensor,
    at_true: Tensor,
    at_others: Tensor,
    counts: Tensor | None = None,
) -> Tensor:
    """Return dL/dz: -(1 - p_t) g for the true class, (1 - p_t) share_j g for any other class j.

    It is 0 where a row does not count: there `at_true` is 0.
    """
    is_true = chosen_class(ids, z.shape[-1])
    if counts is not None:
        # No logit of such a row is looked at.
        is_true = ops.logical_or(is_true, ops.logical_not(ops.expand_dims(counts, -1)))
    below = to_float(z) - ops.expand_dims(reference, -1)
    share = ops.exp(ops.where(is_true, 0.0, below))
    gradient = ops.where(
        is_true, -ops.expand_dims(at_true, -1), share * ops.expand_dims(at_others, -1)
    )
    return ops.cast(gradient, z.dtype)


def log_base(base: Tensor) -> Tensor:
    """Return log(1 - p), the factor in dL/dgamma; 0 where the loss vanishes."""
    vanished = base < TINY
    return ops.where(vanished, 0.0, ops.log(ops.where(vanished, 1.0, base)))


def focal_terms(
    of_class: StableProbability, gamma: float | Tensor, *, signed: bool = False
) -> tuple[Tensor, Tensor]:
    """Return (1 - p)^gamma (-log p) and g(p, gamma), both finite at p = 0 and p = 1.

    g = (1 - p)^gamma (1 + gamma p r) with r = -log p / (1 - p), which tends to 1 as p -> 1:
    Proposition 1 without its negative power. If `signed`, 1 + p and |gamma| replace 1 - p and gamma
    where gamma < 0, which gives the inverse focal loss; g has the same form.
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


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def focal_crossentropy(labels: Tensor, logits: Tensor, *, gamma: Gamma = 2.0) -> Tensor:
    """Return the focal loss of each row of logits, for class ids or rows of targets.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K).
        logits: Float tensor, shape (..., K), K >= 2.
        gamma: As for the function that the labels select.

    Returns:
        Tensor of shape (...): `sparse_categorical_focal_crossentropy` for ids,
        `categorical_focal_crossentropy` for rows.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.focal_crossentropy([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]] * 2)
        >>> [round(float(value), 4) for value in loss]
        [0.1733, 0.1733]
    """
    logits = floating(logits)
    labels = read_labels(labels, logits.shape)
    if labels.are_ids:
        return sparse_categorical_focal_crossentropy(labels, logits, gamma=gamma)
    return categorical_focal_crossentropy(labels, logits, gamma=gamma)
