"""The focal loss of independent yes-or-no logits: one exponential and one logarithm for both sides.

With e = exp(-|z|) the likelier answer has probability 1 / (1 + e), the other e / (1 + e), and
log(1 + e) is the neg_log_p of the likelier one (docs/maths.md, equations M1 and F1).
"""

from typing import NamedTuple

from keras import ops

from keras_focal.functional._backend.compilation import over_rows
from keras_focal.functional._backend.derivative import with_gradient
from keras_focal.functional._backend.operations import afresh, log_of_one_plus
from keras_focal.functional._backend.precision import Tensor, floating, to_float
from keras_focal.functional._inputs.gamma import (
    Gamma,
    is_product,
    is_signed,
    power,
    resolve,
    split_rows,
)
from keras_focal.functional._stable.margin import LARGEST_GAP, StableProbability
from keras_focal.functional.losses._focal import focal_terms


def binary_focal_crossentropy(
    targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: Tensor | None = None
) -> Tensor:
    """Return the focal loss of each independent yes-or-no logit, without reduction.

    L = -alpha q (1 - p)^gamma log p - (1 - alpha) (1 - q) p^gamma log(1 - p), p =
    sigmoid(logits); without alpha both weights are 1. For q = 0 or 1 this is the usual binary
    focal loss; for a soft q it is equation 5 of the paper, where Keras modulates by one mixed p_t.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma: Number, tensor broadcastable to `logits`, or function from p_t to gamma; >= 0,
            or < 0 as for the sparse form.
        alpha: None, or number or tensor broadcastable to `logits`, in [0, 1]: weight of the
            positive class; the negative class has 1 - alpha.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        As for the sparse form.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.binary_focal_crossentropy([1.0], [-100.0], gamma=2.0)
        >>> float(loss[0])
        100.0

    Source:
        Lin et al., 2017, eq. 5; Mukhoti et al., 2020, eq. 5.
    """
    logits = floating(logits)
    targets = ops.stop_gradient(ops.convert_to_tensor(targets))
    gamma, gammas = split_rows(gamma, logits)
    alpha, alphas = split_rows(alpha, logits)

    def kernel(targets: Tensor, z: Tensor, *of_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its slope with respect to z."""
        rows = iter(of_rows)
        exponent = next(rows) if gammas else gamma
        weight = next(rows) if alphas else alpha
        z = to_float(z)
        positive = ops.cast(targets, z.dtype)
        negative = 1.0 - positive
        if weight is not None:
            weight = ops.cast(weight, z.dtype)
            positive, negative = positive * weight, negative * (1.0 - weight)
        yes, no = _answers(z, exponent)
        return positive * yes.value + negative * no.value, negative * no.pull - positive * yes.pull

    def value(*arrays: Tensor) -> Tensor:
        return kernel(*arrays)[0]

    def gradient(upstream: Tensor, *arrays: Tensor) -> Tensor:
        return ops.cast(kernel(*arrays)[1] * upstream, logits.dtype)

    axes = len(logits.shape)

    def forward(z: Tensor) -> tuple[Tensor]:
        return (over_rows(value, targets, z, *gammas, *alphas, axes=axes),)

    def differentiate(z: Tensor, _: tuple[Tensor], upstream: Tensor) -> Tensor:
        return over_rows(gradient, upstream, targets, afresh(z), *gammas, *alphas, axes=axes)

    return with_gradient(forward, differentiate)(logits)


class _Answer(NamedTuple):
    """One of the two answers.

    Attributes:
        value: (1 - p)^gamma (-log p) of it.
        pull: (1 - p) g(p, gamma) = (1 - p)^gamma (1 - p - gamma p log p).
    """

    value: Tensor
    pull: Tensor


def _answers(z: Tensor, gamma: Gamma) -> tuple[_Answer, _Answer]:
    """Return yes, of logit z, and no."""
    size = ops.clip(ops.abs(z), 0.0, LARGEST_GAP)
    small = ops.exp(-size)
    likely = 1.0 / (1.0 + small)
    unlikely = small * likely
    neg_log_p_of_likely = log_of_one_plus(small)
    is_yes_likely = z >= 0

    def answer(is_likely: Tensor) -> _Answer:
        p = ops.where(is_likely, likely, unlikely)
        complement = ops.where(is_likely, unlikely, likely)
        neg_log_p = neg_log_p_of_likely + ops.where(is_likely, 0.0, size)
        exponent = resolve(gamma, p)
        if is_signed(gamma):
            value, slope = focal_terms(
                StableProbability(p, complement, neg_log_p), exponent, signed=True
            )
            return _Answer(value, complement * slope)
        if is_product(exponent):
            modulation = power(complement, exponent)
        else:
            # (1 / (1 + e))^gamma and (e / (1 + e))^gamma.
            modulation = ops.exp(-exponent * neg_log_p_of_likely)
            modulation = modulation * ops.where(is_likely, _power_of_small(size, exponent), 1.0)
        return _Answer(
            modulation * neg_log_p, modulation * (complement + exponent * (p * neg_log_p))
        )

    return answer(is_yes_likely), answer(ops.logical_not(is_yes_likely))


def _power_of_small(size: Tensor, gamma: Tensor) -> Tensor:
    """Return exp(-gamma size), with the rounding of the product put back (Dekker's product)."""
    # A number has more digits than the halves of a tensor hold.
    gamma = ops.cast(gamma, size.dtype)
    product = gamma * size
    gamma_high, size_high = _upper_half(gamma), _upper_half(size)
    gamma_low, size_low = gamma - gamma_high, size - size_high
    error = (gamma_high * size_high - product) + (gamma_high * size_low + gamma_low * size_high)
    return ops.exp(-product) * (1.0 - (error + gamma_low * size_low))


def _upper_half(x: Tensor) -> Tensor:
    """Return the upper half of the digits of float32 numbers (Veltkamp's splitting)."""
    spread = 4097.0 * x
    return spread - (spread - x)
