"""Fitting a calibration map on held-out data, and the calibrated model."""

from keras_focal.calibration._fit import TemperatureFit, fit_temperature
from keras_focal.calibration._focal import FocalTemperatureFit, fit_focal_temperature
from keras_focal.calibration._maps import MapFit, MapScores, fit_map
from keras_focal.calibration._report import CalibrationReport
from keras_focal.calibration._wrap import calibrate

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
