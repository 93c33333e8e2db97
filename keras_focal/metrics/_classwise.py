"""The calibration error of every class: is p_k the frequency of class k?"""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._validation import check_count
from keras_focal.metrics._base import CellMetric

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_focal")
class ClasswiseExpectedCalibrationError(CellMetric):
    """Classwise ECE: the mean over classes of the gap between probability and frequency of a class.

    cwECE = 1/K sum_k sum_i |B_ik| / N |freq_ik - conf_ik|, where B_ik holds the predictions, all
    of them and not only those of top label k, whose p_k lies in bin i, conf_ik is the mean of p_k
    there and freq_ik the share of class k. Every class of K counts, also one that never occurs.

    Args:
        num_bins: Number of bins of equal width, (a, b], >= 1.
        from_logits: Whether predictions are logits or probabilities.
        num_classes: Number of classes; by default that of the first predictions.
        ignore_class: None, or a class id whose predictions are left out.
        name: Name in the logs.
        dtype: Dtype of the result, float32 by default.

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
        dtype: Any = None,
    ):
        super().__init__(from_logits, ignore_class, name, dtype)
        self.num_bins = check_count("num_bins", num_bins)
        self.num_classes: int | None = None
        if num_classes is not None:
            self._build(check_count("num_classes", num_classes))

    def _build(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._add_cells(num_classes * self.num_bins)

    def _update(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> None:
        p = functional.class_probabilities(predictions, from_logits=self.from_logits)
        if self.num_classes is None:
            self._build(p.shape[-1])
        if p.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_pred` must have the {self.num_classes} classes of the metric. Received: shape "
                f"{tuple(predictions.shape)}. Build a metric for each output."
            )
        targets = ops.cast(functional.class_targets(labels, predictions.shape), p.dtype)
        p, targets = (ops.reshape(part, (-1, self.num_classes)) for part in (p, targets))
        rows = (p, targets, ops.reshape(weights, (-1,)))
        self._assign(functional.compiled(self._added, *self._sums(), rows=rows))

    def _added(
        self, whole: Tensor, fraction: Tensor, p: Tensor, targets: Tensor, weights: Tensor
    ) -> functional.Sums:
        num_classes = p.shape[-1]
        first = self.num_bins * ops.arange(num_classes, dtype="int32")
        index = functional.equal_width_bins(p, self.num_bins) + first
        difference = ops.sum(p - targets, axis=-1, keepdims=True)
        index = ops.where(ops.isfinite(difference), index, self.num_bins * num_classes)
        p, targets = (ops.where(ops.isfinite(difference), part, 0.0) for part in (p, targets))
        weights = ops.cast(ops.expand_dims(weights, -1), p.dtype) * ops.ones_like(p)
        amounts = ops.stack([weights, weights * p, weights * targets], axis=-1)
        sums = functional.Sums(whole, fraction)
        return sums.added(ops.reshape(index, (-1,)), ops.reshape(amounts, (-1, 3)))

    @property
    def _layout(self) -> Any:
        return {"num_bins": self.num_bins, "num_classes": self.num_classes}

    @property
    def _cells_of_each(self) -> int:
        return self.num_classes or 1

    def by_class(self) -> Tensor:
        """Return the error of each class, shape (num_classes,)."""
        if self.num_classes is None:
            return ops.zeros((1,), dtype=self.dtype)
        cells = self._sums().part(0, self.num_classes * self.num_bins).statistics()
        gap, count = (
            ops.reshape(part, (self.num_classes, self.num_bins))
            for part in (cells.gap, cells.count)
        )
        errors = ops.divide_no_nan(ops.sum(ops.abs(gap), axis=1), ops.sum(count, axis=1))
        return ops.cast(errors, self.dtype)

    def result(self) -> Tensor:
        """Return the mean error of the classes, a fraction in [0, 1]; 0.0 before any prediction."""
        return ops.mean(self.by_class())

    @property
    def invalid_count(self) -> float:
        """Weight of the predictions that were not finite and so are in no bin."""
        return 0.0 if self.num_classes is None else super().invalid_count

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "num_classes": self.num_classes,
            **super().get_config(),
        }
