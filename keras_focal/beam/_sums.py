"""What predictions add up to: arrays of fixed size, from which a report is read."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal.beam._report import CalibrationReport
from keras_focal.calibration import TemperatureFit
from keras_focal.calibration._fit import fitted
from keras_focal.calibration._grid_sums import GridSums, grid_betas
from keras_focal.calibration._held_out import HeldOut
from keras_focal.calibration._wrap import logits_of
from keras_focal.functional import LOGIT_CELLS, BinStatistics


@dataclass(frozen=True)
class Settings:
    """What predictions are and how they are read: the arguments of `CombineCalibration`."""

    num_bins: int
    from_logits: bool
    bounds: tuple[float, float]

    @property
    def betas(self) -> np.ndarray:
        """1 / temperatures at which NLL is summed."""
        return grid_betas(*self.bounds)


class Sums(NamedTuple):
    """Float64 arrays. Those of two collections add up to those of both.

    Attributes:
        bins: Weight, wrong weight and doubted weight of bins of equal width, shape (num_bins, 3).
        cells: The same of the cells that bins of equal mass are cut from.
        classes: Weight, weight of class k, and weight times p_k, of the bins of p_k of each class,
            shape (K num_bins, 3).
        scores: Number of predictions, Brier score times weight, and weight of what is not finite.
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
        number, brier, invalid_count = self.scores.tolist()
        grid = GridSums(settings.betas, settings.num_bins, int(number), self.temperatures)
        if grid.weight == 0:
            return empty_report(settings, invalid_count)
        nll_fit, ece_fit = (fitted(grid, c, settings.bounds) for c in ("nll", "ece"))
        bins = _statistics(self.bins)
        width, mass, classes = (
            BinStatistics(*(ops.convert_to_tensor(part, "float32") for part in given))
            for given in (bins, _statistics(self.cells), _statistics(self.classes))
        )
        return CalibrationReport(
            count=grid.weight,
            invalid_count=invalid_count,
            accuracy=float(1.0 - bins.wrong.sum() / bins.count.sum()),
            nll=nll_fit.nll_before,
            brier=brier / grid.weight,
            ece=float(functional.expected_error(width)),
            ada_ece=float(
                functional.expected_error(functional.equal_mass_bins(mass, settings.num_bins))
            ),
            mce=float(functional.maximum_error(width)),
            # Every class counts every prediction: the mean over classes is the error of all bins.
            classwise_ece=float(functional.expected_error(classes)),
            bins=bins,
            nll_fit=nll_fit,
            ece_fit=ece_fit,
        )


def empty_report(settings: Settings, invalid_count: float = 0.0) -> CalibrationReport:
    """Return the report of predictions without any weight."""
    fits = (TemperatureFit(1.0, c, False, 0, 0.0, 0.0, 0.0, 0.0) for c in ("nll", "ece"))
    bins = _statistics(np.zeros((settings.num_bins, 3)))
    return CalibrationReport(0.0, invalid_count, *[0.0] * 7, bins, *fits)


def sums_of(
    predictions: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    settings: Settings,
    num_rows: int,
) -> Sums:
    """Return what predictions add up to.

    Args:
        predictions: Float array, shape (n, K).
        labels: Class ids, shape (n,).
        weights: Float64 array, shape (n,).
        settings: What the predictions are.
        num_rows: Number of rows to compute with, >= n.
    """
    extra = (0, num_rows - len(labels))
    predictions = np.pad(predictions, (extra, (0, 0)), constant_values=np.nan)
    labels, weights = np.pad(labels, extra), np.pad(weights, extra)
    is_finite = np.isfinite(predictions).all(axis=1)
    invalid_count = float(weights @ ~is_finite)
    # A row that is not finite weighs nothing, whatever it holds instead.
    predictions = np.where(is_finite[:, None], predictions, np.zeros((), predictions.dtype))
    weights = np.where(is_finite, weights, 0.0)
    num_bins, from_logits = settings.num_bins, settings.from_logits

    top = functional.top_label(labels, predictions, from_logits=from_logits)
    amounts = weights[:, None] * _to_numpy(functional.amounts(top, ops.ones_like(top.doubt)))
    bins = functional.equal_width_bins(top.confidence, num_bins)
    brier = _to_numpy(functional.brier_score(labels, predictions, from_logits=from_logits))
    logits = predictions if from_logits else logits_of(predictions)
    data = HeldOut.from_arrays(logits, labels, weights)
    return Sums(
        bins=_summed(_to_numpy(bins), amounts, num_bins),
        cells=_summed(_to_numpy(functional.logit_cells(top)), amounts, LOGIT_CELLS),
        classes=_class_sums(predictions, labels, weights, settings),
        scores=np.array([is_finite.sum(), weights @ brier, invalid_count]),
        temperatures=GridSums.values_of(data, settings.betas, num_bins),
    )


def _class_sums(
    predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Settings
) -> np.ndarray:
    p = functional.class_probabilities(predictions, from_logits=settings.from_logits)
    targets = _to_numpy(functional.class_targets(labels, predictions.shape))
    bins = _to_numpy(functional.equal_width_bins(p, settings.num_bins))
    num_classes = targets.shape[1]
    index = bins + settings.num_bins * np.arange(num_classes)
    amounts = np.stack([np.ones_like(targets), targets, _to_numpy(p)], axis=-1)
    amounts = weights[:, None, None] * amounts
    return _summed(index.reshape(-1), amounts.reshape(-1, 3), settings.num_bins * num_classes)


def _summed(index: np.ndarray, amounts: np.ndarray, size: int) -> np.ndarray:
    """Return the sum of the amounts (n, 3) of each cell, shape (size, 3)."""
    return np.stack([np.bincount(index, column, size) for column in amounts.T], axis=-1)


def _statistics(sums: np.ndarray) -> BinStatistics:
    """Return what cells hold: their gap is the second of the sums less the third."""
    count, wrong, doubt = sums.T
    return BinStatistics(count, wrong, wrong - doubt)


def _to_numpy(x: Any) -> np.ndarray:
    return ops.convert_to_numpy(x)
