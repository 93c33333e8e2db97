"""Calibration errors for `model.compile`."""

from keras_focal.metrics._base import BinnedMetric
from keras_focal.metrics._calibration_error import (
    AdaptiveExpectedCalibrationError,
    ExpectedCalibrationError,
    MaximumCalibrationError,
)
from keras_focal.metrics._calibration_metrics import CalibrationMetrics

ECE = ExpectedCalibrationError
AdaECE = AdaptiveExpectedCalibrationError
MCE = MaximumCalibrationError

__all__ = [
    "ECE",
    "MCE",
    "AdaECE",
    "AdaptiveExpectedCalibrationError",
    "BinnedMetric",
    "CalibrationMetrics",
    "ExpectedCalibrationError",
    "MaximumCalibrationError",
]
