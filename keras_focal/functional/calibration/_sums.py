"""Sums that may grow for as long as training lasts: a whole number and a fraction below 1.

A float32 sum of ones stalls at 2**24, and one of small amounts drops them long before. An int32
and a float32 side by side are exact to 2**31 and keep the fraction.
"""

from typing import NamedTuple

from keras import ops

from keras_focal.functional._backend.operations import scatter_add
from keras_focal.functional._backend.precision import Tensor
from keras_focal.functional.calibration._bins import BinStatistics

FEW = 512
"""Amounts that a float32 adds up in one cell without losing what matters: an ulp of 512 is 6e-5."""

PARTS = 1024
"""Parts of 1 that amounts are counted in where there are more of them."""


class Sums(NamedTuple):
    """Weight, wrong weight and complement weight of each of some cells, whole + fraction.

    Attributes:
        whole: int32 tensor, shape (cells, 3).
        fraction: float32 tensor in [0, 1), shape (cells, 3).
    """

    whole: Tensor
    fraction: Tensor

    def added(self, index: Tensor, amounts: Tensor) -> "Sums":
        """Return the sums after amounts[i] went to cell index[i] for every i.

        Only the cells that something is added to are read and written. Many amounts are counted in
        whole parts, exactly, and only what is left of them is added up as a float32.

        Args:
            index: int32 tensor, shape (n,), in [0, cells).
            amounts: Float tensor, shape (n, 3), >= 0.
        """
        whole, amounts = self.whole, ops.cast(amounts, "float32")
        counted = carried = ops.zeros((), dtype="int32")
        if index.shape[0] is None or index.shape[0] > FEW:
            units = ops.floor(amounts)
            parts = ops.round((amounts - units) * PARTS)
            amounts = amounts - units - parts / PARTS
            whole = scatter_add(whole, index, ops.cast(units, "int32"))
            table = scatter_add(ops.zeros_like(whole), index, ops.cast(parts, "int32"))
            counted = ops.take(table, index, axis=0)
            carried = counted // PARTS
        fraction = scatter_add(self.fraction, index, amounts)
        rest = ops.cast(counted - carried * PARTS, "float32") / PARTS
        total = ops.take(fraction, index, axis=0) + rest
        carry = ops.floor(total)
        carried = ops.take(whole, index, axis=0) + carried + ops.cast(carry, "int32")
        # A cell that is named twice is written twice, with one and the same value.
        at = ops.expand_dims(index, -1)
        return Sums(
            ops.scatter_update(whole, at, carried),
            ops.scatter_update(fraction, at, total - carry),
        )

    def merged(self, other: "Sums") -> "Sums":
        """Return the sums of both."""
        total = self.fraction + other.fraction
        carry = ops.floor(total)
        return Sums(self.whole + other.whole + ops.cast(carry, "int32"), total - carry)

    def at(self, index: Tensor) -> "Sums":
        """Return the sums of the cells that `index` names, of shape index.shape + (3,)."""
        return Sums(ops.take(self.whole, index, axis=0), ops.take(self.fraction, index, axis=0))

    def part(self, start: int, size: int) -> "Sums":
        """Return the sums of the `size` cells from `start` on."""
        return Sums(self.whole[start : start + size], self.fraction[start : start + size])

    def statistics(self) -> BinStatistics:
        """Return the sums as numbers of float32."""
        whole, fraction = self
        count, wrong = (ops.cast(whole[..., i], "float32") + fraction[..., i] for i in (0, 1))
        # Whole parts are subtracted as integers: their difference is small and exact.
        gap = ops.cast(whole[..., 1] - whole[..., 2], "float32")
        return BinStatistics(count, wrong, gap + (fraction[..., 1] - fraction[..., 2]))


class Totals(NamedTuple):
    """Float32 sums with what their roundings lost: 48 bits in all.

    Attributes:
        total: Float32 tensor of any shape.
        error: The same shape: the sum is total + error.
    """

    total: Tensor
    error: Tensor

    def added(self, amounts: Tensor) -> "Totals":
        """Return the totals with `amounts`, of the same shape, added."""
        total = self.total + amounts
        part = total - self.total
        # Knuth's TwoSum.
        lost = (self.total - (total - part)) + (amounts - part)
        return Totals(total, self.error + lost)
