"""The accumulator of a pipeline: sums of fixed size, and the records that are not yet in them."""

from typing import Any

import numpy as np

from keras_focal._validation import check_same_shape
from keras_focal.beam._report import CalibrationReport
from keras_focal.beam._sums import Settings, Sums, empty_report, sums_of
from keras_focal.calibration._arrays import flattened, to_numpy
from keras_focal.calibration._batches import read
from keras_focal.calibration._wrap import check_predictions

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
        # Predictions (n, K), labels (n,) and weights (n,) that wait.
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._num_waiting = 0

    def add(self, record: Any) -> None:
        """Add a record (predictions, labels) or (predictions, labels, weights), or raise."""
        rows = self._checked(record)
        self.num_classes = rows[0].shape[1]
        if len(rows[0]) == 0:
            return
        self._waiting.append(rows)
        self._num_waiting += rows[0].size
        if self._num_waiting >= BLOCK:
            self.flush()

    def _checked(self, record: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return predictions (n, K), class ids (n,) and weights (n,) of a record."""
        ((predictions, labels, *weights),) = read([record], "record", "labels")
        predictions, labels = to_numpy(predictions), to_numpy(labels)
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
        rows = flattened(predictions, labels, weight)
        if not self._settings.from_logits and rows[0].size:
            check_predictions(rows[0], False)
        return rows

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
        parts = [np.concatenate(column) for column in zip(*self._waiting, strict=True)]
        self._waiting, self._num_waiting = [], 0
        most = 2 ** int(np.log2(max(1, BLOCK // parts[0].shape[1])))
        for start in range(0, len(parts[0]), most):
            block = [part[start : start + most] for part in parts]
            # JAX compiles for each number of rows: let few numbers come.
            power = int(np.ceil(np.log2(len(block[0])) / 2))
            self._add_sums(sums_of(*block, self._settings, min(most, 4**power)))

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
