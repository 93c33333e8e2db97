"""Losses of regions, for `model.compile`: focal Tversky and unified focal loss."""

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.classes import check_one_class
from keras_focal._validation.numbers import check_positive
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.functional.losses._regions import at_each, check_unified
from keras_focal.losses._base import ClassificationLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class FocalTversky(ClassificationLoss):
    """Focal Tversky loss of segmentation: mean over classes of (1 - TI_c)^(1 / gamma).

    TI_c = TP / (TP + alpha FN + beta FP) is the overlap of class c, from sums of probabilities over
    all pixels: TP = sum p_c on c, FN = sum 1 - p_c on c, FP = sum p_c elsewhere. Small objects
    count as much as large ones. Unlike `keras.losses.Tversky` and `Dice`, it takes logits and class
    ids, and weights, masks and `ignore_class` of single pixels; `FocalTversky(0.5, 0.5, gamma=1)`
    is the Dice loss.

    Each prediction has the loss of its batch or image, so that the mean is that loss. An overlap is
    no proper score: probabilities become extreme. Add a focal loss by `CompoundLoss`, or measure
    the calibration. With several replicas, each measures its own part of the batch.

    Args:
        alpha: Weight of what is missed, a number > 0. Above `beta`, recall counts more than
            precision. (The documentation of `keras.losses.Tversky` exchanges the two; it computes
            the same.)
        beta: Weight of what is wrongly claimed, a number > 0.
        gamma: Number > 0; above 1 the gradient of a class grows with its overlap. 1 gives the
            Tversky loss. It is not the gamma of focal loss: `GammaScheduler` leaves it alone.
        per_sample: Whether each image is measured alone, over all its pixels, as
            `keras.losses.Tversky(axis=(1, 2))` does, rather than the whole batch.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        y_pred: Shape (..., K), K >= 2: a single object has a column for the background too.
        sample_weight: As in `keras.losses.Loss`; also the weight of a prediction in the sums.

    Returns:
        Loss in [0, 1], float32 (or float64). A class without a label is left out of the mean.

    Raises:
        ValueError: If alpha, beta or gamma is not a finite number > 0; shapes do not match; float
            ids are not whole numbers (where the loss is called eagerly); per_sample is asked for
            one prediction per sample.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.FocalTversky(from_logits=True)
        >>> round(float(loss([0, 1], [[2.0, 0.0], [0.0, 0.0]])), 4)
        0.4229

    Source:
        Abraham and Khan, 2019, "A Novel Focal Tversky Loss Function with Improved Attention U-Net
        for Lesion Segmentation", eq. 4, which sums over classes.
    """

    own_arguments = ("alpha", "beta", "gamma", "per_sample", "ignore_class")
    takes_probabilities = True

    def __init__(
        self,
        alpha: float = 0.7,
        beta: float = 0.3,
        gamma: float = 4.0 / 3.0,
        per_sample: bool = False,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "focal_tversky",
        dtype: DType | None = None,
    ):
        super().__init__(
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.alpha = check_positive("alpha", alpha)
        self.beta = check_positive("beta", beta)
        self.gamma = check_positive("gamma", gamma)
        self.per_sample = bool(per_sample)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        loss = functional.focal_tversky_loss(
            labels,
            logits,
            sample_weight=labels.weights,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            per_sample=self.per_sample,
        )
        return at_each(loss, logits)


@keras.saving.register_keras_serializable(package="keras_focal")
class UnifiedFocalLoss(ClassificationLoss):
    """Unified focal loss of segmentation: weight * focal loss + (1 - weight) * focal Tversky loss.

    Both parts share `delta`, the weight of rare classes and of what is missed, and `gamma`. The
    asymmetric form focuses the focal loss for the background alone, and the overlap for the other
    classes alone, so that rare classes are never suppressed. See `functional.unified_focal_loss`
    for the equations; `CompoundLoss` for parts with settings of their own.

    Each prediction has its focal loss plus the overlap of its batch or image. Sample weights and
    masks apply to both. With several replicas, each measures the overlap of its own part.

    Args:
        weight: Number in [0, 1], lambda in the source: 1 leaves the focal loss, 0 the Tversky loss.
        delta: Number in (0, 1): weight of the classes other than `background`, which has
            1 - delta, and of what is missed, where what is wrongly claimed has 1 - delta.
        gamma: Number in [0, 1); 0 focuses nothing. It is an exponent of both parts, not the gamma
            of focal loss that `GammaScheduler` changes.
        form: "asymmetric" or "symmetric".
        background: Id of the class of the background.
        per_sample: Whether the overlap is measured for each image, as in the source, rather than
            for the whole batch.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        ignore_class: None, or the class id of entries to leave out, as in Keras.
        axis: The class axis of `y_pred`, and of `y_true` if it holds rows.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Class ids, shape (...) or (..., 1), or rows, shape (..., K), whose largest entry is
            the true class. An id outside [0, K) raises a ValueError where it can be read, and gives
            NaN otherwise.
        y_pred: Shape (..., K), K >= 2.
        sample_weight: As in `keras.losses.Loss`; also the weight of a prediction in the overlap.

    Returns:
        Loss >= 0, float32 (or float64).

    Raises:
        ValueError: If an argument is outside its range, or when called background is no class;
            shapes do not match; float ids are not whole numbers (where the loss is called eagerly);
            per_sample is asked for one prediction per sample.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.UnifiedFocalLoss(from_logits=True)
        >>> round(float(loss([0, 1], [[0.0, 0.0], [0.0, 0.0]])), 4)
        0.4548

    Source:
        Yeung et al., 2022, "Unified Focal loss: Generalising Dice and cross entropy-based losses to
        handle class imbalanced medical image segmentation".
    """

    own_arguments = (
        "weight",
        "delta",
        "gamma",
        "form",
        "background",
        "per_sample",
        "ignore_class",
    )
    takes_probabilities = True

    def __init__(
        self,
        weight: float = 0.5,
        delta: float = 0.6,
        gamma: float = 0.5,
        form: str = "asymmetric",
        background: int = 0,
        per_sample: bool = False,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "unified_focal_loss",
        dtype: DType | None = None,
    ):
        super().__init__(
            ignore_class=ignore_class,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.weight, self.delta, self.gamma = check_unified(weight, delta, gamma, form)
        self.form = form
        self.background = check_one_class("background", background)
        self.per_sample = bool(per_sample)

    def values(self, labels: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.unified_focal_loss(
            labels,
            logits,
            sample_weight=labels.weights,
            weight=self.weight,
            delta=self.delta,
            gamma=self.gamma,
            form=self.form,
            background=self.background,
            per_sample=self.per_sample,
        )
