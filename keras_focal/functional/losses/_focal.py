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
from keras_focal.functional._backend.precision import TINY, to_float
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
from keras_focal.functional._stable.margin import StableProbability, chosen_class
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._few_classes import are_few_classes, terms_of_few_classes
from keras_focal.functional.losses._terms import (
    Arguments,
    Terms,
    checked,
    loss_of_rows,
    masked,
    pulled_back,
)


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
    predicted = read_predicted(logits)
    labels = read_ids(labels, predicted.shape)
    gamma = read_gamma(gamma, labels.values)
    alpha = read_alpha(alpha, num_classes=predicted.shape[-1])
    if 0 in predicted.shape:
        return ops.sum(to_float(predicted.values), axis=-1)
    if are_few_classes(predicted, gamma, alpha):
        values = _loss_of_few_classes(labels, predicted, gamma, alpha)
        return checked(values, labels, predicted.shape)
    arguments = Arguments(labels, predicted, gamma, alpha)
    number, axes = len(arguments.arrays), len(labels.values.shape)

    def terms_of_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors)
        ids, rows, (exponent, weights) = given.labels, given.predicted, given.parameters
        terms = sparse_terms(ids, rows, exponent, weights, signed=gamma.is_signed)
        value, reference, at_true, at_others, of_true = terms
        slopes = []
        if gamma.is_learned:
            slopes.append(value * log_base(of_true.complement))
        if alpha.is_learned:
            unweighted = sparse_terms(ids, rows, exponent, None, signed=gamma.is_signed).value
            is_vector = len(weights.shape) == 1
            is_true = ops.cast(chosen_class(ids, rows.shape[-1]), rows.dtype)
            slopes.append(unweighted[..., None] * is_true if is_vector else unweighted)
        value, at_true, at_others, *slopes = map(given.masked, (value, at_true, at_others, *slopes))
        return value, reference, at_true, at_others, *slopes

    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        shared = tensors[number:]
        return over_rows(terms_of_rows, *tensors[:number], axes=axes, shared=shared)

    def backward(tensors: tuple, terms: tuple, upstream: Tensor) -> list[Tensor | None]:
        _, reference, at_true, at_others, *slopes = terms
        scaled = reference, at_true * upstream, at_others * upstream
        counts = arguments.counts(tensors)
        of_rows = scaled if counts is None else (*scaled, counts)
        given = tensors[0], recomputed(tensors[1]), *of_rows
        gradient = Kernel(sparse_gradient, (type(predicted),))
        of_predictions = over_rows(gradient, *given, axes=axes)
        return arguments.gradients(of_predictions, upstream, slopes)

    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, predicted.shape)


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
    predicted = read_predicted(logits)
    labels = read_rows(targets, predicted.shape, "targets")
    gamma = read_gamma(gamma, predicted.values)
    alpha = read_alpha(alpha, num_classes=predicted.shape[-1])

    def kernel(
        values: Tensor, predicted: Predicted, exponent: Gamma, weights: Tensor | None
    ) -> Terms:
        unweighted = ops.cast(values, predicted.dtype)
        q = unweighted
        if weights is not None:
            q = q * ops.convert_to_tensor(weights, dtype=predicted.dtype)
        of_each = predicted.of_each()
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
        gradient = pulled_back(predicted, of_each, q * slope)
        return Terms(ops.sum(value, axis=-1), gradient, tuple(slopes))

    return loss_of_rows(kernel, labels, predicted, gamma, alpha)


def _loss_of_few_classes(
    labels: Labels, predicted: Predicted, gamma: Parameter, alpha: Parameter
) -> Tensor:
    """Return the loss of each row of predictions, whose gradient is computed together with it."""
    parameters, kind = Parameters(gamma, alpha), type(predicted)
    marks = () if labels.counts is None else (labels.counts,)
    rows = labels.ids_as_given, predicted.values, *marks

    def with_terms(terms_of: Callable) -> Callable:
        def terms(ids: Tensor, values: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            counts = others[0] if marks else None
            given = parameters.values(*others[len(marks) :])
            results = terms_of(ids, kind(to_float(values)), *given)
            return tuple(masked(result, counts) for result in results)

        return terms

    def compiled_terms(ids: Tensor, predicted: Predicted, *values: Any) -> tuple[Tensor, Tensor]:
        ids = ids_in_range(ids, predicted.shape[-1])
        terms = sparse_terms(ids, predicted, *values)
        factor = label_factor(ids)
        slopes = factor * terms.at_true, factor * terms.at_others
        gradient = sparse_gradient(kind, ids, predicted.values, terms.reference, *slopes)
        return factor * terms.value, gradient

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
        reference: What the shares of the other classes are relative to.
        at_true: Minus the derivative by log p_t, alpha_t (1 - p_t) g.
        at_others: The derivative by any other prediction, divided by its share.
        of_true: p_t, 1 - p_t and -log p_t.
    """

    value: Tensor
    reference: Tensor
    at_true: Tensor
    at_others: Tensor
    of_true: StableProbability


def sparse_terms(
    ids: Tensor, predicted: Predicted, gamma: Gamma, alpha: Tensor | None, *, signed: bool = False
) -> SparseTerms:
    """Return the loss of each row of predictions, and the terms of its gradient."""
    of_true, reference, of_others = predicted.of_class(ids)
    value, slope = focal_terms(of_true, resolve(gamma, of_true.p), signed=signed)
    if alpha is not None:
        weight = ops.convert_to_tensor(alpha, dtype=predicted.dtype)
        if len(weight.shape) == 1:
            weight = ops.take(weight, ops.clip(ids, 0, predicted.shape[-1] - 1))
        value, slope = weight * value, weight * slope
    return SparseTerms(value, reference, slope * of_true.complement, slope * of_others, of_true)


def sparse_gradient(
    kind: type[Predicted],
    ids: Tensor,
    values: Tensor,
    reference: Tensor,
    at_true: Tensor,
    at_others: Tensor,
    counts: Tensor | None = None,
) -> Tensor:
    """Return dL/dz: -(1 - p_t) g for the true class, (1 - p_t) share_j g for any other class j.

    From probabilities it is the derivative by them. It is 0 where a row does not count: there
    `at_true` is 0.

    Args:
        kind: `Logits` or `Probabilities`: what the values are.
        ids: Class ids, shape (...).
        values: Float tensor, shape (..., K).
        reference: As in `SparseTerms`, shape (...).
        at_true: As in `SparseTerms`, shape (...).
        at_others: As in `SparseTerms`, shape (...).
        counts: Bool tensor, shape (...): which rows count. None if all do.
    """
    predicted = kind(to_float(values))
    is_true = chosen_class(ids, values.shape[-1])
    if counts is not None:
        # No prediction of such a row is looked at.
        is_true = ops.logical_or(is_true, ops.logical_not(ops.expand_dims(counts, -1)))
    of_others = predicted.shares(is_true, reference) * ops.expand_dims(at_others, -1)
    of_true = predicted.by_log(ops.expand_dims(-at_true, -1))
    return ops.cast(ops.where(is_true, of_true, of_others), values.dtype)


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
    predicted = read_predicted(logits)
    labels = read_labels(labels, predicted.shape)
    if labels.are_ids:
        return sparse_categorical_focal_crossentropy(labels, predicted, gamma=gamma)
    return categorical_focal_crossentropy(labels, predicted, gamma=gamma)
