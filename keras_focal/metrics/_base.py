"""States that add up over batches, replicas and files: cells of confidence, and totals."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._validation import (
    check_class_id,
    check_count,
    check_labels_fit,
    check_weights_fit,
)
from keras_focal.functional import (
    BinStatistics,
    EqualMass,
    EqualWidth,
    Partition,
    Predictions,
    Sums,
    Totals,
)
from keras_focal.metrics._direction import Monitored

Tensor = Any


class PredictionMetric(Monitored, keras.metrics.Metric):
    """Base of all metrics: predictions with labels and weights go in, a state of fixed size stays.

    A subclass gives `_update` and `_merge`, and `_layout`, which two states must share to add up.
    """

    def __init__(self, from_logits: bool, ignore_class: int | None, name: str, dtype: Any):
        super().__init__(name=name, dtype=functional.compute_dtype(dtype))
        self.from_logits = bool(from_logits)
        self.ignore_class = check_class_id("ignore_class", ignore_class)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add predictions.

        Args:
            y_true: Class ids, shape (...) or (..., 1), or one-hot or soft rows, shape (..., K).
            y_pred: Probabilities or logits, shape (..., K); K = 1, or shape (B,), is the positive
                class of two.
            sample_weight: None, or weights of shape (B,), (B, 1) or (...). A mask on `y_pred`
                counts as weight 0.

        Raises:
            ValueError: If the shapes cannot match. Also if an entry of `y_pred` as probabilities
                lies outside [0, 1] or a row does not sum to 1, by more than 0.01; rows that are
                not finite, masked or of weight 0 pass. Inside a compiled step (`tf.function`,
                `jax.jit`, and so in `fit` on TensorFlow and JAX) values are not checked.
        """
        labels, predictions = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(predictions.shape) == 1 <= len(labels.shape):
            y_pred = predictions = ops.expand_dims(predictions, -1)
        check_labels_fit("y_true", labels.shape, predictions.shape)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            check_weights_fit("sample_weight", sample_weight.shape, predictions.shape)
        # From `y_pred` itself: a mask travels with the object.
        weights = functional.effective_weights(y_pred, sample_weight)
        if self.ignore_class is not None:
            ids = functional.class_ids(labels, predictions.shape)
            weights = ops.where(ops.equal(ids, self.ignore_class), 0.0, weights)
        functional.check_distributions("y_pred", predictions, weights, from_logits=self.from_logits)
        self._update(labels, predictions, weights)

    @abstractmethod
    def _update(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> None:
        """Add predictions (..., K) with labels as given and weights (...)."""

    @property
    @abstractmethod
    def _layout(self) -> Any:
        """What two metrics must have in common for their states to add up."""

    @abstractmethod
    def _merge(self, other: Any) -> None:
        """Add the state of a metric of the same layout."""

    def merge_state(self, metrics: Iterable["PredictionMetric"]) -> None:
        """Add the state of other metrics of the same kind, as if their predictions came here.

        Args:
            metrics: Metrics of the same class and layout.

        Raises:
            ValueError: If a metric has another class or layout; nothing is added then.
        """
        metrics = list(metrics)
        for other in metrics:
            if type(other) is not type(self) or other._layout != self._layout:
                raise ValueError(
                    "`metrics` must be of the class and layout of the metric that takes them in. "
                    f"Received: {type(other).__name__} with "
                    f"{getattr(other, '_layout', 'no layout')} for {type(self).__name__} with "
                    f"{self._layout}."
                )
        for other in metrics:
            self._merge(other)

    def _as_result(self, value: Any) -> Any:
        return keras.tree.map_structure(lambda x: ops.cast(x, self.dtype), value)

    def get_config(self) -> dict[str, Any]:
        return {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "name": self.name,
            "dtype": self.dtype,
        }


class CellMetric(PredictionMetric):
    """Base of the calibration errors: sums per cell of confidence.

    A sum is kept as a whole number in int32 and a fraction below 1 in float32, so that it neither
    stalls at 2**24 as a float32 does nor loses a fractional weight; it is exact to 2**31
    predictions. Predictions that are not finite are counted apart.
    """

    def _add_cells(self, num_cells: int) -> None:
        # The last cell is for what is not finite.
        shape = (num_cells + 1, 3)
        self._whole = self.add_variable(shape, "zeros", dtype="int32", name="whole")
        self._fraction = self.add_variable(shape, "zeros", dtype="float32", name="fraction")

    def _sums(self) -> Sums:
        return Sums(ops.convert_to_tensor(self._whole), ops.convert_to_tensor(self._fraction))

    def _assign(self, sums: Sums) -> None:
        self._whole.assign(sums.whole)
        self._fraction.assign(sums.fraction)

    def _merge(self, other: "CellMetric") -> None:
        self._assign(self._sums().merged(other._sums()))

    @property
    def _cells_of_each(self) -> int:
        """Number of cells that a prediction adds to."""
        return 1

    @property
    def invalid_count(self) -> float:
        """Weight of the predictions that were not finite and so are in no bin."""
        parts = (ops.convert_to_numpy(part)[-1, 0] for part in (self._whole, self._fraction))
        return float(np.sum([*parts], dtype="float64")) / self._cells_of_each


class BinnedMetric(CellMetric):
    """Base of the errors of the top label: bins of equal width, of equal mass, or both.

    Each cell counts its predictions, the wrong ones, and the sum of 1 - confidence. A subclass
    names the kinds of bins that it reads, one or both, and gives `_reading`.
    """

    def __init__(
        self,
        kinds: Sequence[type[Partition]],
        num_bins: int,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: Any,
    ):
        super().__init__(from_logits, ignore_class, name, dtype)
        self.num_bins = check_count("num_bins", num_bins)
        self._partitions = [kind(self.num_bins) for kind in kinds]
        *self._starts, self._num_cells = accumulate(
            (partition.num_cells for partition in self._partitions), initial=0
        )
        self._add_cells(self._num_cells)

    @abstractmethod
    def _reading(self, *bins: BinStatistics) -> Any:
        """Return the result, a tensor or a dict of them, from the bins of each kind."""

    def _predictions(self, labels: Tensor, predictions: Tensor) -> Predictions:
        """Return the confidence of each prediction, and whether it is wrong."""
        return functional.top_label(labels, predictions, from_logits=self.from_logits)

    def _update(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> None:
        read = self._predictions(labels, predictions)
        rows = tuple(ops.reshape(part, (-1,)) for part in (*read, weights))
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
        is_finite = ops.expand_dims(ops.isfinite(top.complement), -1)
        index = ops.where(is_finite, index, self._num_cells)
        amounts = ops.repeat(functional.amounts(top, weights), index.shape[-1], axis=0)
        return Sums(whole, fraction).added(ops.reshape(index, (-1,)), amounts)

    @property
    def _layout(self) -> Any:
        return self._partitions

    @property
    def _cells_of_each(self) -> int:
        return sum(partition.cells_of_each for partition in self._partitions)

    def _bins(self, sums: Sums) -> list[BinStatistics]:
        return [
            part.bins(sums, start)
            for part, start in zip(self._partitions, self._starts, strict=True)
        ]

    def cells(self) -> BinStatistics:
        """Return what the finest cells of the state hold, parts of shape (cells,)."""
        pairs = zip(self._partitions, self._starts, strict=True)
        finest, start = max(pairs, key=lambda pair: pair[0].num_finest)
        return self._sums().part(start, finest.num_finest).statistics()

    def bins(self) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,)."""
        return self._partitions[0].bins(self._sums(), self._starts[0])

    def equal_width_bins(self) -> BinStatistics | None:
        """Return the bins that a reliability diagram is drawn of; None if the metric has none."""
        for part, start in zip(self._partitions, self._starts, strict=True):
            if isinstance(part, EqualWidth):
                return part.bins(self._sums(), start)
        return None

    def equal_mass_cells(self) -> BinStatistics | None:
        """Return the cells that bins of equal mass are cut from; None if the metric has none."""
        for part, start in zip(self._partitions, self._starts, strict=True):
            if isinstance(part, EqualMass):
                return self._sums().part(start, part.num_finest).statistics()
        return None

    def result(self) -> Any:
        """Return the error, a fraction in [0, 1]; 0.0 before any prediction."""

        def reading(*sums: Tensor) -> Any:
            return self._as_result(self._reading(*self._bins(Sums(*sums))))

        return functional.compiled(reading, *self._sums())

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, **super().get_config()}


class TotalsMetric(PredictionMetric):
    """Base of the scores that are means over predictions: totals of amounts of each prediction.

    A total is kept as a float32 and what its roundings lost, so that it does not stall at 2**24.
    Predictions that are not finite are counted apart. A subclass gives `_amounts` and `_reading`.
    """

    def __init__(
        self,
        num_totals: int,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: Any,
    ):
        super().__init__(from_logits, ignore_class, name, dtype)
        # The last total is the weight of what is not finite.
        self._parts = [
            self.add_variable((num_totals + 1,), "zeros", dtype="float32", name=part)
            for part in ("total", "error")
        ]

    @abstractmethod
    def _amounts(self, labels: Tensor, predictions: Tensor) -> list[Tensor]:
        """Return what each prediction adds to each total at weight 1, shape (...)."""

    @abstractmethod
    def _reading(self, *totals: Tensor) -> Any:
        """Return the result, a tensor or a dict of them."""

    def _update(self, labels: Tensor, predictions: Tensor, weights: Tensor) -> None:
        amounts = ops.stack(self._amounts(labels, predictions), axis=-1)
        is_finite = ops.all(ops.isfinite(amounts), axis=-1, keepdims=True)
        weights = ops.cast(ops.expand_dims(weights, -1), amounts.dtype)
        amounts = ops.where(is_finite, weights * amounts, 0.0)
        amounts = ops.concatenate([amounts, ops.where(is_finite, 0.0, weights)], axis=-1)
        total = ops.sum(ops.reshape(amounts, (-1, amounts.shape[-1])), axis=0)
        self._assign(self._totals().added(ops.cast(total, "float32")))

    def _totals(self) -> Totals:
        return Totals(*(ops.convert_to_tensor(part) for part in self._parts))

    def _assign(self, totals: Totals) -> None:
        for variable, value in zip(self._parts, totals, strict=True):
            variable.assign(value)

    @property
    def _layout(self) -> Any:
        return {}

    def _merge(self, other: "TotalsMetric") -> None:
        total, error = other._totals()
        self._assign(self._totals().added(total).added(error))

    def result(self) -> Any:
        """Return the score; 0.0 before any prediction."""
        total, error = self._totals()
        totals = total + error
        return self._as_result(self._reading(*(totals[i] for i in range(totals.shape[0] - 1))))

    @property
    def invalid_count(self) -> float:
        """Weight of the predictions that were not finite and so are in no score."""
        return float(sum(ops.convert_to_numpy(part)[-1] for part in self._parts))
