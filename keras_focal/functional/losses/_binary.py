"""The focal loss of independent binary outputs, from one exponential and one logarithm.

With e = exp(-|z|), the likelier outcome has probability 1 / (1 + e) and -log p = log(1 + e), the
other one has probability e / (1 + e) (docs/maths.md, equations M4 and F1).
"""

from typing import NamedTuple

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import over_rows, without_autograph
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import recomputed_outputs
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.gamma import (
    Gamma,
    is_product,
    power,
    read_alpha,
    read_gamma,
    resolve,
)
from keras_focal.functional._inputs.labels import read_targets
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional._stable.predicted import Logits, Predicted, read_predicted
from keras_focal.functional.losses._focal import focal_terms, log_base
from keras_focal.functional.losses._terms import Arguments, Given, checked


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def binary_focal_crossentropy(
    targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each independent binary output, without reduction.

    L = -alpha q (1 - p)^gamma log p - (1 - alpha) (1 - q) p^gamma log(1 - p), with
    p = sigmoid(logits). Without alpha both weights are 1. For q = 0 or 1 this is the usual binary
    focal loss. For soft targets q it is equation 5 of the paper, whereas Keras uses a single
    p_t = q p + (1 - q)(1 - p).

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma: Number, tensor broadcastable to `logits`, or function from p_t to gamma; >= 0, or < 0
            as for `sparse_categorical_focal_crossentropy`.
        alpha: None, or number or tensor broadcastable to `logits`, in [0, 1]: weight of the
            positive class; the negative class has 1 - alpha.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        As for `sparse_categorical_focal_crossentropy`.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.binary_focal_crossentropy([1.0], [-100.0], gamma=2.0)
        >>> float(loss[0])
        100.0

    Source:
        Lin et al., 2017, eq. 5; Mukhoti et al., 2020, eq. 5.
    """
    predicted = read_predicted(logits)
    labels = read_targets(targets, predicted.shape, "Give one target in [0, 1] for each output.")
    gamma = read_gamma(gamma, predicted.values)
    alpha = read_alpha(alpha, like=predicted.values)
    arguments = Arguments(labels, predicted, gamma, alpha)
    number, axes = len(arguments.arrays), len(predicted.shape)

    def sides(given: Given) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[_Outcome, _Outcome]]:
        """Return q, 1 - q, their weights, and both outcomes."""
        exponent, weight = given.parameters
        q = ops.cast(given.labels, given.predicted.dtype)
        one, other = 1.0, 1.0
        if weight is not None:
            one = ops.cast(weight, given.predicted.dtype)
            other = 1.0 - one
        outcomes = _outcomes(given.predicted, exponent, signed=gamma.is_signed)
        return q, 1.0 - q, one, other, outcomes

    def value(*tensors: Tensor) -> Tensor:
        given = arguments.given(*tensors, are_outputs=True)
        positive, negative, one, other, (yes, no) = sides(given)
        return given.masked(positive * one * yes.value + negative * other * no.value)

    def gradients(upstream: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors, are_outputs=True)
        positive, negative, one, other, (yes, no) = sides(given)
        of_outputs = (negative * other * no.slope - positive * one * yes.slope) * upstream
        slopes = []
        if gamma.is_learned:
            of_yes = positive * one * yes.value * log_base(no.p)
            slopes.append(of_yes + negative * other * no.value * log_base(yes.p))
        if alpha.is_learned:
            slopes.append(positive * yes.value - negative * no.value)
        of_outputs, *slopes = map(given.masked, (of_outputs, *slopes))
        return ops.cast(of_outputs, tensors[1].dtype), *slopes

    def forward(*tensors: Tensor) -> tuple[Tensor]:
        return (over_rows(value, *tensors[:number], axes=axes, shared=tensors[number:]),)

    def backward(tensors: tuple, _: tuple, upstream: Tensor) -> list[Tensor | None]:
        arrays = (upstream, tensors[0], recomputed_outputs(tensors[1]), *tensors[2:number])
        of_outputs, *slopes = over_rows(gradients, *arrays, axes=axes, shared=tensors[number:])
        return arguments.gradients(of_outputs, upstream, slopes)

    if 0 in predicted.shape:
        return to_float(predicted.values)
    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, predicted.shape, are_outputs=True)


class _Outcome(NamedTuple):
    """One of the two outcomes.

    Attributes:
        value: Its focal loss (1 - p)^gamma (-log p).
        slope: (1 - p) g(p, gamma) = (1 - p)^gamma (1 - p - gamma p log p) for logits; for
            probabilities the derivative by them.
        p: Its probability.
    """

    value: Tensor
    slope: Tensor
    p: Tensor


def _outcomes(predicted: Predicted, gamma: Gamma, *, signed: bool) -> tuple[_Outcome, _Outcome]:
    """Return the positive outcome and the negative one."""

    def outcome(of_outcome: StableProbability, *, is_yes: bool) -> _Outcome:
        p, complement, neg_log_p = of_outcome
        exponent = resolve(gamma, p)
        if signed:
            value, slope = focal_terms(of_outcome, exponent, signed=True)
            return _Outcome(value, predicted.by_logit(complement) * slope, p)
        if isinstance(predicted, Logits) and not is_product(exponent):
            modulation = _power_of_complement(predicted, exponent, is_yes=is_yes)
        else:
            modulation = power(complement, exponent)
        of_complement = predicted.by_logit(complement)
        slope = of_complement + exponent * predicted.by_logit(p * neg_log_p)
        return _Outcome(modulation * neg_log_p, modulation * slope, p)

    yes, no = predicted.outcomes()
    return outcome(yes, is_yes=True), outcome(no, is_yes=False)


def _power_of_complement(logits: Logits, gamma: Tensor, *, is_yes: bool) -> Tensor:
    """Return (1 / (1 + e))^gamma or (e / (1 + e))^gamma, with e = exp(-|z|)."""
    is_yes_likely = logits.values >= 0
    is_likely = is_yes_likely if is_yes else ops.logical_not(is_yes_likely)
    of_small = ops.where(is_likely, _power_of_small(logits.size, gamma), 1.0)
    return ops.exp(-gamma * logits.neg_log_likely) * of_small


def _power_of_small(size: Tensor, gamma: Tensor) -> Tensor:
    """Return exp(-gamma size), corrected for the rounding of the product (Dekker's product)."""
    # A Python float has more digits than the two halves of a float32 can hold.
    gamma = ops.cast(gamma, size.dtype)
    product = gamma * size
    gamma_high, size_high = _upper_half(gamma), _upper_half(size)
    gamma_low, size_low = gamma - gamma_high, size - size_high
    error = (gamma_high * size_high - product) + (gamma_high * size_low + gamma_low * size_high)
    return ops.exp(-product) * (1.0 - (error + gamma_low * size_low))


def _upper_half(x: Tensor) -> Tensor:
    """Return the upper half of the bits of float32 numbers (Veltkamp's splitting)."""
    spread = 4097.0 * x
    return spread - (spread - x)
