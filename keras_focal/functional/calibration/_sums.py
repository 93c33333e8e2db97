"""Sums that may grow for as long as training lasts: pairs of float32 that hold 48 bits.

A float32 sum of ones stalls at 2**24, one of small amounts drops them long before, and an int32
overflows with the first large weights. The pair does neither. Many amounts of one batch are counted
in whole parts of a power of two, which no order of addition rounds.
"""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_focal.functional._backend.operations import scatter_add
from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional.calibration._bins import BinStatistics

FEW = 512
"""Amounts that a float32 adds up in one cell without losing what matters: an ulp of 512 is 6e-5."""

MANY = 2**20
"""Amounts that are counted at once: parts of 2**-20 of the largest remain."""

BLOCK = 128
"""Numbers that are added up one after the other."""

_COUNTER_BITS = 30
_POWERS = (2.0 ** np.arange(-100, 128)).astype("float32")


class Sums(NamedTuple):
    """Sums of any shape: high + low, where low is what rounding takes from high.

    Attributes:
        high: Float32 tensor.
        low: Float32 tensor of the same shape.
    """

    high: Tensor
    low: Tensor

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Sums":
        """Return sums of nothing."""
        return cls(ops.zeros(shape, dtype="float32"), ops.zeros(shape, dtype="float32"))

    @classmethod
    def of_integers(cls, integers: Tensor, unit: Tensor | float = 1.0) -> "Sums":
        """Return int32 numbers times a power of two, exactly: a float32 holds only 24 bits."""
        upper = integers // 4096 * 4096
        high, low = (ops.cast(part, "float32") * unit for part in (upper, integers - upper))
        return _normalised(high, low)

    @property
    def value(self) -> Tensor:
        """The sums, rounded to float32."""
        return self.high + self.low

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums of both."""
        high, error = _two_sum(self.high, other.high)
        return _normalised(high, error + (self.low + other.low))

    def plus_numbers(self, numbers: Tensor) -> "Sums":
        """Return the sums with float32 numbers of the same shape added."""
        high, error = _two_sum(self.high, numbers)
        return _normalised(high, error + self.low)

    def added(self, index: Tensor, amounts: Tensor) -> "Sums":
        """Return the sums after amounts[i] went to cell index[i] for every i.

        Few amounts touch only their cells. More of them are counted in whole parts of their
        largest, in two steps, and only what is left is added up as a float32.

        Args:
            index: int32 tensor, shape (n,), in [0, cells); the sums have shape (cells, width).
            amounts: Float tensor, shape (n, width), >= 0.
        """
        amounts, size = ops.cast(amounts, "float32"), index.shape[0]
        if size is not None and size <= FEW:
            return self._few_added(index, amounts)
        if size is not None and size > MANY:
            first = self.added(index[:MANY], amounts[:MANY])
            return first.added(index[MANY:], amounts[MANY:])
        scale, parts = _smallest_power(ops.max(amounts)), _parts(index)
        coarse, left = _whole_parts(amounts * (parts / scale))
        fine, left = _whole_parts(left * parts)
        integers = ops.cast(ops.concatenate([coarse, fine], axis=-1), "int32")
        cells, width = self.high.shape
        counts = scatter_add(ops.zeros((cells, 2 * width), dtype="int32"), index, integers)
        rest = scatter_add(ops.zeros((cells, width), dtype="float32"), index, left)
        unit = scale / parts
        batch = Sums.of_integers(counts[:, :width], unit)
        batch = batch.plus(Sums.of_integers(counts[:, width:], unit / parts))
        return self.plus(batch.plus_numbers(rest * (unit / parts)))

    def _few_added(self, index: Tensor, amounts: Tensor) -> "Sums":
        low = scatter_add(self.low, index, amounts)
        touched = _normalised(ops.take(self.high, index, axis=0), ops.take(low, index, axis=0))
        # A cell that is named twice is written twice, with one and the same value.
        at = ops.expand_dims(index, -1)
        return Sums(
            ops.scatter_update(self.high, at, touched.high),
            ops.scatter_update(low, at, touched.low),
        )

    def at(self, index: Tensor) -> "Sums":
        """Return the sums of the cells that `index` names, of shape index.shape + (width,)."""
        return Sums(*(ops.take(part, index, axis=0) for part in self))

    def part(self, start: int, size: int) -> "Sums":
        """Return the sums of the `size` cells from `start` on."""
        return Sums(*(part[start : start + size] for part in self))

    def statistics(self) -> BinStatistics:
        """Return weight, wrong weight and complement weight, shape (..., 3), as BinStatistics."""
        high, low = self
        count, wrong = (high[..., i] + low[..., i] for i in (0, 1))
        # The high parts are close where the gap is small: their difference is exact.
        gap = (high[..., 1] - high[..., 2]) + (low[..., 1] - low[..., 2])
        return BinStatistics(count, wrong, gap)


def block_sum(x: Tensor) -> Tensor:
    """Return the sum over the last axis, whose rounding does not grow with its length.

    In blocks, since some backends add one number after the other. An unknown length is divided
    twice.
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


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a + b and what its rounding lost (Knuth's TwoSum)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _normalised(high: Tensor, low: Tensor) -> Sums:
    return Sums(*_two_sum(high, low))


def _smallest_power(largest: Tensor) -> Tensor:
    """Return the smallest power of two that is not below a number, exactly."""
    powers = ops.convert_to_tensor(_POWERS)
    place = ops.searchsorted(powers, ops.reshape(largest, (1,)), side="left")
    return ops.take(powers, ops.clip(ops.cast(place[0], "int32"), 0, len(_POWERS) - 1))


def _parts(index: Tensor) -> Tensor | float:
    """Return the parts of the largest amount that an int32 can count for so many amounts."""
    if index.shape[0] is not None:
        return 2.0 ** (_COUNTER_BITS - math.ceil(math.log2(max(index.shape[0], 1))))
    size = ops.cast(ops.shape(index)[0], "float32")
    return ops.minimum(2.0**_COUNTER_BITS / _smallest_power(size), 2.0**24)


def _whole_parts(x: Tensor) -> tuple[Tensor, Tensor]:
    whole = ops.floor(x)
    return whole, x - whole
