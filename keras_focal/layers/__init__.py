"""Calibration maps as layers: logits or probabilities in, logits out, frozen weights.

Every map gives logits, so that a softmax, or a sigmoid for one class, follows whichever it is.
"""

from keras_focal.layers._ensemble import EnsembleTemperatureScaling
from keras_focal.layers._linear import DirichletCalibration, MatrixScaling, VectorScaling
from keras_focal.layers._one_vs_rest import BetaCalibration, PlattScaling
from keras_focal.layers._piecewise import HistogramBinning, IsotonicRegression
from keras_focal.layers._posterior import FocalPosterior
from keras_focal.layers._temperature import TemperatureScaling

__all__ = [
    "BetaCalibration",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "FocalPosterior",
    "HistogramBinning",
    "IsotonicRegression",
    "MatrixScaling",
    "PlattScaling",
    "TemperatureScaling",
    "VectorScaling",
]
