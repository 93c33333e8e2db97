"""Losses of regions: how far the predicted and the true pixels of each class overlap.

docs/maths.md, equations L24 and L25. The sums over the pixels of a class are differentiated
automatically.
"""

import keras
from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.choices import check_choice
from keras_focal._validation.classes import check_one_class
from keras_focal._validation.numbers import check_fraction, check_positive, check_real
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.functional._backend.precision import TINY
from keras_focal.functional._inputs.gamma import Gamma
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._batch import Batch
from keras_focal.functional.losses._focal import sparse_categorical_focal_crossentropy

FORMS = ("asymmetric", "symmetric")


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
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
    batch = Batch(labels, logits, sample_weight)
    return _of_regions(batch, rates, [exponent] * batch.predicted.shape[-1], per_sample)


@keras.saving.register_keras_serializable(package="keras_focal")
@without_autograph
def unified_focal_loss(
    labels: Tensor,
    logits: Tensor,
    *,
    sample_weight: Tensor | None = None,
    weight: float = 0.5,
    delta: float = 0.6,
    gamma: float = 0.5,
    form: str = "asymmetric",
    background: int = 0,
    per_sample: bool = False,
) -> Tensor:
    """Return the unified focal loss of each prediction: a focal and a focal Tversky loss.

    L = weight F + (1 - weight) T. F is the focal loss of the prediction with alpha = delta, or
    1 - delta for the background. T is the mean over the classes with a label of (1 - TI_c)^e_c with
    TI_c = TP / (TP + delta FN + (1 - delta) FP), as in `focal_tversky_loss`; it is one number for
    the batch or the sample.

    In the symmetric form F has the exponent gamma and e_c = 1 - gamma. In the asymmetric one F is
    focused for the background alone and has exponent 0 for the other classes, and T has e_c = 1
    for the background and 1 - gamma for the others: rare classes are not suppressed, but enhanced.

    Args:
        labels: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        logits: Float tensor, shape (..., K), K >= 2.
        sample_weight: None, or float tensor of the shape of `labels` as ids, >= 0: how much a
            prediction counts in T, and whether it counts.
        weight: Number in [0, 1], lambda in the source: 1 leaves the focal loss, 0 the Tversky loss.
        delta: Number in (0, 1), the weight of rare classes, and of what is missed.
        gamma: Number in [0, 1); 0 focuses nothing.
        form: "asymmetric" or "symmetric".
        background: Id of the class of the background.
        per_sample: Whether T is one number for each sample of the batch, such as an image.

    Returns:
        Tensor of shape (...), >= 0; float32 also for half-precision logits. No reduction.

    Raises:
        ValueError: If an argument is outside its range; or per_sample is asked for logits with one
            prediction per sample.

    Numerics:
        As for `focal_tversky_loss` and `sparse_categorical_focal_crossentropy`.

    Example:
        >>> from keras_focal import functional
        >>> loss = functional.unified_focal_loss([0, 1], [[0.0, 0.0], [0.0, 0.0]])
        >>> [round(float(value), 4) for value in loss]
        [0.3998, 0.5097]

    Source:
        Yeung et al., 2022, "Unified Focal loss: Generalising Dice and cross entropy-based losses to
        handle class imbalanced medical image segmentation". The symmetric form is that of the
        authors' code; the paper exchanges gamma and 1 - gamma there, which are equal by default.
    """
    weight, delta, gamma = check_unified(weight, delta, gamma, form)
    batch = Batch(labels, logits, sample_weight)
    num_classes = batch.predicted.shape[-1]
    background = check_one_class("background", background, num_classes)
    focusing: Gamma = gamma
    exponents = [1.0 - gamma] * num_classes
    if form == "asymmetric":
        focusing = ops.where(batch.ids == background, gamma, 0.0)
        exponents[background] = 1.0
    alpha = [delta] * num_classes
    alpha[background] = 1.0 - delta
    focal = sparse_categorical_focal_crossentropy(
        batch.labels, batch.predicted, gamma=focusing, alpha=alpha
    )
    overlap = _of_regions(batch, (delta, 1.0 - delta), exponents, per_sample)
    return weight * focal + (1.0 - weight) * at_each(overlap, batch.predicted)


def check_unified(
    weight: float, delta: float, gamma: float, form: str
) -> tuple[float, float, float]:
    """Return weight, delta and gamma of the unified focal loss as floats within their ranges."""
    fix = "1 leaves the focal loss alone, 0 the Tversky loss."
    weight = check_real("weight", weight, "a number in [0, 1]", lambda x: 0 <= x <= 1, fix)
    fix = "It weighs rare classes, 1 - delta the background: 0.6 is usual."
    delta = check_real("delta", delta, "a number in (0, 1)", lambda x: 0 < x < 1, fix)
    check_choice("form", form, FORMS)
    return weight, delta, check_fraction("gamma", gamma, "0 focuses nothing, 0.5 is usual.")


def at_each(loss: Tensor, logits: Tensor | Predicted) -> Tensor:
    """Return a loss of a batch, or one of each sample, at every prediction."""
    loss = ops.reshape(loss, (-1, *([1] * (len(logits.shape) - 2))))
    return ops.broadcast_to(loss, ops.shape(read_predicted(logits).values)[:-1])


def _of_regions(
    batch: Batch, rates: tuple[float, float], exponents: list[float], per_sample: bool
) -> Tensor:
    """Return the mean of (1 - TI_c)^exponents_c over the classes with a label."""
    shape, num_classes = ops.shape(batch.predicted.values), batch.predicted.shape[-1]
    if per_sample and len(shape) < 3:
        raise ValueError(
            "`per_sample` must be False for one prediction per sample. Received: per_sample=True "
            f"for logits of shape {tuple(batch.predicted.shape)}. It is meant for pixels or tokens."
        )
    if 0 in batch.predicted.shape:
        axes = tuple(range(1, len(shape))) if per_sample else None
        return ops.sum(batch.predicted.values, axis=axes)
    samples = shape[0] if per_sample else 1
    p = ops.reshape(batch.predicted.probabilities(), (samples, -1, num_classes))
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
    powers = ops.convert_to_tensor(exponents, dtype=gap.dtype)
    # Not "above TINY", so that NaN stays NaN.
    vanished = gap < TINY
    focused = ops.where(vanished, 0.0, ops.power(ops.where(vanished, 1.0, gap), powers))
    has_label = ops.cast(number > 0, gap.dtype)
    value = ops.divide_no_nan(ops.sum(has_label * focused, axis=-1), ops.sum(has_label, axis=-1))
    # NaN of an invalid label or weight belongs to no class.
    value = value + 0.0 * ops.sum(weights, axis=(1, 2))
    return batch.checked(value if per_sample else value[0])
