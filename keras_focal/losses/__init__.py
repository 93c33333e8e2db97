"""Focal losses for `model.compile`."""

from keras_focal.losses._base import FocalLoss, GammaState
from keras_focal.losses._focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalFocalCrossentropy,
)
from keras_focal.losses._presets import get

__all__ = [
    "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy",
    "FocalLoss",
    "GammaState",
    "SparseCategoricalFocalCrossentropy",
    "get",
]
