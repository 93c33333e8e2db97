"""The classwise calibration error, which compares p_k with the frequency of class k."""

from typing import Any

import keras
from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_count
from keras_focal.functional._backend.compilation import Kernel, compiled
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional._inputs.probabilities import are_distributions
from keras_focal.functional.calibration._bins import equal_width_bins
from keras_focal.functional.calibration._scores import class_probabilities, class_targets
from keras_focal.functional.calibration._sums import Sums
from keras_focal.metrics._cells import CellMetric


@keras.saving.register_keras_serializable(package="keras_focal")
class ClasswiseExpectedCalibrationError(CellMetric):
    """Classwise ECE: the gap between probability and frequency of a class, mean over classes.

    cwECE = 1/K sum_k sum_i |B_ik| / N |freq_ik - conf_ik|. B_ik contains all predictions, not only
    those with top label k, whose p_k lies in bin i; conf_ik is their mean p_k and freq_ik their
    fraction of class k. All K classes count, including those that never occur.

    Args:
        num_bins: Number of bins of equal width, (a, b], >= 1.
        from_logits: Whether predictions are logits (True) or probabilities.
        num_classes: Number of classes; by default taken from the first predictions.
        ignore_class: None, or the class id of predictions to leave out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.
        axis: The class axis of the predictions.
        skip_invalid: Whether to leave out invalid entries and count them in `invalid_count`. By
            default an invalid entry makes the result NaN, and eager calls raise an error.

    Raises:
        ValueError: If `num_bins` or `num_classes` is not a whole number >= 1.

    Example:
        >>> import keras_focal
        >>> metric = keras_focal.metrics.ClasswiseExpectedCalibrationError()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.9, 0.1]])
        >>> round(float(metric.result()), 4)
        0.4

    Source:
        Kumar et al., 2019, Verified Uncertainty Calibration; Kull et al., 2019, section 2.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        num_classes: int | None = None,
        ignore_class: int | None = None,
        name: str = "classwise_ece",
        dtype: DType | None = None,
        *,
        axis: int = -1,
        skip_invalid: bool = False,
    ):
        super().__init__(from_logits, ignore_class, name, dtype, axis, skip_invalid)
        self.num_bins = check_count("num_bins", num_bins)
        self.num_classes: int | None = None
        if num_classes is not None:
            self._build(check_count("num_classes", num_classes))

    def _build(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._add_cells(num_classes * self.num_bins)

    def _update(self, entries: Entries) -> None:
        predictions = entries.predictions
        p = class_probabilities(predictions, from_logits=self.from_logits)
        if self.num_classes is None:
            self._build(p.shape[-1])
        if p.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_pred` must have the {self.num_classes} classes of the metric. Received: shape "
                f"{tuple(predictions.shape)}. Create a metric for each output."
            )
        targets = ops.cast(class_targets(entries.labels, predictions.shape), p.dtype)
        is_valid = ops.isfinite(ops.sum(p - targets, axis=-1))
        if not self.from_logits:
            is_valid = ops.logical_and(is_valid, are_distributions(predictions))
        is_kept = self._counted(is_valid, entries.weights)
        weights = ops.where(is_kept, entries.weights, 0.0)
        p, targets = (
            ops.reshape(ops.where(ops.expand_dims(is_kept, -1), part, 0.0), (-1, self.num_classes))
            for part in (p, targets)
        )
        rows = (p, targets, ops.reshape(weights, (-1,)))
        kernel = Kernel(_added, (self.num_bins,))
        self._assign(compiled(kernel, *self._sums(), rows=rows))

    @property
    def _layout(self) -> Any:
        return {"num_bins": self.num_bins, "num_classes": self.num_classes}

    def by_class(self) -> Tensor:
        """Return the error of each class, shape (num_classes,); NaN where `result` is."""
        return self._unless_invalid(*self._class_errors())

    def _class_errors(self) -> tuple[Tensor, Tensor]:
        """Return the error of each class and the weight of all predictions."""
        if self.num_classes is None:
            return ops.zeros((1,)), ops.zeros(())
        cells = self._sums().statistics()
        gap, count = (
            ops.reshape(part, (self.num_classes, self.num_bins))
            for part in (cells.gap, cells.count)
        )
        weight = ops.sum(count, axis=1)
        return ops.divide_no_nan(ops.sum(ops.abs(gap), axis=1), weight), weight[0]

    def _numbers(self) -> tuple[Tensor, Tensor]:
        errors, weight = self._class_errors()
        return ops.mean(errors), weight

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "num_classes": self.num_classes,
            **super().get_config(),
        }


def _added(
    num_bins: int, high: Tensor, low: Tensor, p: Tensor, targets: Tensor, weights: Tensor
) -> Sums:
    """Return the sums after predictions, p and targets of shape (n, K), weights of shape (n,)."""
    first = num_bins * ops.arange(p.shape[-1], dtype="int32")
    index = equal_width_bins(p, num_bins) + first
    weights = ops.cast(ops.expand_dims(weights, -1), p.dtype) * ops.ones_like(p)
    amounts = ops.stack([weights, weights * p, weights * targets], axis=-1)
    return Sums(high, low).added(ops.reshape(index, (-1,)), ops.reshape(amounts, (-1, 3)))
