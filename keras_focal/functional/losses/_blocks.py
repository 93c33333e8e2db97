"""Rows and classes in blocks, of which every device of a mesh has an equal share.

Where an axis is divided over the devices, a block of neighbours would lie on one of them, and XLA
would gather the whole axis on each. A block here has as many entries of every device's share, so
that each device reads and writes its own.
"""

import math
from typing import Any

from keras import ops

from keras_focal._typing import Tensor
from keras_focal.functional._backend.compilation import num_devices


class ClassBlocks:
    """Blocks of the last axis, of length K, of a tensor.

    The last block ends at the last class of each share. Classes that it has in common with the
    block before it are not new.

    Args:
        num_classes: K.
        count: The most blocks there may be, >= 1.

    Attributes:
        count: Number of blocks.
        width: Number of classes of a block in each share.
    """

    def __init__(self, num_classes: int, count: int):
        self._shares = math.gcd(num_classes, num_devices())
        self._of_share = num_classes // self._shares
        self.width = -(-self._of_share // min(count, self._of_share))
        self.count = -(-self._of_share // self.width)

    def _start(self, index: Any) -> Tensor:
        return ops.minimum(index * self.width, self._of_share - self.width)

    def _where(self, x: Tensor, index: Any) -> tuple[Tensor, tuple[Any, ...]]:
        """Return x with an axis of shares, and where a block starts in it."""
        before = ops.shape(x)[:-1]
        divided = ops.reshape(x, (*before, self._shares, self._of_share))
        return divided, (*(0 for _ in before), 0, self._start(index))

    def taken(self, x: Tensor, index: Any) -> Tensor:
        """Return the classes of a block: x of shape (..., K), the result (..., classes)."""
        divided, start = self._where(x, index)
        before = ops.shape(x)[:-1]
        part = ops.slice(divided, start, (*before, self._shares, self.width))
        return ops.reshape(part, (*before, self._shares * self.width))

    def replaced(self, x: Tensor, index: Any, part: Tensor) -> Tensor:
        """Return x of shape (..., K) with `part` of shape (..., classes) as the block."""
        divided, start = self._where(x, index)
        part = ops.reshape(part, (*ops.shape(x)[:-1], self._shares, self.width))
        return ops.reshape(ops.slice_update(divided, start, ops.cast(part, x.dtype)), ops.shape(x))

    def is_new(self, index: Any) -> Tensor:
        """Return which classes of a block were in none before it, shape (classes,)."""
        is_new = ops.arange(self.width, dtype="int32") + self._start(index) >= index * self.width
        return ops.tile(is_new, (self._shares,))

    def place(self, ids: Tensor, index: Any) -> Tensor:
        """Return the place of class ids in a block, negative where they are not in it."""
        share, within = ids // self._of_share, ids % self._of_share - self._start(index)
        is_in = ops.logical_and(within >= 0, within < self.width)
        return ops.where(is_in, share * self.width + within, -1)


class RowBlocks:
    """Blocks of the first axis of tensors, whose length is a multiple of their number.

    Args:
        shares: Number of shares, from `row_shares`.
        count: Number of blocks.
    """

    def __init__(self, shares: int, count: int):
        self._shares = shares
        self.count = count

    def filled(self, x: Tensor, multiple: int) -> Tensor:
        """Return a tensor (N, ...) with zeros added, to a multiple of rows in each share."""
        divided = ops.reshape(x, (self._shares, -1, *x.shape[1:]))
        extra = -ops.shape(divided)[1] % multiple
        full = ops.pad(divided, [[0, 0], [0, extra], *[[0, 0]] * (len(x.shape) - 1)])
        return ops.reshape(full, (-1, *x.shape[1:]))

    def emptied(self, x: Tensor, length: Any) -> Tensor:
        """Return the `length` rows of a filled tensor that were not added."""
        divided = ops.reshape(x, (self._shares, -1, *x.shape[1:]))
        return ops.reshape(divided[:, : length // self._shares], (length, *x.shape[1:]))

    def stacked(self, x: Tensor) -> Tensor:
        """Return the blocks of a filled tensor, shape (count, rows of a block, ...)."""
        blocks = ops.moveaxis(self._divided(x), 1, 0)
        return ops.reshape(blocks, (self.count, -1, *x.shape[1:]))

    def unstacked(self, x: Tensor) -> Tensor:
        """Return the filled tensor whose blocks are stacked."""
        blocks = ops.reshape(x, (self.count, self._shares, -1, *x.shape[2:]))
        return ops.reshape(ops.moveaxis(blocks, 1, 0), (-1, *x.shape[2:]))

    def taken(self, x: Tensor, index: Any) -> Tensor:
        """Return the rows of a block of a filled tensor."""
        divided = self._divided(x)
        shape = (self._shares, 1, *ops.shape(divided)[2:])
        part = ops.slice(divided, (0, index, *(0 for _ in shape[2:])), shape)
        return ops.reshape(part, (-1, *x.shape[1:]))

    def replaced(self, x: Tensor, index: Any, part: Tensor) -> Tensor:
        """Return a filled tensor with `part` as the rows of a block."""
        divided = self._divided(x)
        shape = (self._shares, 1, *ops.shape(divided)[2:])
        start = (0, index, *(0 for _ in shape[2:]))
        new = ops.slice_update(divided, start, ops.reshape(part, shape))
        return ops.reshape(new, ops.shape(x))

    def _divided(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (self._shares, self.count, -1, *x.shape[1:]))


def row_shares(num_rows: int | None) -> int:
    """Return the number of shares of so many rows, 1 if the number is unknown."""
    return math.gcd(num_rows, num_devices()) if num_rows else 1
