"""Online hard example mining: only the hardest part of a batch counts."""

from typing import Any

import keras
from keras import ops

from keras_focal._validation import check_number, check_part
from keras_focal.functional import class_ids, compute_dtype, effective_weights
from keras_focal.losses._base import ClassificationLoss, as_tensor, weights_of_valid

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_focal")
class HardExampleMining(keras.losses.Loss):
    """Any loss, over the `fraction` of the batch where it is largest.

    Of N predictions the ceil(fraction * N) of largest loss count, the first of equal ones; a mean
    is their mean. Predictions that are masked, have weight 0 or the `ignore_class` of the loss
    count in neither number. Focal loss is the soft form of this choice.

    Args:
        loss: A `keras.losses.Loss`; its own `reduction` is not used.
        fraction: Number in (0, 1]; 1 gives the loss itself.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        dtype: Dtype to compute in, that of `loss` by default; a half dtype means float32.

    Call arguments:
        y_true: As for `loss`.
        y_pred: As for `loss`.
        sample_weight: As in `keras.losses.Loss`. The loss decides which are hardest, the weights
            how much they count.

    Returns:
        Loss, float32 (or float64).

    Raises:
        ValueError: If loss is not a loss object; fraction is not in (0, 1].

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
        loss: Any,
        fraction: float = 0.25,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "hard_example_mining",
        dtype: Any = None,
    ):
        if isinstance(loss, dict):
            loss = keras.saving.deserialize_keras_object(loss)
        fix = "Build it first, such as BrierLoss(from_logits=True)."
        is_loss = isinstance(loss, keras.losses.Loss)
        check_number("loss", loss, "a `keras.losses.Loss` object", is_loss, fix)
        super().__init__(name=name, reduction=reduction, dtype=compute_dtype(dtype or loss.dtype))
        self.loss = loss
        self.fraction = check_part("fraction", fraction)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_true, y_pred = as_tensor(y_true, self.dtype), as_tensor(y_pred, self.dtype)
        if isinstance(self.loss, ClassificationLoss):
            self.loss.check_labels(y_true, y_pred)
        axis = getattr(self.loss, "axis", -1)
        counts = effective_weights(y_pred, sample_weight, axis=axis) > 0
        if getattr(self.loss, "ignore_class", None) is not None:
            counts = ops.logical_and(counts, self._is_valid(y_true, y_pred))
        values = self.loss.call(
            ops.convert_to_tensor(y_true, dtype=self.dtype),
            ops.convert_to_tensor(y_pred, dtype=self.dtype),
        )
        kept = hardest(values, counts, self.fraction)
        sample_weight = weights_of_valid(kept, y_pred, sample_weight, axis, self.reduction)
        # The values take the place of the labels; a mask stays with `y_pred`, and one that Keras
        # hangs on the values of an ignored class, which `kept` counts already, is lost here.
        values = ops.where(kept, values, 0.0)
        return super().__call__((values,), y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        return y_true[0] if isinstance(y_true, tuple) else self.loss.call(y_true, y_pred)

    def _is_valid(self, y_true: Any, y_pred: Any) -> Tensor:
        if isinstance(self.loss, ClassificationLoss):
            return self.loss.is_valid(y_true, y_pred)
        ids = class_ids(y_true, ops.convert_to_tensor(y_pred).shape)
        return ops.not_equal(ids, self.loss.ignore_class)

    def get_config(self) -> dict[str, Any]:
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "fraction": self.fraction,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def __reduce__(self) -> tuple:
        config = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (config,)


def hardest(values: Tensor, counts: Tensor, fraction: float) -> Tensor:
    """Return where the ceil(fraction * N) largest of the N values that count are.

    Args:
        values: Float tensor of any shape, known or not.
        counts: Bool tensor of that shape.
        fraction: Number in (0, 1].

    Returns:
        Bool tensor of that shape. Of equal values the first are taken.
    """
    eligible = ops.reshape(ops.where(counts, values, -float("inf")), (-1,))
    rank = ops.argsort(ops.argsort(-ops.stop_gradient(eligible)))
    number = ops.sum(ops.cast(counts, "float32"))
    # Less than one rounding of the product, so that 0.1 of 10 is 1.
    kept = ops.cast(rank, "float32") < ops.ceil(fraction * number * (1.0 - 2.0**-20))
    return ops.logical_and(ops.reshape(kept, ops.shape(values)), counts)
