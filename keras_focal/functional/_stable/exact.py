"""Differences and sums of floats together with the error of their rounding."""

from typing import NamedTuple

from keras import ops

from keras_focal._typing import Tensor

ANCHOR = 3072.0
"""3 * 2**10: a float32 this many times as large as x holds 12 bits of x, and a sum of 4,096 such
parts is exact."""


def exact_total(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a + b and the error of its rounding (Knuth's TwoSum)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def exact_difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a - b and the error of its rounding (Knuth's TwoSum)."""
    difference = a - b
    b_part = a - difference
    error = (a - (difference + b_part)) + (b_part - b)
    return difference, error


class Sum(NamedTuple):
    """A sum of numbers and the error of its rounding.

    Attributes:
        high: The sum.
        low: What it lacks.
    """

    high: Tensor
    low: Tensor

    def plus(self, x: Tensor) -> "Sum":
        """Return the sum of this and x."""
        high, error = exact_total(self.high, x)
        return _normalized(high, error + self.low)

    def of_rows(self) -> "Sum":
        """Return the sum with an axis for the entries of a row."""
        return Sum(ops.expand_dims(self.high, -1), ops.expand_dims(self.low, -1))


def exact_sum(x: Tensor) -> Sum:
    """Return the sum over the last axis of numbers >= 0.

    Their rounding errors must be normal numbers.
    """
    anchor = ANCHOR * ops.max(x, axis=-1, keepdims=True)
    upper = (x + anchor) - anchor
    return _normalized(ops.sum(upper, axis=-1), ops.sum(x - upper, axis=-1))


def _normalized(high: Tensor, low: Tensor) -> Sum:
    """Return the sum of a number and one that is smaller (Dekker's FastTwoSum)."""
    total = high + low
    return Sum(total, low - (total - high))
