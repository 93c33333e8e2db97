"""Pictures of calibration. Needs matplotlib: pip install "keras_focal[plot]"."""

from keras_focal.plotting._gamma import gradient_ratio_plot
from keras_focal.plotting._histogram import confidence_histogram
from keras_focal.plotting._reliability import reliability_diagram

__all__ = ["confidence_histogram", "gradient_ratio_plot", "reliability_diagram"]
