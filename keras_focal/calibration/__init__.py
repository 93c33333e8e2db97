"""Fitting a calibration map on held-out data, and the calibrated model."""

from keras_focal.calibration._fit import TemperatureFit, fit_temperature
from keras_focal.calibration._maps import MapFit, MapScores, fit_map
from keras_focal.calibration._wrap import calibrate

__all__ = ["MapFit", "MapScores", "TemperatureFit", "calibrate", "fit_map", "fit_temperature"]
