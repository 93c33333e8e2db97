"""Calibration maps and prediction sets as layers with frozen weights.

Inputs are logits or probabilities. The output of every map is logits, to be followed by a softmax,
or by a sigmoid for K = 1. `ConformalSets` gives sets of classes. `LinearHead` is the last layer of
a language model, with a loss that never makes its logits.
"""

from keras_focal.layers._conformal import ConformalSets
from keras_focal.layers._ensemble import EnsembleTemperatureScaling
from keras_focal.layers._linear import DirichletCalibration, MatrixScaling, VectorScaling
from keras_focal.layers._linear_head import LinearHead
from keras_focal.layers._one_vs_rest import BetaCalibration, PlattScaling, QuadraticScaling
from keras_focal.layers._piecewise import HistogramBinning, IsotonicRegression
from keras_focal.layers._posterior import FocalPosterior
from keras_focal.layers._structured import StructuredMatrixScaling, StructuredVectorScaling
from keras_focal.layers._temperature import TemperatureScaling
from keras_focal.layers._venn_abers import VennAbersCalibration

__all__ = [
    "BetaCalibration",
    "ConformalSets",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "FocalPosterior",
    "HistogramBinning",
    "IsotonicRegression",
    "LinearHead",
    "MatrixScaling",
    "PlattScaling",
    "QuadraticScaling",
    "StructuredMatrixScaling",
    "StructuredVectorScaling",
    "TemperatureScaling",
    "VectorScaling",
    "VennAbersCalibration",
]
