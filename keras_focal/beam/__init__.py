"""Calibration of predictions on many machines. Needs: pip install "keras-focal[beam]"."""

try:
    import apache_beam  # noqa: F401
except ImportError as error:
    raise ImportError(
        'keras_focal.beam needs Apache Beam. Install it: pip install "keras-focal[beam]"'
    ) from error

from keras_focal.beam._combine import CombineCalibration
from keras_focal.calibration import CalibrationReport

__all__ = ["CalibrationReport", "CombineCalibration"]
