"""Base class of scores that are means over predictions."""

from abc import abstractmethod
from typing import Any

from keras import ops

from keras_focal._typing import DType, Tensor
from keras_focal.functional._inputs.entries import Entries
from keras_focal.functional.calibration._sums import Sums, block_sum
from keras_focal.metrics._base import PredictionMetric


class Totalled(PredictionMetric):
    """Base class of metrics whose state is totals over predictions.

    A total is a pair of float32, which adds with an error of about 2**-48 of it and does not
    stall at 2**24. A subclass implements `_batch` and `_numbers`.
    """

    def __init__(
        self,
        num_totals: int,
        from_logits: bool,
        ignore_class: int | None,
        name: str,
        dtype: DType | None,
        axis: int,
        skip_invalid: bool,
    ):
        super().__init__(from_logits, ignore_class, name, dtype, axis, skip_invalid)
        self._parts = [
            self.add_variable((num_totals,), "zeros", dtype="float32", name=part)
            for part in Sums._fields
        ]

    @abstractmethod
    def _batch(self, entries: Entries) -> Tensor:
        """Return what predictions add to the totals, shape (totals,)."""

    def _update(self, entries: Entries) -> None:
        totals = ops.cast(self._batch(entries), "float32")
        self._assign(self._totals().plus_numbers(totals))

    def _totals(self) -> Sums:
        return Sums(*(ops.convert_to_tensor(part) for part in self._parts))

    def _assign(self, totals: Sums) -> None:
        for variable, value in zip(self._parts, totals, strict=True):
            variable.assign(value)

    @property
    def _layout(self) -> Any:
        return {}

    def _merge(self, other: "Totalled") -> None:
        self._assign(self._totals().plus(other._totals()))


class TotalsMetric(Totalled):
    """Base class of scores that are means over predictions.

    A subclass implements `_amounts` and `_reading`.
    """

    @abstractmethod
    def _amounts(self, entries: Entries) -> list[Tensor]:
        """Return what each prediction of weight 1 adds to each total, shape (...).

        At least one of them is NaN where an entry is invalid.
        """

    @abstractmethod
    def _reading(self, *totals: Tensor) -> tuple[Any, Tensor]:
        """Return the result, a tensor or a dict, and the total weight of the predictions."""

    def _batch(self, entries: Entries) -> Tensor:
        amounts = ops.stack([ops.reshape(part, (-1,)) for part in self._amounts(entries)])
        weights = ops.reshape(ops.cast(entries.weights, amounts.dtype), (-1,))
        is_kept = self._counted(ops.all(ops.isfinite(amounts), axis=0), weights)
        return block_sum(ops.where(is_kept, weights * amounts, 0.0))

    def _numbers(self) -> tuple[Any, Tensor]:
        totals = self._totals().value
        return self._reading(*(totals[i] for i in range(totals.shape[0])))
