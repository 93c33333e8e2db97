"""Sums per cell of confidence, which can be added over batches, replicas and files."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_count
from keras_focal.functional import BinStatistics
from keras_focal.functional._backend.compilation import compiled
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional.calibration._bins import (
    Predictions,
    contributions,
    only_counted,
    top_label,
)
from keras_focal.functional.calibration._partitions import EqualMass, EqualWidth, Partition
from keras_focal.functional.calibration._sums import Sums
from keras_focal.metrics._base import PredictionMetric


class CellMetric(PredictionMetric):
    """Base class of the calibration errors: stores sums per cell of confidence.

    A sum is a pair of float32 with 48 bits of precision, so that it neither stalls at 2**24, as a
    single float32 would, nor overflows with large weights.
    """

    def _add_cells(self, num_cells: int) -> None:
        shape = (num_cells, 3)
        self._high = self.add_variable(shape, "zeros", dtype="float32", name="high")
        self._low = self.add_variable(shape, "zeros", dtype="float32", name="low")

    def _sums(self) -> Sums:
        return Sums(ops.convert_to_tensor(self._high), ops.convert_to_tensor(self._low))

    def _assign(self, sums: Sums) -> None:
        self._high.assign(sums.high)
        self._low.assign(sums.low)

    def _merge(self, other: "CellMetric") -> None:
        self._assign(self._sums().plus(other._sums()))


class BinnedMetric(CellMetric):
    """Base class of errors over bins of equal width, of equal mass, or both.

    Each cell stores the weight of its predictions, the weight of the wrong ones, and the weighted
    sum of 1 - confidence. A subclass names the kinds of bins it needs and implements `_reading`.
    """

    _kind_of_bins: type[BinStatistics] = BinStatistics

    def __init__(
        self,
        kinds: Sequence[type[Partition]],
        num_bins: int,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: DType | None,
        axis: int,
        skip_invalid: bool,
    ):
        super().__init__(from_logits, ignore_class, name, dtype, axis, skip_invalid)
        self.num_bins = check_count("num_bins", num_bins)
        self._partitions = [kind(self.num_bins) for kind in kinds]
        *self._starts, self._num_cells = accumulate(
            (partition.num_cells for partition in self._partitions), initial=0
        )
        self._add_cells(self._num_cells)

    @abstractmethod
    def _reading(self, *bins: BinStatistics) -> Any:
        """Return the result, a tensor or a dict of them, from the bins of each kind."""

    def _predictions(self, ids: Tensor, predictions: Tensor) -> Predictions:
        """Return the confidence of each prediction, and whether it is wrong; NaN if invalid."""
        return top_label(ids, predictions, from_logits=self.from_logits)

    def _update(self, entries: Entries) -> None:
        top = self._predictions(entries.ids, entries.predictions)
        is_kept = self._counted(ops.isfinite(top.complement), entries.weights)
        weights = ops.where(is_kept, entries.weights, 0.0)
        parts = (*only_counted(top, is_kept), weights)
        rows = tuple(ops.reshape(part, (-1,)) for part in parts)
        self._assign(compiled(self._added, *self._sums(), rows=rows))

    def _added(self, high: Tensor, low: Tensor, *rows: Tensor) -> Sums:
        """Return the sums after predictions and their weights, each part of shape (n,)."""
        *parts, weights = rows
        top = Predictions(*parts)
        index = [
            part.index(top) + start
            for part, start in zip(self._partitions, self._starts, strict=True)
        ]
        index = ops.concatenate(index, axis=-1)
        amounts = ops.repeat(contributions(top, weights), index.shape[-1], axis=0)
        return Sums(high, low).added(ops.reshape(index, (-1,)), amounts)

    @property
    def _layout(self) -> Any:
        return self._partitions

    def _bins(self, sums: Sums) -> list[BinStatistics]:
        return [
            part.bins(sums, start)
            for part, start in zip(self._partitions, self._starts, strict=True)
        ]

    def cells(self) -> BinStatistics:
        """Return the sums of the finest cells of the state, parts of shape (cells,)."""
        pairs = zip(self._partitions, self._starts, strict=True)
        finest, start = max(pairs, key=lambda pair: pair[0].num_finest)
        return self._sums().part(start, finest.num_finest).statistics()

    def bins(self) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,)."""
        return self._kind_of_bins(*self._partitions[0].bins(self._sums(), self._starts[0]))

    def equal_width_bins(self) -> BinStatistics | None:
        """Return the bins of equal width, for a reliability diagram; None if there are none."""
        for part, start in zip(self._partitions, self._starts, strict=True):
            if isinstance(part, EqualWidth):
                return self._kind_of_bins(*part.bins(self._sums(), start))
        return None

    def equal_mass_cells(self) -> BinStatistics | None:
        """Return the cells from which bins of equal mass are made; None if there are none."""
        for part, start in zip(self._partitions, self._starts, strict=True):
            if isinstance(part, EqualMass):
                return self._sums().part(start, part.num_finest).statistics()
        return None

    def _numbers(self) -> tuple[Any, Tensor]:
        def reading(*sums: Tensor) -> Any:
            bins = self._bins(Sums(*sums))
            return self._reading(*bins), ops.sum(bins[0].count)

        return compiled(reading, *self._sums())

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, **super().get_config()}
