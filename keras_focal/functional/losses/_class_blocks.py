"""The classes in blocks, of which every device of a mesh has an equal share.

Where the classes are divided over the devices, a block of neighbouring classes would lie on one,
and XLA would gather all classes on each. A block here has as many classes of every device's share,
so that each device reads and writes its own.
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
