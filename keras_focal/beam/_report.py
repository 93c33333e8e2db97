"""What a pipeline gives: the calibration of all predictions, and the temperatures."""

from dataclasses import dataclass

from keras_focal.calibration import TemperatureFit
from keras_focal.functional import BinStatistics


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of a collection of predictions. Of an empty one all is 0, and T is 1.

    Attributes:
        count: Weight of the predictions: their number if unweighted.
        invalid_count: Weight of the predictions that are not finite; they are in nothing else.
        accuracy: Share of the predictions whose top label is the true one.
        nll: Mean negative log-likelihood in nats.
        brier: Mean Brier score, 0 to 2.
        ece: Expected calibration error, a fraction.
        ada_ece: Adaptive expected calibration error, as `metrics.AdaECE` bins it.
        mce: Maximum calibration error.
        classwise_ece: Classwise expected calibration error.
        bins: What the bins of equal width hold, float64 arrays of shape (num_bins,), as
            `plotting.reliability_diagram(bins=...)` takes them.
        nll_fit: The temperature of least NLL. Its `ece_after` is NaN unless the temperature is one
            of 0.1, 0.2, ... 10: combine logits / T for the report at any other.
        ece_fit: The temperature of least ECE.
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
    bins: BinStatistics
    nll_fit: TemperatureFit
    ece_fit: TemperatureFit

    @property
    def error(self) -> float:
        """Share of the predictions whose top label is not the true one."""
        return float(self.bins.wrong.sum() / self.count) if self.count else 0.0
