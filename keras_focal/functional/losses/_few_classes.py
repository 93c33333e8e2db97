"""The focal loss of a few classes in few operations, for TensorFlow graphs that are not compiled.

A step of a small model takes little more time than starting compiled code does, so each operation
counts. TensorFlow's own cross-entropy gives -log p and p of a row in one. In float64 the sum of the
other probabilities is 1 - p to the last digit of float32.
"""

from typing import Any

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import are_operations_graphed
from keras_focal.functional._inputs.gamma import Gamma, Parameter, power, resolve
from keras_focal.functional._stable.margin import LARGEST_GAP
from keras_focal.functional._stable.predicted import Predicted

MOST_CLASSES = 64
"""Number of classes above which compiled code is faster, for small batches too."""


def are_few_classes(predicted: Predicted, gamma: Parameter, alpha: Parameter) -> bool:
    """Return whether `terms_of_few_classes` can compute the loss, and may be the faster way."""
    is_given = not (gamma.is_signed or gamma.is_learned or gamma.rows or alpha.is_learned)
    is_flat = len(predicted.shape) == 2 and predicted.shape[-1] <= MOST_CLASSES
    return is_given and is_flat and are_operations_graphed()


def terms_of_few_classes(
    ids: Tensor, predicted: Predicted, gamma: Gamma, alpha: Any
) -> tuple[Tensor, Tensor]:
    """Return -alpha_t (1 - p_t)^gamma log p_t of each row of predictions, and its gradient.

    Args:
        ids: Integer tensor, shape (N,). The loss of an id outside [0, K) is NaN.
        predicted: Predictions, shape (N, K), float32 or better.
        gamma: Number, scalar tensor, or function from p_t to gamma; >= 0.
        alpha: None, number, or tensor of shape () or (K,).

    Returns:
        Tensors of shapes (N,) and (N, K), float32 or better.
    """
    import tensorflow as tf

    num_classes = predicted.shape[-1]
    exact = type(predicted)(tf.cast(predicted.values, "float64"))
    true = tf.raw_ops.ClipByValue(t=ids, clip_value_min=0, clip_value_max=num_classes - 1)
    neg_log_p, p_or_less = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=exact.logits(), labels=true
    )
    p_of_others = tf.nn.relu(p_or_less)
    complement = tf.reduce_sum(p_of_others, axis=-1)
    complement = tf.where(ids == true, complement, float("nan"))
    neg_log_p = tf.minimum(tf.math.softplus(tf.math.log(complement) + neg_log_p), LARGEST_GAP)
    gammas = resolve(gamma, tf.cast(1.0 - complement, predicted.dtype))
    gammas = gammas if isinstance(gammas, float) else tf.cast(gammas, "float64")
    modulation = power(complement, gammas)
    value = modulation * neg_log_p
    slope = modulation + gammas * (tf.math.divide_no_nan(value, complement) - value)
    if alpha is not None:
        weight = tf.cast(alpha, "float64")
        weight = tf.gather(weight, true) if len(weight.shape) else weight
        value, slope = weight * value, weight * slope
    is_true = tf.one_hot(true, num_classes, dtype="float64")
    direction = p_of_others - is_true * tf.expand_dims(complement, -1)
    gradient = exact.by_log(direction * tf.expand_dims(slope, -1))
    return tf.cast(value, predicted.dtype), tf.cast(gradient, predicted.dtype)
