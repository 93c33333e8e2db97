"""What sums over predictions give: the calibration of all of them, and the temperatures."""

from dataclasses import dataclass

import numpy as np

from keras_focal.calibration.temperature import TemperatureFit
from keras_focal.functional import BinStatistics


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of a collection of predictions. If it is empty, all is 0 and T is 1.

    Attributes:
        count: Weight of the predictions: their number if unweighted.
        invalid_count: Weight of the predictions that are not finite. They count in nothing else.
        accuracy: Share of the predictions whose top label is the true one.
        nll: Mean negative log-likelihood in nats.
        brier: Mean Brier score, 0 to 2.
        ece: Expected calibration error, a fraction.
        ada_ece: Adaptive expected calibration error, as `metrics.AdaECE` bins it.
        mce: Maximum calibration error.
        classwise_ece: Classwise expected calibration error, the mean of `class_ece`.
        class_ece: The error of the probabilities of each class, float64, shape (K,). K = 0 if there
            are no predictions.
        confident: Share of the predictions with a confidence above 0.99: |S99| of the paper.
        confident_accuracy: Their accuracy. 0 if there are none.
        bins: What the bins of equal width hold, float64 arrays of shape (num_bins,), as
            `plotting.reliability_diagram(bins=...)` takes them.
        nll_fit: The temperature with the smallest NLL. Its `ece_after` is NaN unless it is one of
            0.1, 0.2, ... 10: combine logits / T for the report at any other.
        ece_fit: The temperature with the smallest ECE.
        grid_ece: ECE at the temperatures 0.1, 0.2, ... 10, float64, shape (100,).
    """

    count: float
    invalid_count: float
    accuracy: float
    nll: float
    brier: float
    ece: float
    ada_ece: float
    mce: float
    classwise_ece: float
    class_ece: np.ndarray
    confident: float
    confident_accuracy: float
    bins: BinStatistics
    nll_fit: TemperatureFit
    ece_fit: TemperatureFit
    grid_ece: np.ndarray

    @property
    def error(self) -> float:
        """Share of the predictions whose top label is not the true one."""
        return float(self.bins.wrong.sum() / self.count) if self.count else 0.0
