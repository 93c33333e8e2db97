"""Prediction sets: the threshold of split conformal prediction from held-out predictions."""

from keras_focal.calibration.conformal._fit import (
    ConformalFit,
    check_alpha,
    conformal_fitted,
    fit_conformal,
)

__all__ = ["ConformalFit", "check_alpha", "conformal_fitted", "fit_conformal"]
