"""Calibration maps as layers."""

from keras_focal.layers._posterior import FocalPosterior
from keras_focal.layers._temperature import TemperatureScaling

__all__ = ["FocalPosterior", "TemperatureScaling"]
