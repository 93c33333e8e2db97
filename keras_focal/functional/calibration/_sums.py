"""Running sums stored as pairs of float32, which add with an error of about 2**-48 of the sum.

A float32 sum of ones stalls at 2**24 and loses small amounts long before that; an int32 overflows
with large weights. A pair of float32 does neither. Large batches are summed in integer multiples of
a power of two, which are exact in any order of addition.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.operations import scatter_add
from keras_focal.functional._stable.exact import exact_total
from keras_focal.functional.calibration._bins import BinStatistics

FEW = 512
"""Number of amounts that are summed in float32, with an error of a few millionths of their sum.

Whole numbers are exact all the same. The error of a batch does not grow with the batches after it.
"""

MANY = 2**20
"""Number of amounts that are summed at once, in multiples of 2**-20 of the largest or less."""

BLOCK = 128
"""Number of summands that are added sequentially."""

_COUNTER_BITS = 30
_POWERS = (2.0 ** np.arange(-100, 128)).astype("float32")


class Sums(NamedTuple):
    """Sums of any shape, high + low, where low is the rounding error of high.

    Attributes:
        high: Float32 tensor.
        low: Float32 tensor of the same shape.
    """

    high: Tensor
    low: Tensor

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Sums":
        """Return sums that are all 0."""
        return cls(ops.zeros(shape, dtype="float32"), ops.zeros(shape, dtype="float32"))

    @classmethod
    def of_integers(cls, integers: Tensor, unit: Tensor | float = 1.0) -> "Sums":
        """Return int32 numbers times a power of two, exactly, though a float32 has only 24 bits."""
        upper = integers // 4096 * 4096
        return cls(*(ops.cast(part, "float32") * unit for part in (upper, integers - upper)))

    @property
    def value(self) -> Tensor:
        """The sums, rounded to float32."""
        return self.high + self.low

    def plus(self, other: "Sums") -> "Sums":
        """Return the elementwise total of two pairs."""
        high, error = exact_total(self.high, other.high)
        return _normalised(high, error + (self.low + other.low))

    def plus_numbers(self, numbers: Tensor) -> "Sums":
        """Return the sums with float32 numbers of the same shape added."""
        high, error = exact_total(self.high, numbers)
        return _normalised(high, error + self.low)

    def added(
        self, index: Tensor, amounts: Tensor, completed: Callable[[Tensor], Tensor] | None = None
    ) -> "Sums":
        """Return the sums after adding amounts[i] to cell index[i] for every i.

        A small batch is added as float32. A larger one is summed in integer multiples of a fraction
        of its largest amount, in two passes, and only the remainder is summed as float32. A batch
        with fewer amounts than there are cells updates only the cells it refers to.

        Args:
            index: int32 tensor, shape (n,), in [0, cells); the sums have shape (cells, width).
            amounts: Float tensor, shape (n, width), >= 0. The first of a row is the largest.
            completed: Function that fills cells with the sums of others, from a tensor of shape
                (cells, ...) to the same. Then all cells are updated.
        """
        amounts, size = ops.cast(amounts, "float32"), index.shape[0]
        if completed is None and size is not None and size <= FEW:
            return self._few_added(index, amounts)
        if size is not None and size > MANY:
            first = self.added(index[:MANY], amounts[:MANY], completed)
            return first.added(index[MANY:], amounts[MANY:], completed)
        # Numbers of a table are computed in one row: XLA walks rows of three one by one on a CPU.
        scale, parts = _smallest_power(ops.max(amounts[:, 0])), _parts(index)
        coarse, left = _whole_parts(ops.reshape(amounts, (-1,)) * (parts / scale))
        fine, rest = _whole_parts(left * parts)
        tables = tuple(
            self._scattered(index, ops.cast(part, dtype))
            for part, dtype in ((coarse, "int32"), (fine, "int32"), (rest, "float32"))
        )
        units = scale / parts, scale / parts / parts

        def all_cells() -> tuple[Tensor, ...]:
            filled = tables if completed is None else tuple(map(completed, tables))
            return tuple(self._plus_parts(filled, units))

        def touched_cells() -> tuple[Tensor, ...]:
            touched = tuple(ops.take(table, index, axis=0) for table in tables)
            return tuple(self._written(index, self.at(index)._plus_parts(touched, units)))

        cells = self.high.shape[0]
        if size is None:  # XLA knows the size, and compiles only one of the two
            return Sums(*ops.cond(ops.shape(index)[0] > cells, all_cells, touched_cells))
        return Sums(*(all_cells() if completed or size > cells else touched_cells()))

    def _scattered(self, index: Tensor, amounts: Tensor) -> Tensor:
        """Return a table of the shape of the sums with the amounts, in one row, added to zeros."""
        zeros = ops.zeros(self.high.shape, dtype=amounts.dtype)
        return scatter_add(zeros, index, ops.reshape(amounts, (-1, self.high.shape[-1])))

    def _plus_parts(self, tables: tuple[Tensor, ...], units: tuple[Tensor, Tensor]) -> "Sums":
        """Return the sums after adding coarse * unit + (fine + rest) * small_unit.

        Args:
            tables: The coarse, fine and other parts of what is added, of the shape of the sums.
            units: The unit of the coarse part, and of the other two.
        """
        shape, (unit, small_unit) = ops.shape(self.high), units
        high, low, coarse, fine, rest = (ops.reshape(part, (-1,)) for part in (*self, *tables))
        batch = Sums.of_integers(coarse, unit)
        fine = ops.cast(fine, "float32") * small_unit + rest * small_unit
        sums = Sums(high, low).plus(Sums(batch.high, batch.low + fine))
        return Sums(*(ops.reshape(part, shape) for part in sums))

    def _few_added(self, index: Tensor, amounts: Tensor) -> "Sums":
        sums = self._replace(low=scatter_add(self.low, index, amounts))
        return sums._written(index, _normalised(*sums.at(index)))

    def _written(self, index: Tensor, sums: "Sums") -> "Sums":
        """Return the sums with the cells at `index` replaced.

        A cell that occurs twice is written twice, with the same value.
        """
        at = ops.expand_dims(index, -1)
        pairs = zip(self, sums, strict=True)
        return Sums(*(ops.scatter_update(part, at, new) for part, new in pairs))

    def at(self, index: Tensor) -> "Sums":
        """Return the sums of the cells at `index`, of shape index.shape + (width,)."""
        return Sums(*(ops.take(part, index, axis=0) for part in self))

    def part(self, start: int, size: int) -> "Sums":
        """Return the sums of `size` cells, beginning with cell `start`."""
        return Sums(*(part[start : start + size] for part in self))

    def statistics(self) -> BinStatistics:
        """Return sums of `contributions`, shape (..., 3), as BinStatistics."""
        high, low = self
        count, wrong = (high[..., i] + low[..., i] for i in (0, 1))
        # Where the gap is small the high parts are close, so their difference is exact.
        gap = (high[..., 1] - high[..., 2]) + (low[..., 1] - low[..., 2])
        return BinStatistics(count, wrong, gap)


def block_sum(x: Tensor) -> Tensor:
    """Return the sum over the last axis, with a rounding error that does not grow with its length.

    Numbers are summed in blocks, since some backends add sequentially. An unknown length is divided
    into blocks twice.
    """
    rounds = 2 if x.shape[-1] is None else math.ceil(math.log(max(x.shape[-1], 1), BLOCK)) - 1
    for _ in range(rounds):
        size = ops.shape(x)[-1]
        blocks = (size + BLOCK - 1) // BLOCK
        shape = tuple(x.shape[:-1])
        if size % BLOCK if isinstance(size, int) else True:
            filler = ops.zeros((*shape, BLOCK), dtype=x.dtype)
            x = ops.concatenate([x, filler], axis=-1)[..., : blocks * BLOCK]
        x = ops.sum(ops.reshape(x, (*shape, -1, BLOCK)), axis=-1)
    return ops.sum(x, axis=-1)


def _normalised(high: Tensor, low: Tensor) -> Sums:
    return Sums(*exact_total(high, low))


def _smallest_power(largest: Tensor) -> Tensor:
    """Return the smallest power of two >= a number, exactly."""
    powers = ops.convert_to_tensor(_POWERS)
    place = ops.searchsorted(powers, ops.reshape(largest, (1,)), side="left")
    return ops.take(powers, ops.clip(ops.cast(place[0], "int32"), 0, len(_POWERS) - 1))


def _parts(index: Tensor) -> Tensor | float:
    """Return the number of steps per amount such that an int32 can hold the sum of all steps."""
    if index.shape[0] is not None:
        return 2.0 ** (_COUNTER_BITS - math.ceil(math.log2(max(index.shape[0], 1))))
    size = ops.cast(ops.shape(index)[0], "float32")
    return ops.minimum(2.0**_COUNTER_BITS / _smallest_power(size), 2.0**24)


def _whole_parts(x: Tensor) -> tuple[Tensor, Tensor]:
    whole = ops.floor(x)
    return whole, x - whole
