"""Sums per cell of confidence, which can be added over batches, replicas and files."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal._validation.numbers import check_count
from keras_focal.functional import BinStatistics
from keras_focal.functional._backend.compilation import Kernel, compiled
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

    A sum is a pair of float32, so that it neither stalls at 2**24, as a single float32 would, nor
    overflows with large weights.
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


@dataclass(frozen=True)
class Table:
    """Several partitions whose cells stand one below the other in one table of sums."""

    partitions: tuple[Partition, ...]

    @property
    def parts(self) -> list[tuple[Partition, int]]:
        """Each partition, and the row of its first cell."""
        starts = accumulate((part.num_cells for part in self.partitions[:-1]), initial=0)
        return list(zip(self.partitions, starts, strict=True))

    @property
    def num_cells(self) -> int:
        return sum(part.num_cells for part in self.partitions)

    @property
    def cells_of_each(self) -> int:
        """Number of cells that a prediction adds to."""
        return sum(part.cells_of_each for part in self.partitions)

    def added(self, high: Tensor, low: Tensor, *rows: Tensor) -> Sums:
        """Return the sums after predictions and their weights, each part of shape (n,)."""
        *parts, weights = rows
        top, sums = Predictions(*parts), Sums(high, low)
        number = weights.shape[0]
        is_large = number is not None and number * self.cells_of_each > self.num_cells
        cells = [
            (ops.expand_dims(part.finest(top), -1) if is_large else part.index(top)) + start
            for part, start in self.parts
        ]
        index = ops.concatenate(cells, axis=-1)
        amounts = ops.repeat(contributions(top, weights), index.shape[-1], axis=0)
        return sums.added(ops.reshape(index, (-1,)), amounts, self.completed if is_large else None)

    def completed(self, cells: Tensor) -> Tensor:
        """Return sums of all cells, shape (num_cells, ...), from those of the finest."""
        return ops.concatenate(
            [part.completed(cells[start : start + part.num_cells]) for part, start in self.parts],
            axis=0,
        )

    def bins(self, sums: Sums) -> list[BinStatistics]:
        """Return the bins of each partition."""
        return [part.bins(sums, start) for part, start in self.parts]


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
        self._table = Table(tuple(kind(self.num_bins) for kind in kinds))
        self._add_cells(self._table.num_cells)

    @property
    @abstractmethod
    def _reading(self) -> Callable:
        """Function from the bins of each kind to the result, a tensor or a dict of them.

        Equal metrics have equal ones.
        """

    def _predictions(self, ids: Tensor, predictions: Tensor) -> Predictions:
        """Return the confidence of each prediction, and whether it is wrong; NaN if invalid."""
        return top_label(ids, predictions, from_logits=self.from_logits)

    def _update(self, entries: Entries) -> None:
        top = self._predictions(entries.ids, entries.predictions)
        is_kept = self._counted(ops.isfinite(top.complement), entries.weights)
        weights = ops.where(is_kept, entries.weights, 0.0)
        parts = (*only_counted(top, is_kept), weights)
        rows = tuple(ops.reshape(part, (-1,)) for part in parts)
        kernel = Kernel(Table.added, (self._table,))
        self._assign(compiled(kernel, *self._sums(), rows=rows))

    @property
    def _layout(self) -> Any:
        return self._table.partitions

    def cells(self) -> BinStatistics:
        """Return the sums of the finest cells of the state, parts of shape (cells,)."""
        finest, start = max(self._table.parts, key=lambda pair: pair[0].num_finest)
        return self._sums().part(start, finest.num_finest).statistics()

    def bins(self) -> BinStatistics:
        """Return what each bin holds, parts of shape (num_bins,)."""
        return self._kind_of_bins(*self._table.partitions[0].bins(self._sums()))

    def equal_width_bins(self) -> BinStatistics | None:
        """Return the bins of equal width, for a reliability diagram; None if there are none."""
        for part, start in self._table.parts:
            if isinstance(part, EqualWidth):
                return self._kind_of_bins(*part.bins(self._sums(), start))
        return None

    def equal_mass_cells(self) -> BinStatistics | None:
        """Return the cells from which bins of equal mass are made; None if there are none."""
        for part, start in self._table.parts:
            if isinstance(part, EqualMass):
                return self._sums().part(start, part.num_finest).statistics()
        return None

    def _numbers(self) -> tuple[Any, Tensor]:
        return compiled(Kernel(_read, (self._table, self._reading)), *self._sums())

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, **super().get_config()}


def _read(table: Table, reading: Callable, high: Tensor, low: Tensor) -> tuple[Any, Tensor]:
    """Return the result, and the weight of all predictions."""
    bins = table.bins(Sums(high, low))
    return reading(*bins), ops.sum(bins[0].count)
