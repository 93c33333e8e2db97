"""Batches of training samples, shuffled and augmented anew each epoch, the same after a resume."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from examples.paper.data._types import Split


class EpochBatches(keras.utils.PyDataset):
    """Batches that are drawn anew when `epoch` is set: see `FollowEpochs`."""

    @property
    def epoch(self) -> int:
        """The epoch, 0 the first, whose batches are given."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self.draw()

    def draw(self) -> None:
        """Draw the batches of the epoch."""
        raise NotImplementedError


class Batches(EpochBatches):
    """Batches (x, y), or (x, y, weight) where the samples have weights, for `model.fit`.

    Batch i of epoch e depends on the seed, e and i alone, so a resumed run sees what an unbroken
    one sees, given `fit(..., shuffle=False, callbacks=[FollowEpochs(batches)])`: by default `fit`
    takes the batches in an order drawn from Python's random numbers, and `epoch` only counts up,
    from 0, at the end of each epoch.

    Args:
        split: The samples.
        batch_size: Samples in a batch; the last batch may have fewer.
        seed: Seed of the order and of the augmentation.
        augment: None, or a function of a batch of `x` and a generator of random numbers.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int = 0,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
    ):
        super().__init__()
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.epoch = 0

    def draw(self) -> None:
        """Draw the order of the samples."""
        self._rows = self._rng(0).permutation(len(self.split))

    def __len__(self) -> int:
        """Return the number of batches."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0)

    def __getitem__(self, index: int) -> tuple:
        """Return a batch."""
        start = index * self.batch_size
        batch = self.split.take(self._rows[start : start + self.batch_size])
        x = batch.x if self.augment is None else self.augment(batch.x, self._rng(1 + index))
        return (x, batch.y) if batch.weight is None else (x, batch.y, batch.weight)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch, stream))


class FollowEpochs(keras.callbacks.Callback):
    """Sets the `epoch` of batches to that of `fit`, which a resumed run does not begin at 0."""

    def __init__(self, batches: EpochBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.epoch = epoch
