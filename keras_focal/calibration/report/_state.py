"""Predictions as they come: sums of fixed size, and the records that are not yet in them."""

from typing import Any

import numpy as np

from keras_focal._host import least_probability
from keras_focal._validation.shapes import check_same_shape
from keras_focal.calibration.given import (
    Rows,
    as_numpy,
    check_predictions,
    flattened,
    read,
    single,
    to_numpy,
)
from keras_focal.calibration.report._report import CalibrationReport
from keras_focal.calibration.report._rows import Settings
from keras_focal.calibration.report._sums import Sums, empty_report, sums_of

BLOCK = 2**16
"""Numbers in predictions that are summed at once, and beyond which they do not wait."""


class CalibrationState:
    """What some records add up to.

    Attributes:
        num_classes: Length of the last axis of the predictions; None before any.
    """

    def __init__(self, settings: Settings):
        self.num_classes: int | None = None
        self._settings = settings
        self._sums: Sums | None = None
        self._waiting: list[Rows] = []
        self._num_waiting = 0

    def add(self, record: Any) -> None:
        """Add a record (predictions, labels) or (predictions, labels, weights), or raise."""
        batch = self._checked(record)
        self.num_classes = batch.predictions.shape[1]
        if batch.predictions.size == 0:
            return
        self._waiting.append(batch)
        self._num_waiting += batch.predictions.size
        if self._num_waiting >= BLOCK:
            self.flush()

    def _checked(self, record: Any) -> Rows:
        """Return the rows of a record, or raise."""
        ((predictions, labels, *weights),) = read([record], "record", "labels")
        predictions, labels = self._read(predictions), to_numpy(labels)
        weight = None if not weights or weights[0] is None else to_numpy(weights[0])
        if 0 in predictions.shape[-1:] or predictions.ndim == 0:
            raise ValueError(
                "`predictions` must have shape (K,) or (..., K). Received: shape "
                f"{predictions.shape}, with labels of shape {labels.shape}."
            )
        if predictions.dtype.kind != "f":
            predictions = predictions.astype("float32")
        if predictions.ndim == 1:
            fix = f"Predictions of shape {predictions.shape} are one row. A batch has rows (n, K)."
            if labels.shape != (1,):
                check_same_shape("labels", labels.shape, (), fix)
            predictions, labels = predictions[None], labels.reshape(1)
            weight = None if weight is None else np.atleast_1d(weight)
        self._check_classes(predictions.shape)
        batch = flattened(predictions, labels, weight, ignore_class=self._settings.ignore_class)
        if not self._settings.from_logits and batch.predictions.size:
            check_predictions(batch.predictions, False)
        return batch

    def _read(self, predictions: Any) -> np.ndarray:
        """Return predictions in float32 or better; what a 0 counts as is that of their dtype."""
        given = as_numpy(predictions)
        predictions = single(given)
        if self._settings.from_logits or given is predictions:
            return predictions
        is_binary = predictions.shape[-1:] == (1,)
        least = np.float32(least_probability(str(given.dtype), is_binary=is_binary))
        return np.where(predictions == 0, least, predictions)

    def _check_classes(self, shape: tuple[int, ...]) -> None:
        if self.num_classes not in (None, shape[-1]):
            raise ValueError(
                "`predictions` must have the same classes in every record. Received: shape "
                f"{shape} after (..., {self.num_classes}). Combine each output alone."
            )

    def flush(self) -> None:
        """Sum the records that wait."""
        if not self._waiting:
            return
        whole = Rows(*(np.concatenate(parts) for parts in zip(*self._waiting, strict=True)))
        self._waiting, self._num_waiting = [], 0
        size, width = whole.predictions.shape
        most = 2 ** int(np.log2(max(1, BLOCK // width)))
        for start in range(0, size, most):
            stop = min(size, start + most)
            # JAX compiles for each number of rows: let few numbers come.
            num_rows = min(most, 16 ** int(np.ceil(np.log2(stop - start) / 4)))
            block = Rows(*(part[start:stop] for part in whole))
            self._add_sums(sums_of(block, self._settings, num_rows))

    def _add_sums(self, sums: Sums) -> None:
        self._sums = sums if self._sums is None else self._sums.plus(sums)

    def merge(self, other: "CalibrationState") -> None:
        """Add the records of another state."""
        if other.num_classes is not None:
            self._check_classes((other.num_classes,))
            self.num_classes = other.num_classes
        self.flush()
        other.flush()
        if other._sums is not None:
            self._add_sums(other._sums)

    def report(self) -> CalibrationReport:
        """Return what the records say."""
        self.flush()
        if self._sums is None:
            return empty_report(self._settings)
        return self._sums.report(self._settings)
