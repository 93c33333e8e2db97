"""keras_focal: classifiers whose confidence can be trusted.

Focal losses, calibration metrics, gamma schedules and temperature scaling for Keras 3, after
Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss" (NeurIPS 2020).
"""

import importlib
from types import ModuleType

from keras_focal import _quiet  # noqa: F401  # isort: skip
from keras_focal import calibration, callbacks, functional, gammas, layers, losses, metrics
from keras_focal._version import __version__

__all__ = [
    "__version__",
    "calibration",
    "callbacks",
    "functional",
    "gammas",
    "layers",
    "losses",
    "metrics",
    "plotting",
]


def __getattr__(name: str) -> ModuleType:
    if name in ("beam", "plotting"):
        return importlib.import_module(f"keras_focal.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
