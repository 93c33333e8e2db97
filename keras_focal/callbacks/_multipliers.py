"""CALS: multipliers of the classes, updated from the logits of held-out data."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_focal._host import logits_of
from keras_focal._validation.numbers import check_at_least, check_count, check_positive
from keras_focal.calibration.given import to_numpy
from keras_focal.callbacks._attach import attach
from keras_focal.callbacks._logs import add_to_logs
from keras_focal.callbacks._losses import losses_of
from keras_focal.callbacks._record import Recorder, Row
from keras_focal.losses import CALS, Calibrated

LOWEST, HIGHEST = 1e-6, 1e6
"""Bounds of a multiplier, as in the source."""


class ClassMultipliers(Recorder):
    """Learn the multipliers of `losses.CALS` on held-out data, after each epoch.

    With h_k = (max_j z_j - z_k) / margin - 1 of the held-out logits,

        l_k <- mean of max(0, l_k + rho h_k), each clipped to [1e-6, 1e6].

    A class whose logits stay within the margin gets the smallest multiplier, one that exceeds it a
    larger one. Every `period` epochs, rho grows by `growth` unless the mean penalty of the held-out
    data has fallen below `tolerance` times that of the epoch before. Compiled steps are reused, as
    with `GammaScheduler`. The epoch logs contain "multiplier_mean", "multiplier_max" and "rho".

    The multipliers are part of the loss, so they are restored with a model saved by `.save`. For
    `BackupAndRestore`, which only saves weights, pass a `directory`: every epoch is recorded in
    `class_multipliers.json` there, and a run that resumes at a later epoch reads it. The attribute
    `rows` has a row for each epoch: its number, and the multipliers, rho and penalty at its end.

    Args:
        x: Held-out inputs as for `model.predict`: an array, a `tf.data.Dataset` or a `PyDataset`.
            Labels are not needed. It is predicted once after each epoch; every prediction counts.
        growth: Number >= 1 by which rho grows.
        tolerance: Number >= 0, the share of the last penalty above which rho grows.
        period: Number of epochs between checks of rho.
        highest_rho: Number > 0 that rho does not exceed.
        batch_size: Batch size of an array; None is that of `model.predict`.
        directory: None, or the folder for the record of all epochs; created if missing.

    Raises:
        ValueError: If a number is out of range; at the start of training, unless exactly one loss
            of the model is a `Calibrated` with `CALS`; after the first epoch, unless the model has
            one output.

    Example:
        >>> import keras, keras_focal, numpy as np
        >>> penalty = keras_focal.losses.CALS(3, margin=1.0)
        >>> base = keras_focal.losses.get("CE", from_logits=True)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", keras_focal.losses.Calibrated(base, penalty))
        >>> callback = keras_focal.callbacks.ClassMultipliers(np.ones((4, 2)))
        >>> _ = model.fit(np.zeros((8, 2)), np.zeros(8), verbose=0, callbacks=[callback])
        >>> len(penalty.multipliers)
        3

    Source:
        Liu et al., 2023, "Class Adaptive Network Calibration", section 4.
    """

    def __init__(
        self,
        x: Any,
        *,
        growth: float = 1.2,
        tolerance: float = 0.9,
        period: int = 10,
        highest_rho: float = 10.0,
        batch_size: int | None = None,
        directory: str | os.PathLike | None = None,
    ):
        super().__init__(None if directory is None else Path(directory) / "class_multipliers.json")
        self.x, self.batch_size = x, batch_size
        self.growth = check_at_least("growth", growth, 1, "1 keeps rho constant.")
        self.tolerance = check_at_least("tolerance", tolerance, 0)
        self.period = check_count("period", period)
        self.highest_rho = check_positive("highest_rho", highest_rho)
        self._loss: Calibrated
        self._penalty: CALS

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._loss, self._penalty = _only_penalty(model)
        attach(model, self._penalty.state)

    def _resume(self, epoch: int) -> None:
        self._warn_without_earlier_rows(
            epoch, "training continues with the multipliers of the loss"
        )
        if self._file is not None and self.rows:
            last = self.rows[-1]
            self._penalty.assign(last["multipliers"], last["rho"])
            if last["epoch"] == epoch - 2:
                # The run was killed between the backup of an epoch and its row.
                self._update(epoch - 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._update(epoch)
        self._write()
        multipliers = self._penalty.multipliers
        add_to_logs(
            logs,
            multiplier_mean=float(np.mean(multipliers)),
            multiplier_max=float(np.max(multipliers)),
            rho=self._penalty.rho,
        )
        super().on_epoch_end(epoch, logs)

    def _update(self, epoch: int) -> None:
        """Set the multipliers from the weights at the end of an epoch, and add its row."""
        excess = self._logits_behind() / self._penalty.margin - 1.0
        multipliers, rho = np.asarray(self._penalty.multipliers), self._penalty.rho
        slope = np.maximum(multipliers + rho * excess, 0.0)
        penalty = float(((slope**2 - multipliers**2) / (2.0 * rho)).sum(axis=1).mean())
        multipliers = np.clip(slope, LOWEST, HIGHEST).mean(axis=0)
        before = self.rows[-1]["penalty"] if self.rows else 0.0
        is_checked = (epoch + 1) % self.period == 0
        if is_checked and before > 0 and penalty > max(0.0, self.tolerance * before):
            rho = min(self.highest_rho, rho * self.growth)
        self._penalty.assign(multipliers.tolist(), rho)
        self.rows.append(
            {
                "epoch": epoch,
                "multipliers": self._penalty.multipliers,
                "rho": self._penalty.rho,
                "penalty": penalty,
            }
        )

    def _formatted(self) -> str:
        return json.dumps(self.rows)

    def _parsed(self, text: str) -> list[Row]:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise TypeError(f"expected a list of epochs, got {type(rows).__name__}")
        for row in rows:
            CALS(self._penalty.num_classes, 1.0, row["multipliers"], row["rho"])
            float(row["penalty"])
        return rows

    def _logits_behind(self) -> np.ndarray:
        """Return how far each held-out logit is below the largest of its row, shape (N, K)."""
        predictions = self.model.predict(self.x, batch_size=self.batch_size, verbose=0)
        if isinstance(predictions, dict | list | tuple):
            raise ValueError(
                "ClassMultipliers needs a model with one output. Received: outputs in a "
                f"{type(predictions).__name__}. Train each output with a model of its own."
            )
        predictions = np.moveaxis(to_numpy(predictions), self._loss.axis, -1)
        rows = predictions.reshape(-1, predictions.shape[-1])
        logits = (rows if self._loss.from_logits else logits_of(rows)).astype("float64")
        behind = logits.max(axis=1, keepdims=True) - logits
        # A class of logit -inf has no constraint.
        return np.where(np.isposinf(behind), 0.0, behind)


def _only_penalty(model: keras.Model) -> tuple[Calibrated, CALS]:
    """Return the only loss of a model with CALS, and its penalty, or raise."""
    found = [
        (loss, loss.penalty)
        for loss in losses_of(model)
        if isinstance(loss, Calibrated) and isinstance(loss.penalty, CALS)
    ]
    if len(found) != 1:
        raise ValueError(
            "ClassMultipliers needs one loss with the penalty CALS. Received: "
            f"{len(found)} of them in loss={model.loss!r}. Compile with "
            'losses.Calibrated(losses.get("CE", from_logits=True), losses.CALS(num_classes)).'
        )
    return found[0]
