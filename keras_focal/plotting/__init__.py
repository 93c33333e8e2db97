"""Pictures of calibration. Needs matplotlib: pip install "keras_focal[plot]"."""

from keras_focal.plotting._histogram import confidence_histogram
from keras_focal.plotting._reliability import reliability_diagram

__all__ = ["confidence_histogram", "reliability_diagram"]
