"""Held-out logits with labels and weights: NumPy on the host, the same on every backend."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_focal._host import logits_of
from keras_focal.calibration.given._arrays import Rows
from keras_focal.calibration.given._declared import Declared
from keras_focal.calibration.given._predictions import count_rounded, warn_of_rounded

_BLOCK = 2**18
"""Numbers in one block of rows: 2 MB, which stays near the processor from step to step."""

LOWEST = -1e30
"""A logit of -inf counts as this: its exponential is 0, and times 0 it is not NaN."""

_WORTH_THREADS = 2**22
"""Exponentials in a pass below which handing blocks to threads costs more than it saves."""


@dataclass
class HeldOut:
    """Held-out logits, shape (N, K >= 2), with labels and weights, shape (N,).

    Attributes:
        largest: Largest logit of each row, float64, shape (N, 1).
        true: Logit of the label minus the largest, shape (N,).
        top: Class of the first of the largest logits, shape (N,).
        is_right: Whether it is the label, shape (N,).
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_arrays(cls, logits: Any, labels: Any, sample_weight: Any) -> "HeldOut":
        """Return logits, shape (..., K), with labels and weights, checked."""
        declared = Declared()
        return cls.of_rows(declared.rows(logits, labels, sample_weight), declared)

    @classmethod
    def of_rows(cls, rows: Rows, declared: Declared, stacklevel: int = 0) -> "HeldOut":
        """Return the logits of predictions that count; warns of rounded ones with a stacklevel."""
        given, labels, weights = rows
        is_lowest = np.isneginf(given) if declared.from_logits else np.zeros((), bool)
        fits = (np.isfinite(given) | is_lowest).all(axis=1)
        if is_lowest.any():
            # Probability 0: no temperature gives such a label any.
            index = np.minimum(labels, given.shape[1] - 1)
            fits &= np.isfinite(given[np.arange(len(labels)), index])
            given = np.where(is_lowest, LOWEST, given)
        if not fits.all():
            raise ValueError(
                f"`logits` must be finite. Received: {int((~fits).sum())} of {len(given)} rows "
                "with NaN or infinity; only -inf of a class that is not the label is probability "
                "0. Look at the model or its inputs before calibrating."
            )
        if stacklevel and not declared.from_logits:
            warn_of_rounded(
                count_rounded(given, labels),
                len(labels),
                is_binary=given.shape[1] == 1,
                dtype=given.dtype,
                stacklevel=stacklevel + 1,
            )
        return cls(as_logits(given, declared.from_logits), labels, weights)

    def __post_init__(self) -> None:
        self.largest = self.logits.max(axis=1, keepdims=True).astype("float64")
        true = self.logits[np.arange(len(self.labels)), self.labels]
        self.true = true - self.largest[:, 0]
        self.top = self.logits.argmax(axis=1)
        self.is_right = self.top == self.labels

    @property
    def has_largest(self) -> np.ndarray:
        """Whether the label of each row has its largest logit, maybe with others."""
        return self.true >= 0

    @property
    def rough_dtype(self) -> str:
        """Dtype for differences from the largest logit that may be rounded as the logits are."""
        return "float32" if self.logits.dtype == "float32" else "float64"

    def by_blocks(
        self,
        work: Callable[[np.ndarray, slice], np.ndarray],
        dtype: str = "float64",
        exponentials: int = 1,
        numbers: int = _BLOCK,
        every: int = 1,
    ) -> np.ndarray:
        """Return the sum of work(block, rows) over blocks.

        Args:
            work: Function of a block (rows, K) of logits minus the largest of their row, which it
                may not keep, and of the slice of its rows.
            dtype: Dtype of the block.
            exponentials: How many it takes of each number.
            numbers: How many a block holds.
            every: Only every so many rows are read.
        """
        size = every * max(1, numbers // self.logits.shape[1])

        def on_block(start: int) -> np.ndarray:
            rows = slice(start, start + size, every)
            # What is too far below the largest for its dtype is infinitely far below.
            with np.errstate(over="ignore"):
                below = np.subtract(self.logits[rows], self.largest[rows], dtype=dtype)
                return work(below, rows)

        starts = range(0, max(1, len(self.labels)), size)
        if self.logits.size * exponentials < _WORTH_THREADS * every:
            return np.sum([*map(on_block, starts)], axis=0)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.sum([*pool.map(on_block, starts)], axis=0)


def as_logits(predictions: np.ndarray, from_logits: bool) -> np.ndarray:
    """Return logits, shape (N, K >= 2), of predictions, shape (N, K): of one column, 0 and it."""
    logits = predictions if from_logits else logits_of(predictions)
    if logits.shape[1] > 1:
        return logits
    return np.concatenate([np.zeros_like(logits), logits], axis=1)
