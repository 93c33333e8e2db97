"""Pictures of calibration. Needs matplotlib: pip install "keras_focal[plot]"."""

from keras_focal.plotting._compare import compare_reliability
from keras_focal.plotting._gamma import gradient_ratio_plot, optimal_probability_plot
from keras_focal.plotting._gradient import gradient_norm_histogram
from keras_focal.plotting._histogram import confidence_histogram
from keras_focal.plotting._reliability import reliability_diagram
from keras_focal.plotting._temperature import temperature_plot

__all__ = [
    "compare_reliability",
    "confidence_histogram",
    "gradient_norm_histogram",
    "gradient_ratio_plot",
    "optimal_probability_plot",
    "reliability_diagram",
    "temperature_plot",
]
