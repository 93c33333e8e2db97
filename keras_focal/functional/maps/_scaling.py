"""Maps on logits that change confidence and keep the order of the classes."""

from keras import ops

from keras_focal.functional._backend.precision import Tensor


def scale_logits(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Return logits / temperature: T > 1 lowers every confidence, T < 1 raises it, T = 1 keeps it.

    Args:
        logits: Float tensor of any shape.
        temperature: Scalar > 0.

    Source:
        Guo et al., 2017, eq. 9.
    """
    return ops.divide(logits, ops.cast(temperature, logits.dtype))
