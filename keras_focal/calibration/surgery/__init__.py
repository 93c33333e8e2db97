"""A trained model taken apart and put together with a calibration map."""

from keras_focal.calibration.surgery._calibrate import calibrate
from keras_focal.calibration.surgery._conformalize import conformalize

__all__ = ["calibrate", "conformalize"]
