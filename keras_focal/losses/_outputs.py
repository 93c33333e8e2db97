"""Asymmetric, quality focal and varifocal loss of independent outputs, for `model.compile`."""

import keras

from keras_focal import functional
from keras_focal._typing import DType, Tensor
from keras_focal._validation.gamma import check_gamma
from keras_focal._validation.numbers import check_at_least, check_fraction
from keras_focal.functional._inputs.labels import Labels
from keras_focal.functional._stable.predicted import Predicted
from keras_focal.losses._base import FocalLoss, Gamma, OutputLoss


@keras.saving.register_keras_serializable(package="keras_focal")
class AsymmetricLoss(OutputLoss):
    """Asymmetric loss for multi-label classification with few positives, averaged over `axis`.

    -q (1 - p)^gamma_pos log p - (1 - q) p_m^gamma_neg log(1 - p_m), with p_m = max(p - shift, 0).
    Easy negatives count less than easy positives, and negatives with p <= shift have loss 0. Equal
    gammas and shift = 0 give `BinaryFocalCrossentropy`. The source sums over labels instead.

    Args:
        gamma_pos: Exponent for positives, a number >= 0.
        gamma_neg: Exponent for negatives, a number >= 0.
        shift: Number in [0, 1), subtracted from the probability of negatives.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        axis: Axis to average over.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Targets in [0, 1] of the shape of `y_pred`, or of that shape without a last axis of
            length 1.
        y_pred: Shape (..., K).
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If a gamma is negative or not finite; shift is not in [0, 1); shapes differ.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.AsymmetricLoss(from_logits=True)
        >>> round(float(loss([[1.0, 0.0]], [[0.0, -3.0]])), 4)
        0.3466

    Source:
        Ridnik et al., 2021, "Asymmetric Loss For Multi-Label Classification".
    """

    own_arguments = ("gamma_pos", "gamma_neg", "shift")
    takes_probabilities = True

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        shift: float = 0.05,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "asymmetric_loss",
        dtype: DType | None = None,
    ):
        super().__init__(
            from_logits=from_logits, axis=axis, reduction=reduction, name=name, dtype=dtype
        )
        self.gamma_pos = check_gamma("gamma_pos", gamma_pos)
        self.gamma_neg = check_gamma("gamma_neg", gamma_neg)
        self.shift = check_fraction("shift", shift)

    def of_outputs(self, targets: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.asymmetric_loss(
            targets,
            logits,
            gamma_pos=self.gamma_pos,
            gamma_neg=self.gamma_neg,
            shift=self.shift,
        )


@keras.saving.register_keras_serializable(package="keras_focal")
class QualityFocalCrossentropy(FocalLoss, OutputLoss):
    """Quality focal loss for soft binary targets, averaged over `axis`.

    -|q - p|^gamma (q log p + (1 - q) log(1 - p)). For a soft target q it has its minimum, 0, at
    p = q, unlike the binary focal loss. For q = 0 or 1 the two are equal.

    Args:
        gamma: Focusing exponent (beta in the source): a number >= 0, a rule from
            `keras_focal.gammas` with gammas >= 0, evaluated at 1 - |q - p|, or "FLSD-53" or
            "FLSD-532".
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        axis: Axis to average over.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Targets in [0, 1] of the shape of `y_pred`, or of that shape without a last axis of
            length 1.
        y_pred: Shape (..., K).
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; shapes differ.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.QualityFocalCrossentropy(gamma=2.0, from_logits=True)
        >>> round(float(loss([[0.5, 1.0]], [[0.0, 0.0]])), 4)
        0.0866

    Source:
        Li et al., 2020, "Generalized Focal Loss", eq. 2.
    """

    own_arguments = ("gamma",)
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "quality_focal_crossentropy",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def of_outputs(self, targets: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.quality_focal_crossentropy(targets, logits, gamma=self._traced_gamma())


@keras.saving.register_keras_serializable(package="keras_focal")
class VarifocalLoss(FocalLoss, OutputLoss):
    """Varifocal loss for scores of detected boxes that mean their quality, averaged over `axis`.

    -q (q log p + (1 - q) log(1 - p)) for q > 0 and -alpha p^gamma log(1 - p) for q = 0. The target
    q of a positive is the overlap of its box with the true one, and its weight too. In
    `QualityFocalCrossentropy` a good and a poor positive have equal weight, and both are focused.

    Args:
        gamma: Focusing exponent of the negatives: a number >= 0, a rule from `keras_focal.gammas`
            with gammas >= 0, evaluated at 1 - p, or "FLSD-53" or "FLSD-532".
        alpha: Weight of the negatives, a number >= 0.
        from_logits: Whether `y_pred` are logits (recommended) or probabilities.
        axis: Axis to average over.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, float32 by default. Computations use float32 or better.

    Call arguments:
        y_true: Targets in [0, 1] of the shape of `y_pred`, or of that shape without a last axis of
            length 1: the quality in the column of the true class, 0 elsewhere.
        y_pred: Shape (..., K).
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss >= 0 in nats, float32 (or float64).

    Raises:
        ValueError: If gamma is negative, not finite or an unknown name; alpha is negative or not
            finite; shapes differ.

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.VarifocalLoss(from_logits=True)
        >>> round(float(loss([[0.5, 0.0]], [[0.0, 0.0]])), 4)
        0.2383

    Source:
        Zhang et al., 2021, "VarifocalNet: An IoU-aware Dense Object Detector", eq. 2.
    """

    own_arguments = ("gamma", "alpha")
    takes_probabilities = True

    def __init__(
        self,
        gamma: Gamma = 2.0,
        alpha: float = 0.75,
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "varifocal_loss",
        dtype: DType | None = None,
    ):
        super().__init__(
            gamma=gamma,
            from_logits=from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.alpha = check_at_least("alpha", alpha, 0.0)

    def of_outputs(self, targets: Labels, logits: Tensor | Predicted) -> Tensor:
        return functional.varifocal_crossentropy(
            targets, logits, gamma=self._traced_gamma(), alpha=self.alpha
        )
