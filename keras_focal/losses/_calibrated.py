"""A loss and a penalty that measures calibration, in one."""

from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_that
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.labels import Labels
from keras_focal.losses._base import OF_OUTPUTS, ClassificationLoss, check_loss, measured
from keras_focal.losses._penalties import Penalty
from keras_focal.losses._weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_focal")
class Calibrated(ClassificationLoss):
    """Any loss for one class per prediction, plus a penalty that trains calibration.

    The loss of each prediction is that of `base` plus the penalty, so that the mean is the mean of
    the base plus the penalty. A penalty of the batch is one number, the same for each prediction;
    sample weights and masks apply to both. With several replicas, each measures its own part of
    the batch. `GammaScheduler` and `AdaptiveGamma` find the gamma of the base.

    Calibration of the training data is not that of new data: a network that fits its training data
    is right and sure there, and a penalty of the batch is then near 0. Compare with the base, each
    with its temperature, before you keep one.

    Args:
        base: A `keras.losses.Loss` with `from_logits` for one class per prediction, of this package
            or of Keras. It says what labels and predictions are. Its own `reduction` is not used.
        penalty: `MDCA`, `DCA`, `SoftBinnedECE`, `SoftBinnedACE`, `ACLS`, `CALS` or `NACL`. For
            two penalties pass a `Calibrated` as the base.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, by default that of `base`.

    Call arguments:
        y_true: As for `base`. Where it holds rows, the largest entry is the class.
        y_pred: As for `base`.
        sample_weight: As in `keras.losses.Loss`.

    Returns:
        Loss, float32 (or float64).

    Raises:
        ValueError: If base is not such a loss, penalty is not a penalty, or it needs logits and the
            base takes probabilities.

    Example:
        >>> from keras_focal import losses
        >>> base = losses.SparseCategoricalFocalCrossentropy(gamma=1.0, from_logits=True)
        >>> loss = losses.Calibrated(base, losses.MDCA(weight=5.0))
        >>> round(float(loss([0, 0], [[0.0, 0.0], [0.0, 0.0]])), 4)
        2.8466

    Source:
        That of the penalty.
    """

    def __init__(
        self,
        base: keras.losses.Loss,
        penalty: Penalty,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "calibrated",
        dtype: DType | None = None,
    ):
        base = check_loss("base", base)
        rule = "a loss with `from_logits` for one class per prediction"
        is_fit = hasattr(base, "from_logits") and not isinstance(base, OF_OUTPUTS)
        check_that("base", base, rule, is_fit, 'losses.get("CE", from_logits=True) is one.')
        if isinstance(penalty, dict):
            penalty = keras.saving.deserialize_keras_object(penalty)
        is_penalty = isinstance(penalty, Penalty)
        check_that("penalty", penalty, "a penalty object", is_penalty, "losses.MDCA() is one.")
        if penalty.needs_logits and not base.from_logits:
            raise ValueError(
                f"`base` must take logits for the penalty {type(penalty).__name__}. Received: "
                f"base={base!r}. Leave the softmax out of the model and pass from_logits=True."
            )
        super().__init__(
            ignore_class=getattr(base, "ignore_class", None),
            from_logits=base.from_logits,
            axis=getattr(base, "axis", -1),
            reduction=reduction,
            name=name,
            dtype=dtype or base.dtype,
        )
        self.base, self.penalty = base, penalty

    def measured(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Weighting]:
        """Return the loss of each prediction, and its weight."""
        values, weighting = measured(self.base, y_true, y_pred, sample_weight, self.base.dtype)
        penalty, _ = super().measured(y_true, y_pred, sample_weight)
        return ops.cast(values, penalty.dtype) + penalty, weighting

    def values(self, labels: Labels, logits: Tensor) -> Tensor:
        return self.penalty.values(labels, to_float(logits))

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "penalty": keras.saving.serialize_keras_object(self.penalty),
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r}, {self.penalty!r})"
