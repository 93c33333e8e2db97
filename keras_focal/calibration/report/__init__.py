"""The report of predictions that are read once: sums of fixed size, from any number of parts."""

from keras_focal._temperature import GRID
from keras_focal.calibration.report._report import CalibrationReport
from keras_focal.calibration.report._rows import Settings
from keras_focal.calibration.report._state import CalibrationState
from keras_focal.calibration.temperature import bound_message

__all__ = ["GRID", "CalibrationReport", "CalibrationState", "Settings", "bound_message"]
