"""The one state from which calibration errors are read: cells of confidence that add up."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation import check_count, check_labels_fit
from keras_focal.functional import BinStatistics, Partition, Predictions, Sums

Tensor = Any


class BinnedMetric(keras.metrics.Metric):
    """Base of the calibration errors: sums per cell of confidence, of fixed size.

    Each cell counts its predictions, the wrong ones, and their doubt (1 - confidence). A sum is
    kept as a whole number in int32 and a fraction below 1 in float32, so that it neither stalls
    at 2**24 as a float32 does nor loses a fractional weight; it is exact to 2**31 predictions.
    The state is added over replicas and by `merge_state`. Predictions that are not finite are
    counted apart.

    A subclass names the kinds of bins that it reads, one or both, and gives `_reading`.
    """

    # Lower is better: lets `EarlyStopping(mode="auto")` watch the metric by its name.
    _direction = "down"

    def __init__(
        self,
        kinds: Sequence[type[Partition]],
        num_bins: int,
        from_logits: bool,
        name: str,
        dtype: Any,
    ):
        super().__init__(name=name, dtype=functional.compute_dtype(dtype))
        self.num_bins = check_count("num_bins", num_bins)
        self.from_logits = bool(from_logits)
        self._partitions = [kind(self.num_bins) for kind in kinds]
        *self._starts, self._num_cells = accumulate(
            (partition.num_cells for partition in self._partitions), initial=0
        )
        # The last cell is for what is not finite.
        shape = (self._num_cells + 1, 3)
        self._whole = self.add_variable(shape, "zeros", dtype="int32", name="whole")
        self._fraction = self.add_variable(shape, "zeros", dtype="float32", name="fraction")

    @abstractmethod
    def _reading(self, *bins: BinStatistics) -> Any:
        """Return the result, a tensor or a dict of them, from the bins of each kind."""

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
        rows = tuple(ops.reshape(part, (-1,)) for part in (*top, weights))
        self._assign(functional.compiled(self._added, *self._sums(), rows=rows))

    def _added(self, whole: Tensor, fraction: Tensor, *rows: Tensor) -> Sums:
        """Return the sums after predictions and their weights, each part of shape (n,)."""
        *parts, weights = rows
        top = Predictions(*parts)
        index = [
            part.index(top) + start
            for part, start in zip(self._partitions, self._starts, strict=True)
        ]
        index = ops.concatenate(index, axis=-1)
        is_finite = ops.expand_dims(ops.isfinite(top.doubt), -1)
        index = ops.where(is_finite, index, self._num_cells)
        amounts = ops.repeat(functional.amounts(top, weights), index.shape[-1], axis=0)
        return Sums(whole, fraction).added(ops.reshape(index, (-1,)), amounts)

    def _sums(self) -> Sums:
        return Sums(ops.convert_to_tensor(self._whole), ops.convert_to_tensor(self._fraction))

    def _assign(self, sums: Sums) -> None:
        self._whole.assign(sums.whole)
        self._fraction.assign(sums.fraction)

    def merge_state(self, metrics: Iterable["BinnedMetric"]) -> None:
        """Add the state of other metrics of the same kind, as if their predictions came here.

        Args:
            metrics: Metrics with the same class and bins.

        Raises:
            ValueError: If a metric has another class or other bins; nothing is added then.
        """
        metrics = list(metrics)
        for other in metrics:
            if type(other) is not type(self) or other._partitions != self._partitions:
                raise ValueError(
                    "`metrics` must be of the class and bins of the metric that takes them in. "
                    f"Received: {type(other).__name__} with "
                    f"{getattr(other, '_partitions', 'no bins')} for {type(self).__name__} with "
                    f"{self._partitions}."
                )
        for other in metrics:
            self._assign(self._sums().merged(other._sums()))

    def _bins(self, sums: Sums) -> list[BinStatistics]:
        return [
            part.bins(sums, start)
            for part, start in zip(self._partitions, self._starts, strict=True)
        ]

    def cells(self) -> BinStatistics:
        """Return what the finest cells of the state hold, parts of shape (cells,)."""
        finest = self._partitions[-1]
        return self._sums().part(self._starts[-1], finest.num_finest).statistics()

    def bins(self) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,)."""
        return self._bins(self._sums())[0]

    def result(self) -> Any:
        """Return the error, a fraction in [0, 1]; 0.0 before any prediction."""

        def reading(*sums: Tensor) -> Any:
            value = self._reading(*self._bins(Sums(*sums)))
            return keras.tree.map_structure(lambda x: ops.cast(x, self.dtype), value)

        return functional.compiled(reading, *self._sums())

    @property
    def invalid_count(self) -> float:
        """Weight of the predictions that were not finite and so are in no bin."""
        parts = (ops.convert_to_numpy(part)[-1, 0] for part in (self._whole, self._fraction))
        times = sum(partition.cells_of_each for partition in self._partitions)
        return float(np.sum([*parts], dtype="float64")) / times

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }
