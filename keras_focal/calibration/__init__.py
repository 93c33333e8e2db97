"""Fitting a calibration map on held-out data, and the calibrated model."""

from keras_focal.calibration._fit import TemperatureFit, fit_temperature
from keras_focal.calibration._focal import FocalTemperatureFit, fit_focal_temperature
from keras_focal.calibration._wrap import calibrate

__all__ = [
    "FocalTemperatureFit",
    "TemperatureFit",
    "calibrate",
    "fit_focal_temperature",
    "fit_temperature",
]
