"""A trained model taken apart and put together with a calibration map."""

from keras_focal.calibration.surgery._calibrate import calibrate

__all__ = ["calibrate"]
