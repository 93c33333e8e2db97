"""Losses of independent yes-or-no logits besides the focal one: asymmetric, and quality focal.

docs/maths.md, equations L9 and L10.
"""

from keras import ops

from keras_focal._validation import check_gamma
from keras_focal.functional._backend.operations import log_of_one_plus
from keras_focal.functional._backend.precision import TINY, Tensor, floating
from keras_focal.functional._inputs.gamma import Gamma, power, read_gamma, resolve
from keras_focal.functional._inputs.labels import read_targets
from keras_focal.functional._stable.margin import LARGEST_GAP, StableProbability
from keras_focal.functional.losses._focal import log_base
from keras_focal.functional.losses._terms import Terms, loss_of_outputs

FIX = "Give one target in [0, 1] for each output."


def asymmetric_loss(
    targets: Tensor,
    logits: Tensor,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    shift: float = 0.05,
) -> Tensor:
    """Return the asymmetric loss of each independent yes-or-no logit, without reduction.

    L = -q (1 - p)^gamma_pos log p - (1 - q) p_m^gamma_neg log(1 - p_m), p = sigmoid(logits),
    p_m = max(p - shift, 0): a negative of probability up to `shift` costs nothing. Equal gammas
    and no shift give the binary focal loss.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma_pos: Exponent of the positives, a number >= 0.
        gamma_neg: Exponent of the negatives, a number >= 0.
        shift: Number in [0, 1).

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

    def kernel(targets: Tensor, z: Tensor) -> Terms:
        positive = ops.cast(targets, z.dtype)
        negative = 1.0 - positive
        of_yes, of_no = _answers(z)
        yes = _focal(of_yes, gamma_pos)
        no = _focal(of_no, gamma_neg) if shift == 0 else _shifted(of_no, gamma_neg, shift)
        return Terms(
            positive * yes.value + negative * no.value,
            negative * no.gradient - positive * yes.gradient,
        )

    logits = floating(logits)
    return loss_of_outputs(kernel, read_targets(targets, logits.shape, FIX), logits)


def quality_focal_crossentropy(targets: Tensor, logits: Tensor, *, gamma: Gamma = 2.0) -> Tensor:
    """Return |q - p|^gamma times the binary cross-entropy of each independent logit.

    L = -|q - p|^gamma (q log p + (1 - q) log(1 - p)), p = sigmoid(logits), for a soft q such as
    the quality of a box. 0 at p = q; for q = 0 or 1 it is the binary focal loss.

    Args:
        targets: Float tensor, the shape of `logits`, in [0, 1].
        logits: Float tensor of any shape, any finite values.
        gamma: Number, tensor broadcastable to `logits`, or function from 1 - |q - p| to gamma;
            >= 0. The paper calls it beta.

    Returns:
        Tensor of the shape of `logits`, >= 0, in nats; float32 also for half-precision logits.

    Numerics:
        For gamma <= 1 the loss has a corner at p = q, 0 < q < 1: the gradient there is 0, and
        for gamma < 1 it grows without bound (and stays finite) beside it.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.quality_focal_crossentropy([0.5, 1.0], [0.0, 0.0], gamma=2.0)
        >>> [round(float(value), 4) for value in loss]
        [0.0, 0.1733]

    Source:
        Li et al., 2020, "Generalized Focal Loss", eq. 2.
    """
    logits = floating(logits)
    labels = read_targets(targets, logits.shape, FIX)
    gamma = read_gamma(gamma, logits, signed=False)

    def kernel(targets: Tensor, z: Tensor, given: Gamma) -> Terms:
        targets = ops.cast(targets, z.dtype)
        yes, no = _answers(z)
        # q - p from the side on which it does not cancel.
        gap = ops.where(targets > 0.5, yes.complement - (1.0 - targets), targets - yes.p)
        size = ops.abs(gap)
        exponent = resolve(given, 1.0 - size)
        modulation = power(size, exponent)
        entropy = targets * yes.neg_log_p + (1.0 - targets) * no.neg_log_p
        vanished = size < TINY
        ratio = ops.where(vanished, 0.0, entropy / ops.where(vanished, 1.0, size))
        # (|gap|^gamma entropy)' with p' = p (1 - p); |gap| / gap times what has its sign.
        steepness = modulation * (size + exponent * (yes.p * yes.complement * ratio))
        value = modulation * entropy
        slopes = (value * log_base(size),) if gamma.is_learned else ()
        return Terms(value, -ops.sign(gap) * steepness, slopes)

    return loss_of_outputs(kernel, labels, logits, gamma)


def _answers(z: Tensor) -> tuple[StableProbability, StableProbability]:
    """Return the probabilities of yes, of logit z, and of no."""
    # Not the absolute value, whose derivative at 0 is 0 from both sides.
    size = ops.clip(ops.where(z >= 0, z, -z), -1.0, LARGEST_GAP)
    small = ops.exp(-size)
    likely = 1.0 / (1.0 + small)
    unlikely = small * likely
    neg_log_p = log_of_one_plus(small)
    is_yes_likely = z >= 0
    p = ops.where(is_yes_likely, likely, unlikely)
    complement = ops.where(is_yes_likely, unlikely, likely)
    yes = StableProbability(p, complement, neg_log_p + ops.where(is_yes_likely, 0.0, size))
    return yes, StableProbability(complement, p, neg_log_p + ops.where(is_yes_likely, size, 0.0))


def _focal(answer: StableProbability, gamma: float) -> Terms:
    """Return the focal loss of an answer, and minus its derivative by the logit of the answer."""
    p, complement, neg_log_p = answer
    modulation = power(complement, float(gamma))
    return Terms(modulation * neg_log_p, modulation * (complement + gamma * (p * neg_log_p)))


def _shifted(no: StableProbability, gamma: float, shift: float) -> Terms:
    """Return the loss of a negative with its probability of yes shifted down, and its derivative.

    1 - p_m = min((1 - p) + shift, 1) >= shift: neither it nor its logarithm can vanish.
    """
    probability = ops.clip(no.complement - shift, 0.0, 1.0)
    rest = ops.clip(no.p + shift, 0.0, 1.0)
    small = ops.clip(probability, 0.0, 0.5)
    neg_log_p = ops.where(probability < 0.5, -ops.log1p(-small), -ops.log(rest))
    vanished = probability < TINY
    ratio = ops.where(vanished, 1.0, neg_log_p / ops.where(vanished, 1.0, probability))
    modulation = power(probability, float(gamma))
    slope = modulation * (gamma * ratio + 1.0 / rest) * (no.p * no.complement)
    return Terms(modulation * neg_log_p, ops.where(no.complement > shift, slope, 0.0))
