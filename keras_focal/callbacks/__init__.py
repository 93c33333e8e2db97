"""Callbacks for `model.fit`."""

from keras_focal.callbacks._adaptive import AdaptiveGamma
from keras_focal.callbacks._attach import attach
from keras_focal.callbacks._gamma import GammaScheduler
from keras_focal.callbacks._monitor import CalibrationMonitor
from keras_focal.callbacks._multipliers import ClassMultipliers
from keras_focal.callbacks._refinement import RefinementStopping

__all__ = [
    "AdaptiveGamma",
    "CalibrationMonitor",
    "ClassMultipliers",
    "GammaScheduler",
    "RefinementStopping",
    "attach",
]
