"""A pass over predicted classes and their confidence: the figures of the top label."""

from collections.abc import Iterable

import numpy as np
from keras import ops

from keras_focal import functional
from keras_focal.calibration import CalibrationReport, TemperatureFit
from keras_focal.cli._errors import CommandError
from keras_focal.cli._labels import NONE, same, text_of
from keras_focal.cli._measure import DRAWS, Measured, Mistake
from keras_focal.cli.readers import Rows
from keras_focal.functional.calibration._bins import (
    LOGIT_CELLS,
    Predictions,
    equal_width_bins,
    logit_cells,
)
from keras_focal.functional.calibration._bootstrap import Resampled, resample, summands
from keras_focal.functional.calibration._partitions import equal_mass_bins

_CONFIDENT = 0.99


class _Sums:
    """Sums over confidences: the weight, wrong weight and complement in bins and in cells."""

    def __init__(self, num_bins: int):
        self.bins = np.zeros((num_bins, 3))
        self.cells = np.zeros((LOGIT_CELLS, 3))
        self.confident = self.confident_right = 0
        self.resampled = Resampled.nothing(num_bins, DRAWS)
        self._generator = np.random.default_rng(0)

    def add(self, rows: np.ndarray, confidence: np.ndarray, wrong: np.ndarray) -> None:
        amounts = np.stack([np.ones_like(confidence), wrong, 1.0 - confidence], axis=1)
        x, complement = (ops.convert_to_tensor(p, "float32") for p in (confidence, 1 - confidence))
        bins = equal_width_bins(x, len(self.bins))
        cells = logit_cells(Predictions(x, complement, x))
        bins = ops.convert_to_numpy(bins)
        np.add.at(self.bins, bins, amounts)
        # NLL and Brier score need the probabilities of all classes.
        gap = confidence - (1.0 - wrong)
        values = summands(1.0, np.nan, np.nan, wrong, gap, bins, len(self.bins))
        self.resampled = self.resampled.plus(resample(values, rows, self._generator, DRAWS))
        np.add.at(self.cells, ops.convert_to_numpy(cells), amounts)
        is_confident = confidence > _CONFIDENT
        self.confident += int(is_confident.sum())
        self.confident_right += int((is_confident & (wrong == 0)).sum())

    def report(self, num_invalid: int) -> CalibrationReport:
        bins, cells = (_statistics(sums) for sums in (self.bins, self.cells))
        count = float(bins.count.sum())
        as_tensors = functional.BinStatistics(*(ops.convert_to_tensor(p, "float32") for p in cells))
        masses = equal_mass_bins(as_tensors, len(self.bins))
        nan = float("nan")
        fit = TemperatureFit(nan, "nll", False, int(count), nan, nan, nan, nan)
        return CalibrationReport(
            count=count,
            invalid_count=float(num_invalid),
            accuracy=1.0 - float(bins.wrong.sum()) / count if count else 0.0,
            nll=nan,
            brier=nan,
            ece=float(functional.ece_from_bins(bins)),
            ada_ece=float(functional.ece_from_bins(masses)),
            mce=float(functional.mce_from_bins(bins)),
            classwise_ece=nan,
            class_ece=np.zeros(0),
            confident=self.confident / count if count else 0.0,
            confident_accuracy=self.confident_right / self.confident if self.confident else 0.0,
            bins=bins,
            nll_fit=fit,
            ece_fit=fit,
            grid_ece=np.zeros(0),
        )


def _statistics(sums: np.ndarray) -> functional.BinStatistics:
    count, wrong, complement = sums.T
    return functional.BinStatistics(count, wrong, wrong - complement)


def measure_confidences(
    source: Iterable[Rows],
    num_bins: int,
    skip_invalid: bool,
    ignore_class: int | None,
    num_mistakes: int,
) -> tuple[Measured, int, int]:
    """Return figures of confidences of predicted classes, and how many were left out.

    Returns:
        Figures of the top label, NaN where they need all classes; the number of invalid
        predictions; the number of those with the ignored label.
    """
    sums, num_invalid, num_ignored = _Sums(num_bins), 0, 0
    worst: list[Mistake] = []
    for rows in source:
        confidence = rows.predictions.reshape(-1).astype("float64")
        assert rows.predicted is not None
        correct = same(rows.labels, rows.predicted)
        is_ignored = np.zeros(len(correct), bool)
        if ignore_class is not None:
            is_ignored = np.array(
                [text_of(x) == str(ignore_class) for x in rows.labels.reshape(-1)]
            )
        is_valid = np.isfinite(confidence) & (correct != NONE)
        _check(rows, confidence, is_valid, is_ignored, skip_invalid)
        num_ignored += int(is_ignored.sum())
        num_invalid += int((~is_valid & ~is_ignored).sum())
        kept = np.flatnonzero(is_valid & ~is_ignored)
        confidence, wrong = np.minimum(confidence[kept], 1.0), 1.0 - correct[kept]
        sums.add(rows.start + kept, confidence, wrong)
        order = np.argsort(-confidence - 2 * wrong, kind="stable")[:num_mistakes]
        worst += [
            Mistake(
                rows.start + int(kept[at]),
                text_of(rows.labels.reshape(-1)[kept[at]]),
                text_of(rows.predicted.reshape(-1)[kept[at]]),
                float(confidence[at]),
            )
            for at in order
            if wrong[at]
        ]
        worst = sorted(worst, key=lambda mistake: -mistake.confidence)[:num_mistakes]
    measured = Measured(sums.report(num_invalid), np.zeros(0, "int64"), worst, sums.resampled)
    return measured, num_invalid, num_ignored


def _check(
    rows: Rows,
    confidence: np.ndarray,
    is_valid: np.ndarray,
    is_ignored: np.ndarray,
    skip_invalid: bool,
) -> None:
    fits = is_valid | is_ignored
    if not skip_invalid and not fits.all():
        raise CommandError(
            f"{rows.name(int(fits.argmin()))} has no confidence, no predicted class or no label. "
            "Correct it, or leave such rows out with --skip-invalid."
        )
    is_within = ~is_valid | ((confidence >= 0) & (confidence <= 1 + 1e-3))
    if not is_within.all():
        at = int(is_within.argmin())
        raise CommandError(
            f"{rows.name(at)} has the confidence {confidence[at]:.4g}, and a confidence lies in "
            "[0, 1]. Correct the row."
        )
