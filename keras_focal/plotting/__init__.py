"""Pictures of calibration. Needs matplotlib: pip install "keras_focal[plot]"."""

from keras_focal.plotting._reliability import reliability_diagram

__all__ = ["reliability_diagram"]
