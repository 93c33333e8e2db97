"""One temperature: sums over held-out logits, and the fits that read them."""

from keras_focal.calibration.temperature._bounds import BOUNDS, bound_message, reasons
from keras_focal.calibration.temperature._fit import TemperatureFit, fit_temperature, fitted
from keras_focal.calibration.temperature._focal_fit import (
    GAMMA_BOUNDS,
    FocalTemperatureFit,
    fit_focal_temperature,
    focal_fitted,
    focal_least,
)
from keras_focal.calibration.temperature._focal_map import focal_temperature_map
from keras_focal.calibration.temperature._gathered import Gathered, settle
from keras_focal.calibration.temperature._grid_sums import GridSums
from keras_focal.calibration.temperature._sums import Data

__all__ = [
    "BOUNDS",
    "GAMMA_BOUNDS",
    "Data",
    "FocalTemperatureFit",
    "Gathered",
    "GridSums",
    "TemperatureFit",
    "bound_message",
    "fit_focal_temperature",
    "fit_temperature",
    "fitted",
    "focal_fitted",
    "focal_least",
    "focal_temperature_map",
    "reasons",
    "settle",
]
