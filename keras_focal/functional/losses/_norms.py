"""Norms of logits, and of the gradient of the loss (docs/maths.md, F8 and C15).

Squares overflow long before norms do, so each row is divided by its largest entry first.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import LOWEST, TINY, to_float
from keras_focal.functional._inputs.gamma import Gamma, Parameters, read_alpha, read_gamma
from keras_focal.functional._inputs.labels import label_factor, read_ids
from keras_focal.functional._inputs.probabilities import two_classes
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional._stable.predicted import Logits
from keras_focal.functional.losses._focal import sparse_terms
from keras_focal.functional.losses._terms import checked


def logit_norm(logits: Tensor) -> Tensor:
    """Return the L2 norm of each row of logits.

    It grows with the confidence of a network. Adding a constant to all logits of a row changes the
    norm but not the probabilities.

    Args:
        logits: Float tensor, shape (..., K).

    Returns:
        Float tensor, shape (...), >= 0; NaN for a row that is not finite.

    Example:
        >>> from keras_focal import functional
        >>> float(functional.logit_norm([[3.0, -4.0]])[0])
        5.0

    Source:
        Mukhoti et al., 2020, Figure 7(a); for features in place of logits, Figure 10.
    """
    logits = to_float(logits)
    largest = ops.clip(ops.max(ops.abs(logits), axis=-1, keepdims=True), TINY, float("inf"))
    scaled = logits / largest
    return ops.squeeze(largest, axis=-1) * ops.sqrt(ops.sum(scaled * scaled, axis=-1))


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def focal_gradient_norm(
    labels: Tensor,
    logits: Tensor,
    *,
    gamma: Gamma = 2.0,
    alpha: Tensor | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """Return the L2 norm of the gradient of the sparse focal loss of each row of logits.

    ||dL/dz|| = alpha_t g(p_t, gamma) ||p - e_t|| for logits z. Given the input h of the last linear
    layer, z = h W + b, it is the norm of the gradient of W and b together,
    ||dL/dz|| sqrt(||h||^2 + 1). Both have a closed form; no backward pass is run.

    Args:
        labels: Integer tensor, shape (...). An id outside [0, K) raises a ValueError where it
            can be read, and gives NaN otherwise.
        logits: Float tensor, shape (..., K), any finite values. K = 1 is the logit of the positive
            class of two, and the norm is that of the gradient of this one logit.
        gamma: As for `sparse_categorical_focal_crossentropy`; 0 gives cross-entropy.
        alpha: None, a number, or a tensor of shape (max(K, 2),): weight of each class.
        features: None, or float tensor of shape (..., D).

    Returns:
        Float tensor, shape (...), >= 0: the norm for each sample, not divided by the batch size.

    Raises:
        ValueError: If the shapes of labels, logits and features do not match.

    Numerics:
        The relative error is at most 1e-5 in float32 while the norm is a normal number, also where
        p_t rounds to 1. Smaller norms are 0.

    Example:
        >>> from keras_focal import functional
        >>> for gamma in (0.0, 3.0):
        ...     norm = functional.focal_gradient_norm([0], [[2.0, 0.0]], gamma=gamma)
        ...     print(round(float(norm[0]), 4))
        0.1686
        0.0011

    Source:
        Mukhoti et al., 2020, Proposition 1 and Figure 4(b-d).
    """
    logits = to_float(logits)
    z = two_classes(logits, True)
    read = read_ids(labels, z.shape)
    labels = read.values
    exponent, weights = read_gamma(gamma, labels), read_alpha(alpha, num_classes=z.shape[-1])
    parameters = Parameters(exponent, weights)
    values = parameters.values(*parameters.rows, *parameters.shared)
    terms = sparse_terms(labels, Logits(z), *values, signed=exponent.is_signed)
    reference, at_true, at_others = terms.reference, terms.at_true, terms.at_others
    norm = checked(at_true * ops.cast(label_factor(labels), z.dtype), read, z.shape)
    if logits.shape[-1] > 1:
        # Without the true class, whose exponential may overflow.
        below = z - ops.expand_dims(reference, -1)
        below = ops.where(chosen_class(labels, z.shape[-1]), LOWEST, below)
        share = ops.exp(below) * ops.expand_dims(ops.divide_no_nan(at_others, at_true), -1)
        norm = norm * ops.sqrt(1.0 + ops.sum(share * share, axis=-1))
    if features is None:
        return norm
    features = to_float(features)
    check_same_shape(
        "features", features.shape[:-1], labels.shape, "Give the input of the last layer."
    )
    inputs = ops.concatenate([features, ops.ones_like(features[..., :1])], axis=-1)
    return norm * ops.cast(logit_norm(inputs), norm.dtype)
