"""Losses of regions: how far the predicted and the true pixels of each class overlap.

docs/maths.md, equation L24. The sums over the pixels of a class are differentiated
automatically.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_positive
from keras_focal.functional._backend.precision import TINY
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.losses._batch import Batch


@keras.saving.register_keras_serializable(package="keras_focal")
def focal_tversky_loss(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4.0 / 3.0,
    per_sample: bool = False,
) -> Tensor:
    """Return the focal Tversky loss of a batch, or of each of its samples.

    L = mean over the classes with a label of (1 - TI_c)^(1 / gamma), with the Tversky index
    TI_c = TP / (TP + alpha FN + beta FP) of class c, from sums of probabilities over all
    predictions: TP = sum p_c on c, FN = sum 1 - p_c on c, FP = sum p_c elsewhere. It is the Dice
    loss at alpha = beta = 1/2 and gamma = 1, the Jaccard loss at alpha = beta = gamma = 1.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: None, or float tensor of the shape of `labels` as ids, >= 0: how much a
            prediction counts in the sums.
        alpha: Weight of what is missed, a number > 0. `keras.losses.Tversky` computes the same,
            although its documentation calls alpha the weight of false positives.
        beta: Weight of what is wrongly claimed, a number > 0.
        gamma: Number > 0. Above 1, the gradient of a class grows with its overlap.
        per_sample: Whether each sample of the batch, such as an image, has a loss of its own.

    Returns:
        Scalar tensor in [0, 1], or shape (B,) if `per_sample`; 0 for no predictions. Float32 also
        for half-precision logits.

    Raises:
        ValueError: If alpha, beta or gamma is not a finite number > 0; or per_sample is asked for
            logits with one prediction per sample.

    Numerics:
        A class without a label is left out: its TI is 0 however little of it is predicted, without
        a gradient. For gamma > 1 the slope grows without bound as TI -> 1; at TI = 1 the gradient
        is 0.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.focal_tversky_loss([0, 1], [[0.0, 0.0], [0.0, 0.0]], gamma=1.0)
        >>> round(float(loss), 4)
        0.5

    Source:
        Abraham and Khan, 2019, "A Novel Focal Tversky Loss Function with Improved Attention U-Net
        for Lesion Segmentation", eq. 2 and 4, which sums over classes.
    """
    rates = check_positive("alpha", alpha), check_positive("beta", beta)
    exponent = 1.0 / check_positive("gamma", gamma)
    return _of_regions(labels, logits, sample_weight, rates, exponent, per_sample)


def _of_regions(
    labels: Tensor,
    logits: Tensor,
    sample_weight: Tensor | None,
    rates: tuple[float, float],
    exponent: Tensor,
    per_sample: bool,
) -> Tensor:
    """Return the mean of (1 - TI_c)^exponent over the classes with a label, exponent by class."""
    batch = Batch(labels, logits, sample_weight)
    shape, num_classes = ops.shape(batch.z), batch.z.shape[-1]
    if per_sample and len(shape) < 3:
        raise ValueError(
            "`per_sample` must be False for one prediction per sample. Received: per_sample=True "
            f"for logits of shape {tuple(batch.z.shape)}. It is meant for pixels or tokens."
        )
    if 0 in batch.z.shape:
        return (
            ops.sum(batch.z, axis=tuple(range(1, len(shape)))) if per_sample else ops.sum(batch.z)
        )
    samples = shape[0] if per_sample else 1
    p = ops.reshape(ops.softmax(batch.z, axis=-1), (samples, -1, num_classes))
    weights = ops.reshape(batch.weights, (samples, -1, 1))
    is_class = chosen_class(ops.reshape(batch.ids, (samples, -1)), num_classes)
    is_class = ops.cast(is_class, p.dtype)
    wrong = (1.0 - is_class) * p
    # The sum of the other probabilities: 1 - p would lose its digits near p = 1.
    missed = is_class * ops.sum(wrong, axis=-1, keepdims=True)
    found, missed, wrong, number = (
        ops.sum(weights * part, axis=1) for part in (is_class * p, missed, wrong, is_class)
    )
    error = rates[0] * missed + rates[1] * wrong
    gap = ops.divide_no_nan(error, found + error)
    # Not "above TINY", so that NaN stays NaN.
    vanished = gap < TINY
    focused = ops.where(vanished, 0.0, ops.power(ops.where(vanished, 1.0, gap), exponent))
    has_label = ops.cast(number > 0, gap.dtype)
    value = ops.divide_no_nan(ops.sum(has_label * focused, axis=-1), ops.sum(has_label, axis=-1))
    # NaN of an invalid label or weight belongs to no class.
    value = value + 0.0 * ops.sum(weights, axis=(1, 2))
    return batch.checked(value if per_sample else value[0])
