"""Calibration maps as layers."""

from keras_focal.layers._temperature import TemperatureScaling

__all__ = ["TemperatureScaling"]
