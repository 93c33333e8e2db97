"""Calibration errors and scores for `model.compile`."""

from keras_focal.metrics._base import PredictionMetric
from keras_focal.metrics._calibration_error import (
    AdaptiveExpectedCalibrationError,
    BinaryExpectedCalibrationError,
    ExpectedCalibrationError,
    MaximumCalibrationError,
    RootMeanSquareCalibrationError,
)
from keras_focal.metrics._calibration_metrics import CalibrationMetrics
from keras_focal.metrics._cells import BinnedMetric, CellMetric
from keras_focal.metrics._classwise import ClasswiseExpectedCalibrationError
from keras_focal.metrics._detection import (
    DetectionCalibrationError,
    LocalizationAwareCalibrationError,
)
from keras_focal.metrics._refinement import RefinementError
from keras_focal.metrics._scores import (
    BrierScore,
    ConfidentCoverage,
    LogitNorm,
    NegativeLogLikelihood,
    ScoresByCorrectness,
)
from keras_focal.metrics._totals import TotalsMetric

ECE = ExpectedCalibrationError
AdaECE = AdaptiveExpectedCalibrationError
MCE = MaximumCalibrationError
RMSCE = RootMeanSquareCalibrationError
ClasswiseECE = ClasswiseExpectedCalibrationError
BinaryECE = BinaryExpectedCalibrationError
LaECE = LocalizationAwareCalibrationError

__all__ = [
    "ECE",
    "MCE",
    "RMSCE",
    "AdaECE",
    "AdaptiveExpectedCalibrationError",
    "BinaryECE",
    "BinaryExpectedCalibrationError",
    "BinnedMetric",
    "BrierScore",
    "CalibrationMetrics",
    "CellMetric",
    "ClasswiseECE",
    "ClasswiseExpectedCalibrationError",
    "ConfidentCoverage",
    "DetectionCalibrationError",
    "ExpectedCalibrationError",
    "LaECE",
    "LocalizationAwareCalibrationError",
    "LogitNorm",
    "MaximumCalibrationError",
    "NegativeLogLikelihood",
    "PredictionMetric",
    "RefinementError",
    "RootMeanSquareCalibrationError",
    "ScoresByCorrectness",
    "TotalsMetric",
]
