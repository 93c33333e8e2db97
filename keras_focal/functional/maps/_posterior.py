"""From the output of a model trained with a focal loss to the class posterior.

The minimiser of the focal loss is not the class posterior eta but a flatter distribution q. The map
between them is one to one: eta_c is proportional to q_c / g(q_c, gamma), with the g of Proposition
1 (docs/maths.md, equations P1 to P3).
"""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.precision import LOWEST, TINY, to_float
from keras_focal.functional._inputs.probabilities import first_largest
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.maps._export import log_one_plus


def focal_posterior(logits: Tensor, gamma: float | Tensor) -> Tensor:
    """Return logits of the class posterior from the logits of a model trained with a focal loss.

    eta_c = h(q_c) / sum_j h(q_j), with h(q) = q / g(q, gamma) and q = softmax(logits). The softmax
    of the result is eta. The order of the classes is preserved; gamma = 0 only adds a constant.

    Args:
        logits: Float tensor, shape (..., K), K >= 2, finite. K = 1 is the logit of the positive
            class of two.
        gamma: Scalar: the gamma of the loss, >= 0, or one found by focal temperature scaling, > -1.
            For gamma < 0 the formula for g is the same and the map lowers confidence; it is not the
            map of an inverse focal loss.

    Returns:
        Tensor of the shape of `logits`, float32 or float64: log(eta_c / eta_top) <= 0, which is 0
        only for the largest logit. For K = 1 the logit of eta.

    Numerics:
        Within 3e-6 max(1, |result|) in float32 for any finite logits. The computation is done in
        logarithms, since q / g is 0 / 0 from a gap of 18 on.

    Example:
        >>> from keras_focal import functional
        >>> posterior = functional.focal_posterior([[1.5, 0.0]], gamma=2.0)
        >>> [round(float(z), 4) for z in posterior[0]]
        [0.0, -4.0334]

    Source:
        Charoenphakdee et al., 2021, "On Focal Loss for Class-Posterior Probability Estimation: A
        Theoretical Perspective"; g: Mukhoti et al., 2020, Proposition 1.
    """
    z = to_float(logits)
    gamma = ops.cast(gamma, z.dtype)
    if z.shape[-1] == 1:
        return _from_top(ops.concatenate([ops.zeros_like(z), z], axis=-1), gamma, signed=True)
    return _from_top(z, gamma, signed=False)


def _from_top(z: Tensor, gamma: Tensor, *, signed: bool) -> Tensor:
    """Return log h of each class minus that of the top class; if `signed`, of class 1 minus 0."""
    top, largest = first_largest(z)
    is_top = chosen_class(top, z.shape[-1])
    # Set to 0 explicitly: a compiler may use an unrounded product inside z here.
    below = ops.where(is_top, 0.0, z - ops.expand_dims(largest, -1))
    # log(sum of the others / top): gives 1 - q of the top class without subtracting from 1.
    rest = ops.logsumexp(ops.where(is_top, LOWEST, below), axis=-1, keepdims=True)
    log_total = ops.softplus(rest)
    log_q = below - log_total
    q = ops.where(is_top, 0.0, ops.exp(log_q))
    of_top = _log_gradient_ratio(
        ops.exp(-log_total), ops.sigmoid(rest), log_total, rest - log_total, gamma
    )
    of_others = _log_gradient_ratio(q, 1.0 - q, -log_q, log_one_plus(-q), gamma)
    others = below - of_others + of_top
    if signed:
        other = ops.where(is_top, 0.0, others)
        return other[..., 1:] - other[..., :1]
    # Strictly negative, so that rounding cannot make another class the largest.
    return ops.where(is_top, 0.0, ops.clip(others, -float("inf"), -TINY))


def _log_gradient_ratio(
    q: Tensor, complement: Tensor, neg_log_p: Tensor, log_complement: Tensor, gamma: Tensor
) -> Tensor:
    """Return log g(q, gamma) = gamma log(1 - q) + log(1 + gamma q r), r = -log q / (1 - q)."""
    # A series near q = 1, where the derivative of the quotient would overflow.
    is_sure = complement < 2.0**-12
    quotient = neg_log_p / ops.where(is_sure, 1.0, complement)
    ratio = ops.where(is_sure, 1.0 + 0.5 * complement, quotient)
    return gamma * log_complement + log_one_plus(gamma * (q * ratio))
