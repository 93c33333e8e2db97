"""The loss of a dense detector: a sum over anchors, divided by the number of positive ones."""

from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_that
from keras_focal._validation.shapes import check_same_shape
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.losses._base import OF_OUTPUTS, check_loss, measured, no_values


@keras.saving.register_keras_serializable(package="keras_focal")
class NormalizedByPositives(keras.losses.Loss):
    """A loss of a dense detector, summed and divided by the number of positives in the batch.

    sum_i w_i L_i / sum_{i positive} w_i, where prediction i, such as an anchor, is positive if it
    has a target > 0. Most anchors are easy background whose number says nothing, so a mean over
    all of them would hardly train the few positives. Without positives the sum is divided by 1.

    Weights scale both sums. KerasHub's RetinaNet already divides its weights by the number of
    positives, and this loss leaves the result as it is: it may be used there too.

    Args:
        base: Loss of independent outputs: `BinaryFocalCrossentropy`, `QualityFocalCrossentropy`,
            `VarifocalLoss`, `AsymmetricLoss`, or `BinaryCrossentropy` or `BinaryFocalCrossentropy`
            of Keras. It averages over classes, where a paper sums over them: for that scale
            multiply by the number of classes. Its own `reduction` is not used.
        name: Name of the loss.
        dtype: Dtype of the result, by default that of `base`.

    Call arguments:
        y_true: Targets in [0, 1] of the shape of `y_pred`, 0 in all columns for background.
        y_pred: Shape (..., K).
        sample_weight: As in `keras.losses.Loss`. Weight 0 leaves a prediction out of both sums.

    Returns:
        Scalar loss >= 0, float32 (or float64).

    Raises:
        ValueError: If base is not such a loss; shapes differ.

    Example:
        >>> from keras_focal import losses
        >>> base = losses.BinaryFocalCrossentropy(gamma=0.0, from_logits=True)
        >>> loss = losses.NormalizedByPositives(base)
        >>> round(float(loss([[1.0], [0.0], [0.0]], [[0.0], [0.0], [0.0]])), 4)
        2.0794

    Source:
        Lin et al., 2017, "Focal Loss for Dense Object Detection", section 4.1.
    """

    def __init__(
        self,
        base: keras.losses.Loss,
        name: str | None = "normalized_by_positives",
        dtype: DType | None = None,
    ):
        base = check_loss("base", base)
        is_fit = isinstance(base, OF_OUTPUTS)
        fix = "A class for background would be a positive."
        check_that("base", base, "a loss of independent outputs", is_fit, fix)
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype=dtype or base.dtype)
        self.base = base

    @without_autograph
    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        with keras.name_scope(self.name):
            values, weighting = measured(self.base, y_true, y_pred, sample_weight, self.dtype)
            is_positive = ops.convert_to_tensor(y_true) > 0
            if len(is_positive.shape) > len(values.shape):
                is_positive = ops.any(is_positive, axis=self.base.axis)
            fix = "Give one target for each output."
            check_same_shape("y_true", is_positive.shape, values.shape, fix)
            positives = ops.cast(is_positive, values.dtype)
            total, positives = (
                weighting.reduced(each, "sum", values.dtype)
                for each in (ops.ones_like(values), positives)
            )
            values = values * (total / ops.where(positives > 0, positives, 1.0))
            return weighting.reduced(values, self.reduction, self.dtype)

    @without_autograph
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        raise no_values(self)

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "name": self.name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r})"

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)
