"""keras_focal: classifiers whose confidence can be trusted.

Focal losses, calibration metrics, gamma schedules and temperature scaling for Keras 3, after
Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss" (NeurIPS 2020).
"""

import importlib
from types import ModuleType

from keras_focal._quiet import IS_COMMAND
from keras_focal._version import __version__

if not IS_COMMAND:  # which imports the parts that it needs
    from keras_focal import calibration, callbacks, functional, gammas, layers, losses, metrics

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
    "testing",
]

_LAZY = {*__all__, "beam"}  # beam needs an extra, so it is in no `import *`


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"keras_focal.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
