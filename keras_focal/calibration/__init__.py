"""Fitting calibration maps and prediction sets on held-out data, and the models that give them."""

import typing

from keras_focal.calibration.conformal import ConformalFit, fit_conformal
from keras_focal.calibration.maps import MapFit, MapIntervals, MapScores, SkippedMap, fit_map
from keras_focal.calibration.report import CalibrationReport
from keras_focal.calibration.surgery import calibrate, conformalize
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
    "ConformalFit",
    "FocalTemperatureFit",
    "MapFit",
    "MapIntervals",
    "MapScores",
    "SkippedMap",
    "TemperatureFit",
    "calibrate",
    "conformalize",
    "fit_conformal",
    "fit_focal_temperature",
    "fit_map",
    "fit_temperature",
]


def __getattr__(name: str) -> typing.Any:
    if name == "Calibrator":  # which needs scikit-learn, and so is in no `import *`
        from keras_focal.calibration.maps.calibrator import Calibrator

        return Calibrator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
