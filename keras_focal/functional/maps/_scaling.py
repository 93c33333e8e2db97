"""Temperature scaling."""

from keras import ops

from keras_focal._typing import Tensor


def scale_logits(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Return logits / temperature: T > 1 lowers every confidence, T < 1 raises it.

    Args:
        logits: Float tensor of any shape.
        temperature: Scalar > 0, or shape (K,) for independent labels. 1 changes nothing.

    Returns:
        Tensor of the shape and dtype of `logits`.

    Example:
        >>> from keras import ops
        >>> from keras_focal import functional
        >>> [float(z) for z in functional.scale_logits(ops.array([4.0, 1.0]), 2.0)]
        [2.0, 0.5]

    Source:
        Guo et al., 2017, eq. 9.
    """
    return ops.divide(logits, ops.cast(temperature, logits.dtype))
