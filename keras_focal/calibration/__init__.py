"""Fitting a calibration map on held-out data, and the calibrated model."""

from keras_focal.calibration.maps import MapFit, MapScores, fit_map
from keras_focal.calibration.report import CalibrationReport
from keras_focal.calibration.surgery import calibrate
from keras_focal.calibration.temperature import (
    FocalTemperatureFit,
    TemperatureFit,
    fit_focal_temperature,
    fit_temperature,
)

__all__ = [
    "CalibrationReport",
    "FocalTemperatureFit",
    "MapFit",
    "MapScores",
    "TemperatureFit",
    "calibrate",
    "fit_focal_temperature",
    "fit_map",
    "fit_temperature",
]
