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
from keras_focal.functional._backend.operations import log_of_one_plus, recomputed_outputs
from keras_focal.functional._backend.precision import floating, to_float
from keras_focal.functional._inputs.gamma import (
    Gamma,
    is_product,
    power,
    read_alpha,
    read_gamma,
    resolve,
)
from keras_focal.functional._inputs.labels import read_targets
from keras_focal.functional._stable.margin import LARGEST_GAP, StableProbability
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
    logits = floating(logits)
    labels = read_targets(targets, logits.shape, "Give one target in [0, 1] for each output.")
    gamma = read_gamma(gamma, logits)
    alpha = read_alpha(alpha, like=logits)
    arguments = Arguments(labels, logits, gamma, alpha)
    number, axes = len(arguments.arrays), len(logits.shape)

    def sides(given: Given) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[_Outcome, _Outcome]]:
        """Return q, 1 - q, their weights, and both outcomes."""
        exponent, weight = given.parameters
        q = ops.cast(given.labels, given.z.dtype)
        one, other = 1.0, 1.0
        if weight is not None:
            one = ops.cast(weight, given.z.dtype)
            other = 1.0 - one
        return q, 1.0 - q, one, other, _outcomes(given.z, exponent, signed=gamma.is_signed)

    def value(*tensors: Tensor) -> Tensor:
        given = arguments.given(*tensors, are_outputs=True)
        positive, negative, one, other, (yes, no) = sides(given)
        return given.masked(positive * one * yes.value + negative * other * no.value)

    def gradients(upstream: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = arguments.given(*tensors, are_outputs=True)
        positive, negative, one, other, (yes, no) = sides(given)
        of_logits = (negative * other * no.slope - positive * one * yes.slope) * upstream
        slopes = []
        if gamma.is_learned:
            of_yes = positive * one * yes.value * log_base(no.p)
            slopes.append(of_yes + negative * other * no.value * log_base(yes.p))
        if alpha.is_learned:
            slopes.append(positive * yes.value - negative * no.value)
        of_logits, *slopes = map(given.masked, (of_logits, *slopes))
        return ops.cast(of_logits, logits.dtype), *slopes

    def forward(*tensors: Tensor) -> tuple[Tensor]:
        return (over_rows(value, *tensors[:number], axes=axes, shared=tensors[number:]),)

    def backward(tensors: tuple, _: tuple, upstream: Tensor) -> list[Tensor | None]:
        arrays = (upstream, tensors[0], recomputed_outputs(tensors[1]), *tensors[2:number])
        of_logits, *slopes = over_rows(gradients, *arrays, axes=axes, shared=tensors[number:])
        return arguments.gradients(of_logits, upstream, slopes)

    if 0 in logits.shape:
        return to_float(logits)
    values = with_gradient(forward, backward)(*arguments.arrays, *arguments.shared)
    return checked(values, labels, logits.shape, are_outputs=True)


class _Outcome(NamedTuple):
    """One of the two outcomes.

    Attributes:
        value: Its focal loss (1 - p)^gamma (-log p).
        slope: (1 - p) g(p, gamma) = (1 - p)^gamma (1 - p - gamma p log p).
        p: Its probability.
    """

    value: Tensor
    slope: Tensor
    p: Tensor


def _outcomes(z: Tensor, gamma: Gamma, *, signed: bool) -> tuple[_Outcome, _Outcome]:
    """Return the positive outcome, with logit z, and the negative one."""
    # Not the absolute value: its derivative at 0 would be 0.
    size = ops.clip(ops.where(z >= 0, z, -z), -1.0, LARGEST_GAP)
    small = ops.exp(-size)
    likely = 1.0 / (1.0 + small)
    unlikely = small * likely
    neg_log_p_of_likely = log_of_one_plus(small)
    is_yes_likely = z >= 0

    def outcome(is_likely: Tensor) -> _Outcome:
        p = ops.where(is_likely, likely, unlikely)
        complement = ops.where(is_likely, unlikely, likely)
        neg_log_p = neg_log_p_of_likely + ops.where(is_likely, 0.0, size)
        exponent = resolve(gamma, p)
        if signed:
            value, slope = focal_terms(
                StableProbability(p, complement, neg_log_p), exponent, signed=True
            )
            return _Outcome(value, complement * slope, p)
        if is_product(exponent):
            modulation = power(complement, exponent)
        else:
            # (1 / (1 + e))^gamma and (e / (1 + e))^gamma.
            modulation = ops.exp(-exponent * neg_log_p_of_likely)
            modulation = modulation * ops.where(is_likely, _power_of_small(size, exponent), 1.0)
        slope = modulation * (complement + exponent * (p * neg_log_p))
        return _Outcome(modulation * neg_log_p, slope, p)

    return outcome(is_yes_likely), outcome(ops.logical_not(is_yes_likely))


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
