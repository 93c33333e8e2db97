"""The calibration maps: how each is fitted, measured on data that the fit has not seen."""

from keras_focal.calibration.maps._choose import Limits, MapScores, SkippedMap
from keras_focal.calibration.maps._fit import MapFit, MapIntervals, fit_map, map_fitted, sample_of
from keras_focal.calibration.maps._registry import METHODS, Method
from keras_focal.calibration.maps._sample import Options

__all__ = [
    "METHODS",
    "Limits",
    "MapFit",
    "MapIntervals",
    "MapScores",
    "Method",
    "Options",
    "SkippedMap",
    "fit_map",
    "map_fitted",
    "sample_of",
]
