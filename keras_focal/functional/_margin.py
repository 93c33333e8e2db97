"""One class set against all the others.

Every focal loss needs three numbers of a class: its probability p, the complement 1 - p and
-log p, each with a small *relative* error however close p comes to 0 or 1. They follow from the
margin m = logsumexp(other logits) - logit, since p = sigmoid(-m), 1 - p = sigmoid(m) and
-log p = softplus(m) (docs/maths.md, equation M1). Subtracting p from 1 would lose them: in float32
1 - p is exactly 0 from a gap of 17 on.

The margin is kept in parts, m = gap + log(rest), because a sum of exponentials and a difference
of logits are each exact to a rounding, and their sum is not.
"""

from typing import NamedTuple

from keras import ops

from keras_focal.functional._precision import LOWEST, Tensor

LARGEST_GAP = 2.0**100
"""A gap beyond this counts as this, so that the sum of a batch of hopeless samples is finite."""


class Margin(NamedTuple):
    """The margin m = gap + gap_error + log(rest) of a class.

    Attributes:
        gap: Largest other logit minus the logit of the class, within +-2**100.
        gap_error: What rounding took from `gap`.
        rest: Sum of exp(other logit - largest other logit), in [1, K - 1]; 0 where every other
            logit is -inf.
    """

    gap: Tensor
    gap_error: Tensor
    rest: Tensor


class Odds(NamedTuple):
    """What a margin says of its class.

    Attributes:
        p: Probability of the class.
        complement: 1 - p, accurate to a few roundings also where p rounds to 1.
        surprise: -log p in nats, accurate at both ends.
    """

    p: Tensor
    complement: Tensor
    surprise: Tensor


def chosen_class(index: Tensor, num_classes: int) -> Tensor:
    """Return a bool tensor of shape index.shape + (num_classes,), true where the index points.

    An index outside [0, num_classes) points nowhere.
    """
    return ops.equal(ops.expand_dims(index, -1), ops.arange(num_classes, dtype="int32"))


def class_margin(index: Tensor, logits: Tensor) -> tuple[Margin, Tensor]:
    """Return the margin of the class that `index` names in each row, and the largest other logit.

    Args:
        index: int32 tensor, shape (...). Outside [0, K) it names no class: the margin is then
            that of a class with logit 0.
        logits: Float tensor, shape (..., K >= 2).

    Returns:
        Margin with parts of shape (...), and a tensor of shape (...).
    """
    num_classes = logits.shape[-1]
    nearest = ops.expand_dims(ops.clip(index, 0, num_classes - 1), -1)
    logit = ops.squeeze(ops.take_along_axis(logits, nearest, axis=-1), axis=-1)
    others = ops.where(chosen_class(index, num_classes), -float("inf"), logits)
    # The floor keeps -inf - (-inf) out where all other logits are -inf.
    largest = ops.max(others, axis=-1, initial=LOWEST)
    rest = ops.sum(ops.exp(others - ops.expand_dims(largest, -1)), axis=-1)
    return Margin(*_difference(largest, logit), rest), largest


def odds(margin: Margin) -> Odds:
    """Return p, 1 - p and -log p of a class from its margin."""
    gap, gap_error, rest = margin
    behind = gap > 0
    small = ops.exp(-ops.abs(gap))
    # As a factor, not as a summand: that would be flushed to zero before `small` is.
    small = small * (1.0 + ops.where(behind, -gap_error, gap_error))
    against = ops.where(behind, rest, rest * small)
    in_favour = ops.where(behind, small, 1.0)
    total = against + in_favour
    surprise = ops.where(
        behind,
        ops.relu(gap) + (gap_error + ops.log(total)),
        ops.log1p(ops.where(behind, 0.0, against)),
    )
    return Odds(in_favour / total, against / total, surprise)


def _difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a - b, clipped, and the error of its rounding (Knuth's TwoSum)."""
    difference = a - b
    b_part = a - difference
    error = (a - (difference + b_part)) + (b_part - b)
    # An overflowed difference has no meaningful error; the comparison is false for NaN too.
    error = ops.where(ops.abs(error) < 1.0, error, 0.0)
    return ops.clip(difference, -LARGEST_GAP, LARGEST_GAP), error
