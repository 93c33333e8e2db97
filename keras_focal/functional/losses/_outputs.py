"""Asymmetric, quality focal and varifocal loss of independent binary outputs.

docs/maths.md, equations L9, L10 and L21.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import check_at_least
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import TINY
from keras_focal.functional._inputs.gamma import Gamma, power, read_gamma, resolve
from keras_focal.functional._inputs.labels import read_targets
from keras_focal.functional._stable.margin import StableProbability
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._focal import log_base
from keras_focal.functional.losses._terms import Terms, loss_of_outputs

FIX = "Give one target in [0, 1] for each output."


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def asymmetric_loss(
    targets: Tensor,
    logits: Tensor,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    shift: float = 0.05,
) -> Tensor:
    """Return the asymmetric loss of each independent binary output, without reduction.

    L = -q (1 - p)^gamma_pos log p - (1 - q) p_m^gamma_neg log(1 - p_m), with p = sigmoid(logits)
    and p_m = max(p - shift, 0): negatives with a probability up to `shift` have loss 0. Equal
    gammas and shift = 0 give the binary focal loss.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma_pos: Exponent for positives, a number >= 0.
        gamma_neg: Exponent for negatives, a number >= 0.
        shift: Number in [0, 1), subtracted from the probability of negatives.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.asymmetric_loss([1.0, 0.0], [0.0, -3.0])
        >>> [round(float(value), 4) for value in loss]
        [0.6931, 0.0]

    Source:
        Ridnik et al., 2021, "Asymmetric Loss For Multi-Label Classification".
    """

    gamma_pos, gamma_neg = check_gamma("gamma_pos", gamma_pos), check_gamma("gamma_neg", gamma_neg)

    def kernel(targets: Tensor, predicted: Predicted) -> Terms:
        positive = ops.cast(targets, predicted.dtype)
        negative = 1.0 - positive
        of_yes, of_no = predicted.outcomes()
        yes = _focal(predicted, of_yes, gamma_pos)
        if shift == 0:
            no = _focal(predicted, of_no, gamma_neg)
        else:
            no = _shifted(predicted, of_no, gamma_neg, shift)
        return Terms(
            positive * yes.value + negative * no.value,
            negative * no.gradient - positive * yes.gradient,
        )

    predicted = read_predicted(logits)
    return loss_of_outputs(kernel, read_targets(targets, predicted.shape, FIX), predicted)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def quality_focal_crossentropy(targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0) -> Tensor:
    """Return the quality focal loss of each independent binary output, without reduction.

    L = -|q - p|^gamma (q log p + (1 - q) log(1 - p)), with p = sigmoid(logits), for soft targets q
    such as the quality of a box. It is 0 at p = q. For q = 0 or 1 it is the binary focal loss.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma: Number, tensor broadcastable to `logits`, or function from 1 - |q - p| to gamma;
            >= 0. The paper calls it beta.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        For gamma <= 1 and 0 < q < 1 the loss is not differentiable at p = q. The gradient returned
        there is 0; for gamma < 1 the gradient diverges as p -> q, but stays finite in floats.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.quality_focal_crossentropy([0.5, 1.0], [0.0, 0.0], gamma=2.0)
        >>> [round(float(value), 4) for value in loss]
        [0.0, 0.1733]

    Source:
        Li et al., 2020, "Generalized Focal Loss", eq. 2.
    """
    predicted = read_predicted(logits)
    labels = read_targets(targets, predicted.shape, FIX)
    gamma = read_gamma(gamma, predicted.values, signed=False)

    def kernel(targets: Tensor, predicted: Predicted, given: Gamma) -> Terms:
        targets = ops.cast(targets, predicted.dtype)
        yes, no = predicted.outcomes()
        gap = _gap(targets, yes)
        size = ops.abs(gap)
        exponent = resolve(given, 1.0 - size)
        modulation = power(size, exponent)
        entropy = targets * yes.neg_log_p + (1.0 - targets) * no.neg_log_p
        vanished = size < TINY
        ratio = ops.where(vanished, 0.0, entropy / ops.where(vanished, 1.0, size))
        # The derivative of |gap|^gamma entropy, with p' = p (1 - p), is -sign(gap) steepness.
        of_p = predicted.by_logit(yes.p * yes.complement)
        steepness = modulation * (predicted.by_logit(size) + exponent * (of_p * ratio))
        value = modulation * entropy
        slopes = (value * log_base(size),) if gamma.is_learned else ()
        return Terms(value, -ops.sign(gap) * steepness, slopes)

    return loss_of_outputs(kernel, labels, predicted, gamma)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def varifocal_crossentropy(
    targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0, alpha: float = 0.75
) -> Tensor:
    """Return the varifocal loss of each independent binary output, without reduction.

    L = -q (q log p + (1 - q) log(1 - p)) for q > 0 and -alpha p^gamma log(1 - p) for q = 0, with
    p = sigmoid(logits). Positives have their quality q as target and as weight, so that good ones
    count most; only negatives are focused.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma: Number, tensor broadcastable to `logits`, or function from 1 - p to gamma; >= 0.
        alpha: Weight of the negatives, a number >= 0.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        For q > 0 the least value, at p = q, is q times the entropy of q, not 0. As q decreases to 0
        the loss of a positive vanishes: a target of 0 is a negative, one of 1e-9 hardly counts.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.varifocal_crossentropy([0.0, 0.5, 1.0], [0.0, 0.0, 0.0])
        >>> [round(float(value), 4) for value in loss]
        [0.13, 0.3466, 0.6931]

    Source:
        Zhang et al., 2021, "VarifocalNet: An IoU-aware Dense Object Detector", eq. 2.
    """
    alpha = check_at_least("alpha", alpha, 0.0)
    predicted = read_predicted(logits)
    labels = read_targets(targets, predicted.shape, FIX)
    gamma = read_gamma(gamma, predicted.values, signed=False)

    def kernel(targets: Tensor, predicted: Predicted, given: Gamma) -> Terms:
        targets = ops.cast(targets, predicted.dtype)
        yes, no = predicted.outcomes()
        focal = _focal(predicted, no, resolve(given, no.p))
        is_negative = targets == 0
        entropy = targets * yes.neg_log_p + (1.0 - targets) * no.neg_log_p
        value = ops.where(is_negative, alpha * focal.value, targets * entropy)
        of_positive = predicted.by_logit(-targets * _gap(targets, yes))
        gradient = ops.where(is_negative, alpha * focal.gradient, of_positive)
        slope = ops.where(is_negative, value * log_base(no.complement), 0.0)
        return Terms(value, gradient, (slope,) if gamma.is_learned else ())

    return loss_of_outputs(kernel, labels, predicted, gamma)


def _gap(targets: Tensor, yes: StableProbability) -> Tensor:
    """Return q - p, computed without cancellation."""
    return ops.where(targets > 0.5, yes.complement - (1.0 - targets), targets - yes.p)


def _focal(predicted: Predicted, outcome: StableProbability, gamma: Gamma) -> Terms:
    """Return the focal loss of an outcome, and minus the derivative that lowers it."""
    p, complement, neg_log_p = outcome
    modulation = power(complement, gamma)
    of_complement = predicted.by_logit(complement)
    slope = of_complement + gamma * predicted.by_logit(p * neg_log_p)
    return Terms(modulation * neg_log_p, modulation * slope)


def _shifted(predicted: Predicted, no: StableProbability, gamma: float, shift: float) -> Terms:
    """Return the loss of a negative with its probability shifted down, and its derivative.

    1 - p_m = min((1 - p) + shift, 1) >= shift, so its logarithm is finite.
    """
    probability = ops.clip(no.complement - shift, 0.0, 1.0)
    rest = ops.clip(no.p + shift, 0.0, 1.0)
    small = ops.clip(probability, 0.0, 0.5)
    neg_log_p = ops.where(probability < 0.5, -ops.log1p(-small), -ops.log(rest))
    vanished = probability < TINY
    ratio = ops.where(vanished, 1.0, neg_log_p / ops.where(vanished, 1.0, probability))
    modulation = power(probability, float(gamma))
    slope = modulation * (gamma * ratio + 1.0 / rest)
    slope = slope * predicted.by_logit(no.p * no.complement)
    return Terms(modulation * neg_log_p, ops.where(no.complement > shift, slope, 0.0))
