"""What predictions add up to: arrays of fixed size, from which a report is read."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal._host import logits_of
from keras_focal._temperature import GRID
from keras_focal.calibration.given import HeldOut, Rows
from keras_focal.calibration.report._report import CalibrationReport
from keras_focal.calibration.report._rows import Settings, amounts_of
from keras_focal.calibration.temperature import GridSums, TemperatureFit, fitted
from keras_focal.functional import BinStatistics
from keras_focal.functional._backend.compilation import jitted
from keras_focal.functional._inputs.probabilities import TOLERANCE
from keras_focal.functional.calibration._bins import LOGIT_CELLS
from keras_focal.functional.calibration._partitions import equal_mass_bins

CONFIDENT = 0.99
"""Confidence above which a prediction is of the set S99 of the paper."""


class Sums(NamedTuple):
    """Float64 arrays. Those of two collections add up to those of both.

    Attributes:
        bins: Sums of weight, of wrong weight and of weight (1 - confidence) of bins of equal width,
            shape (num_bins, 3).
        cells: The same of the cells that bins of equal mass are cut from.
        classes: Weight, weight of class k, and weight times p_k, of the bins of p_k of each class,
            shape (K num_bins, 3).
        scores: Number of predictions, Brier score times weight, weight of what is not finite, and
            weights of confident predictions and of those of them that are right.
        temperatures: The values of `GridSums`.
    """

    bins: np.ndarray
    cells: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    temperatures: np.ndarray

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums of both."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def report(self, settings: Settings) -> CalibrationReport:
        """Return what the sums say."""
        number, brier, invalid_count, confident, confident_right = self.scores.tolist()
        grid = GridSums(settings.betas, settings.num_bins, int(number), self.temperatures)
        if grid.weight == 0:
            return empty_report(settings, invalid_count)
        nll_fit, ece_fit = (fitted(grid, c, settings.bounds) for c in ("nll", "ece"))
        bins = _statistics(self.bins)
        errors = _errors(bins, _statistics(self.cells), _statistics(self.classes))
        return CalibrationReport(
            count=grid.weight,
            invalid_count=invalid_count,
            accuracy=float(1.0 - bins.wrong.sum() / bins.count.sum()),
            nll=nll_fit.nll_before,
            brier=brier / grid.weight,
            **errors,
            class_ece=_class_errors(self.classes, settings.num_bins),
            confident=confident / grid.weight,
            confident_accuracy=confident_right / confident if confident else 0.0,
            bins=bins,
            nll_fit=nll_fit,
            ece_fit=ece_fit,
            grid_ece=grid.grid_errors(),
        )


def empty_report(settings: Settings, invalid_count: float = 0.0) -> CalibrationReport:
    """Return the report of predictions without any weight."""
    nll_fit, ece_fit = (
        TemperatureFit(1.0, criterion, False, 0, 0.0, 0.0, 0.0, 0.0) for criterion in ("nll", "ece")
    )
    return CalibrationReport(
        count=0.0,
        invalid_count=invalid_count,
        accuracy=0.0,
        nll=0.0,
        brier=0.0,
        ece=0.0,
        ada_ece=0.0,
        mce=0.0,
        classwise_ece=0.0,
        class_ece=np.zeros(0),
        confident=0.0,
        confident_accuracy=0.0,
        bins=_statistics(np.zeros((settings.num_bins, 3))),
        nll_fit=nll_fit,
        ece_fit=ece_fit,
        grid_ece=np.zeros(len(GRID)),
    )


def sums_of(batch: Rows, settings: Settings, num_rows: int) -> Sums:
    """Return what predictions add up to.

    Args:
        batch: The predictions.
        settings: What they are.
        num_rows: Number of rows to compute with, >= n: a backend may compile anew for each.
    """
    predictions, labels, weights = batch
    is_finite = np.isfinite(predictions).all(axis=1)
    invalid_count = float(weights @ ~is_finite)
    # A row that is not finite weighs nothing, whatever it holds instead.
    num_columns = predictions.shape[1]
    instead = 0.0 if settings.from_logits else 1.0 / max(num_columns, 2)
    predictions = np.where(is_finite[:, None], predictions, predictions.dtype.type(instead))
    if not settings.from_logits and num_columns > 1:
        # Rounded rows may sum to more or less than a distribution does.
        total = predictions.sum(axis=1, keepdims=True)
        is_off = np.abs(total - 1.0) > TOLERANCE
        predictions = np.where(is_off, predictions / total, predictions)
    weights = np.where(is_finite, weights, 0.0)
    rows = amounts_of(predictions, labels, settings, num_rows)
    logits = predictions if settings.from_logits else logits_of(predictions)
    data = HeldOut.from_arrays(logits, labels, weights)

    num_bins, num_classes = settings.num_bins, rows.p.shape[1]
    _, wrong, complement = rows.amounts.T
    confident = weights * (complement < 1.0 - CONFIDENT)
    amounts = weights[:, None] * rows.amounts
    of_classes = np.stack([np.ones_like(rows.p), rows.targets, rows.p], axis=-1)
    of_classes = weights[:, None, None] * of_classes
    class_bins = rows.class_bins + num_bins * np.arange(num_classes)
    return Sums(
        bins=_summed(rows.bins, amounts, num_bins),
        cells=_summed(rows.cells, amounts, LOGIT_CELLS),
        classes=_summed(class_bins, of_classes, num_bins * num_classes),
        scores=np.array(
            [
                is_finite.sum(),
                weights @ rows.brier,
                invalid_count,
                confident.sum(),
                confident @ (1.0 - wrong),
            ]
        ),
        temperatures=GridSums.values_of(data, settings.betas, num_bins),
    )


def _errors(*tables: BinStatistics) -> dict[str, float]:
    """Return the calibration errors of bins of equal width, of fine cells, and of all classes."""
    # Gaps are differences of large sums, and taken by now: float32 will do.
    parts = (ops.convert_to_tensor(part, "float32") for table in tables for part in table)
    return {name: float(error) for name, error in _reading(len(tables[0].count))(*parts).items()}


@cache
def _reading(num_bins: int) -> Callable[..., dict[str, Any]]:
    def kernel(*parts: Any) -> dict[str, Any]:
        bins, cells, classes = (BinStatistics(*parts[start : start + 3]) for start in (0, 3, 6))
        return {
            "ece": functional.ece_from_bins(bins),
            "ada_ece": functional.ece_from_bins(equal_mass_bins(cells, num_bins)),
            "mce": functional.mce_from_bins(bins),
            # Every class counts every prediction: their mean is the error of all their bins.
            "classwise_ece": functional.ece_from_bins(classes),
        }

    return jitted(kernel)


def _class_errors(sums: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the calibration error of each class, shape (K,), of `Sums.classes`."""
    count, wrong, complement = sums.reshape(-1, num_bins, 3).transpose(2, 0, 1)
    return np.abs(wrong - complement).sum(axis=1) / count.sum(axis=1)


def _summed(index: np.ndarray, amounts: np.ndarray, size: int) -> np.ndarray:
    """Return the sum of the amounts (..., 3) of each cell, shape (size, 3)."""
    columns = amounts.reshape(-1, 3).T
    return np.stack([np.bincount(index.reshape(-1), column, size) for column in columns], axis=-1)


def _statistics(sums: np.ndarray) -> BinStatistics:
    """Return what cells hold: their gap is the second of the sums less the third."""
    count, wrong, complement = sums.T
    return BinStatistics(count, wrong, wrong - complement)
