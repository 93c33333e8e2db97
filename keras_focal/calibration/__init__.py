"""Fitting a calibration map on held-out data, and the calibrated model."""

import typing

from keras_focal.calibration.maps import MapFit, MapIntervals, MapScores, SkippedMap, fit_map
from keras_focal.calibration.report import CalibrationReport
from keras_focal.calibration.surgery import calibrate
from keras_focal.calibration.temperature import (
    FocalTemperatureFit,
    TemperatureFit,
    fit_focal_temperature,
    fit_temperature,
)

if typing.TYPE_CHECKING:
    from keras_focal.calibration.maps.calibrator import Calibrator as Calibrator

__all__ = [
    "CalibrationReport",
    "FocalTemperatureFit",
    "MapFit",
    "MapIntervals",
    "MapScores",
    "SkippedMap",
    "TemperatureFit",
    "calibrate",
    "fit_focal_temperature",
    "fit_map",
    "fit_temperature",
]


def __getattr__(name: str) -> typing.Any:
    if name == "Calibrator":  # which needs scikit-learn, and so is in no `import *`
        from keras_focal.calibration.maps.calibrator import Calibrator

        return Calibrator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
