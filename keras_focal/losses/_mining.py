"""Online hard example mining: only the samples of largest loss in a batch count."""

from fractions import Fraction
from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_part
from keras_focal.functional._backend.compilation import without_autograph
from keras_focal.losses._base import check_loss, measured


@keras.saving.register_keras_serializable(package="keras_focal")
class HardExampleMining(keras.losses.Loss):
    """Online hard example mining: any loss, restricted to the samples where it is largest.

    Of N predictions, the ceil(fraction * N) with the largest loss count, the first of equal ones,
    and a mean is the mean over these. N excludes predictions that are masked, have weight 0 or the
    `ignore_class` of the loss. Focal loss is a soft version of this selection.

    Args:
        loss: A `keras.losses.Loss`. Its own `reduction` is not used.
        fraction: Number in (0, 1]; 1 gives the loss itself.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype of the result, by default that of `loss`.

    Call arguments:
        y_true: As for `loss`.
        y_pred: As for `loss`.
        sample_weight: As in `keras.losses.Loss`. Weights do not affect which samples are selected.

    Returns:
        Loss, float32 (or float64).

    Raises:
        ValueError: If loss is not a `keras.losses.Loss` object; fraction is not in (0, 1].

    Example:
        >>> import keras_focal
        >>> loss = keras_focal.losses.HardExampleMining(
        ...     keras_focal.losses.BrierLoss(from_logits=True), fraction=0.5)
        >>> round(float(loss([0, 0], [[0.0, 0.0], [9.0, 0.0]])), 4)
        0.5

    Source:
        Shrivastava et al., 2016, "Training Region-based Object Detectors with Online Hard Example
        Mining".
    """

    def __init__(
        self,
        loss: keras.losses.Loss,
        fraction: float = 0.25,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "hard_example_mining",
        dtype: DType | None = None,
    ):
        loss = check_loss("loss", loss)
        super().__init__(name=name, reduction=reduction, dtype=dtype or loss.dtype)
        self.loss = loss
        self.fraction = check_part("fraction", fraction)

    @without_autograph
    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        with keras.name_scope(self.name):
            values, weighting = measured(self.loss, y_true, y_pred, sample_weight, self.dtype)
            counts = weighting.counts
            counts = ops.ones_like(values, dtype="bool") if counts is None else counts
            kept = hardest(values, counts, self.fraction)
            values = ops.where(kept, values, ops.zeros_like(values))
            weighting = weighting._replace(mask=kept)
            return weighting.reduced(values, self.reduction, self.dtype)

    @without_autograph
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.loss.call(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "fraction": self.fraction,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.loss!r}, fraction={self.fraction})"

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


def hardest(values: Tensor, counts: Tensor, fraction: float) -> Tensor:
    """Return the positions of the ceil(fraction * N) largest of the N values that count.

    Args:
        values: Float tensor of any shape.
        counts: Bool tensor of that shape.
        fraction: Number in (0, 1].

    Returns:
        Bool tensor of that shape. Of equal values the first ones are selected.
    """
    values = ops.stop_gradient(values)
    # NaN ranks as the largest, so that it is not hidden.
    values = ops.where(ops.isnan(values), float("inf"), values)
    eligible = ops.reshape(ops.where(counts, values, -float("inf")), (-1,))
    rank = ops.argsort(ops.argsort(-eligible))
    number = ops.sum(ops.cast(counts, "int32"))
    # Integer arithmetic, so that 0.1 of 10 is 1 and large numbers are not rounded.
    part, whole = Fraction(fraction).limit_denominator(10_000).as_integer_ratio()
    most = number // whole * part + -(-(number % whole * part) // whole)
    return ops.logical_and(ops.reshape(rank < most, ops.shape(counts)), counts)
