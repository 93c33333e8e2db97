"""The one state from which calibration errors are read: cells of confidence that add up."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation import check_count, check_labels_fit
from keras_focal.functional import BinStatistics, Predictions

Tensor = Any


class BinnedMetric(keras.metrics.Metric):
    """Base of the calibration errors: sums per cell of confidence, of fixed size.

    Each cell counts its predictions, the wrong ones, and their doubt (1 - confidence). A sum is
    kept as a whole number in int32 and a fraction below 1 in float32, so that it neither stalls
    at 2**24 as a float32 does nor loses a fractional weight; it is exact to 2**31 predictions.
    The state is added over replicas and by `merge_state`. Predictions that are not finite are
    counted apart.

    A subclass gives `_cells` and `_error`.
    """

    # Lower is better: lets `EarlyStopping(mode="auto")` watch the metric by its name.
    _direction = "down"

    def __init__(
        self,
        num_bins: int,
        from_logits: bool,
        name: str,
        dtype: Any,
        num_cells: int | None = None,
    ):
        super().__init__(name=name, dtype=functional.compute_dtype(dtype))
        self.num_bins = check_count("num_bins", num_bins)
        self.from_logits = bool(from_logits)
        self.num_cells = num_cells or self.num_bins
        shape = (3, self.num_cells + 1)
        self._whole = self.add_variable(shape, "zeros", dtype="int32", name="whole")
        self._fraction = self.add_variable(shape, "zeros", dtype="float32", name="fraction")

    @abstractmethod
    def _cells(self, predictions: Predictions) -> Tensor:
        """Return the cell of each prediction, int32 in [0, num_cells)."""

    @abstractmethod
    def _error(self, bins: BinStatistics) -> Tensor:
        """Return the error of `bins`."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add predictions.

        Args:
            y_true: Class ids, shape (...) or (..., 1), or one-hot or soft rows, shape (..., K).
            y_pred: Probabilities or logits, shape (..., K); K = 1 is the positive class of two.
            sample_weight: None, or weights of shape (B,), (B, 1) or (...). A mask on `y_pred`
                counts as weight 0.

        Raises:
            ValueError: If the shapes cannot match.
        """
        labels, predictions = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        check_labels_fit("y_true", labels.shape, predictions.shape)
        # From `y_pred` itself: a mask travels with the object.
        weights = functional.effective_weights(y_pred, sample_weight)
        top = functional.top_label(labels, predictions, from_logits=self.from_logits)
        self._add(functional.cell_sums(self._cells(top), top, weights, self.num_cells))

    def _add(self, sums: Tensor) -> None:
        total = ops.convert_to_tensor(self._fraction) + ops.cast(sums, "float32")
        whole = ops.floor(total)
        self._whole.assign_add(ops.cast(whole, "int32"))
        self._fraction.assign(total - whole)

    def merge_state(self, metrics: Iterable["BinnedMetric"]) -> None:
        """Add the state of other metrics of the same kind, as if their predictions came here.

        Args:
            metrics: Metrics with the same class and number of bins.

        Raises:
            ValueError: If a metric has another class or layout; nothing is added then.
        """
        metrics = list(metrics)
        for other in metrics:
            if type(other) is not type(self) or other.num_bins != self.num_bins:
                raise ValueError(
                    "`metrics` must be of the class and number of bins of the metric that takes "
                    f"them in. Received: {type(other).__name__} with num_bins="
                    f"{getattr(other, 'num_bins', None)} for {type(self).__name__} with "
                    f"num_bins={self.num_bins}."
                )
        for other in metrics:
            self._whole.assign_add(ops.convert_to_tensor(other._whole))
            self._add(ops.convert_to_tensor(other._fraction))

    def cells(self) -> BinStatistics:
        """Return what the cells of the state hold, parts of shape (num_cells,)."""
        whole = ops.convert_to_tensor(self._whole)[:, : self.num_cells]
        fraction = ops.convert_to_tensor(self._fraction)[:, : self.num_cells]
        count, wrong, _ = (ops.cast(whole[row], "float32") + fraction[row] for row in range(3))
        # Whole parts are subtracted as integers: their difference is small and exact.
        gap = ops.cast(whole[1] - whole[2], "float32") + (fraction[1] - fraction[2])
        return BinStatistics(count, wrong, gap)

    def bins(self) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,)."""
        return self.cells()

    def result(self) -> Tensor:
        """Return the error, a fraction in [0, 1]; 0.0 before any prediction."""
        return ops.cast(self._error(self.bins()), self.dtype)

    @property
    def invalid_count(self) -> float:
        """Weight of the predictions that were not finite and so are in no bin."""
        parts = (ops.convert_to_numpy(part)[0, -1] for part in (self._whole, self._fraction))
        return float(np.sum([*parts], dtype="float64"))

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }
