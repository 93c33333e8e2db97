"""Rules for gamma: by sample and by bin, the presets of the paper, and Propositions 1 and 2."""

from keras_focal._presets import FIXED, SCHEDULED, GammaSteps
from keras_focal.functional import gamma_star, gradient_ratio, threshold_probability
from keras_focal.gammas._adaptive import AdaptiveBins
from keras_focal.gammas._presets import SAMPLE_DEPENDENT, sample_dependent
from keras_focal.gammas._rules import (
    ContinuousGamma,
    GammaRule,
    SampleDependentGamma,
    ThresholdGamma,
)
from keras_focal.gammas._state import HeldState

__all__ = [
    "FIXED",
    "SAMPLE_DEPENDENT",
    "SCHEDULED",
    "AdaptiveBins",
    "ContinuousGamma",
    "GammaRule",
    "GammaSteps",
    "HeldState",
    "SampleDependentGamma",
    "ThresholdGamma",
    "gamma_star",
    "gradient_ratio",
    "sample_dependent",
    "threshold_probability",
]
