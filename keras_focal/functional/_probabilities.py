"""The way in for probabilities: the logits that they come from. The only place that clips.

softmax(log p) = p / sum(p) and sigmoid(log p - log(1 - p)) = p, so every loss is written for
logits alone. What the softmax rounded away cannot be recovered: a probability of exactly 0 has no
gradient, and a sigmoid of exactly 1 counts as 1 - 2**-24. Prefer logits.
"""

from keras import ops

from keras_focal.functional._precision import TINY, Tensor, to_float

LARGEST_PROBABILITY = 1.0 - 2.0**-24
"""The largest float32 below 1: -log(1 - p) is at most 16.6 from a probability."""


def logits_from_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p, logits of a categorical distribution; p below 2**-126 counts as 2**-126.

    Args:
        probabilities: Float tensor, shape (..., K), >= 0. Rows need not sum to 1.

    Returns:
        Tensor of the same shape, in [-87.3, ...), float32 or float64.
    """
    return ops.log(ops.clip(to_float(probabilities), TINY, float("inf")))


def logits_from_binary_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p - log(1 - p), the logit of each probability in [2**-126, 1 - 2**-24].

    Args:
        probabilities: Float tensor of any shape, in [0, 1].

    Returns:
        Tensor of the same shape, float32 or float64.
    """
    p = ops.clip(to_float(probabilities), TINY, LARGEST_PROBABILITY)
    return ops.log(p) - ops.log1p(-p)
