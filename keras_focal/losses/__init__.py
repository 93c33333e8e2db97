"""Losses for `model.compile`: focal losses and the losses that they are compared with.

docs/losses.md says when to use which. `losses.list()` is not in `__all__`: `import *` would replace
Python's own `list`.
"""

from keras_focal._presets import LossRow, LossTable
from keras_focal.functional import class_balanced_alpha
from keras_focal.losses._base import ClassificationLoss, FocalLoss, OutputLoss
from keras_focal.losses._calibrated import Calibrated
from keras_focal.losses._calibration import BrierLoss, MMCELoss
from keras_focal.losses._compound import CompoundLoss
from keras_focal.losses._focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalFocalCrossentropy,
)
from keras_focal.losses._focal_kin import DualFocalCrossentropy, FocalCalibrationLoss, PolyLoss
from keras_focal.losses._mining import HardExampleMining
from keras_focal.losses._outputs import AsymmetricLoss, QualityFocalCrossentropy, VarifocalLoss
from keras_focal.losses._penalties import (
    ACLS,
    CALS,
    DCA,
    MDCA,
    NACL,
    Penalty,
    SoftBinnedACE,
    SoftBinnedECE,
)
from keras_focal.losses._positives import NormalizedByPositives
from keras_focal.losses._presets import get
from keras_focal.losses._presets import list as list
from keras_focal.losses._regions import FocalTversky, UnifiedFocalLoss
from keras_focal.losses._smoothing import (
    EntropyRegularizedCrossentropy,
    LabelSmoothingCrossentropy,
    MarginLabelSmoothingCrossentropy,
)

__all__ = [
    "ACLS",
    "CALS",
    "DCA",
    "MDCA",
    "NACL",
    "AsymmetricLoss",
    "BinaryFocalCrossentropy",
    "BrierLoss",
    "Calibrated",
    "CategoricalFocalCrossentropy",
    "ClassificationLoss",
    "CompoundLoss",
    "DualFocalCrossentropy",
    "EntropyRegularizedCrossentropy",
    "FocalCalibrationLoss",
    "FocalLoss",
    "FocalTversky",
    "HardExampleMining",
    "LabelSmoothingCrossentropy",
    "LossRow",
    "LossTable",
    "MMCELoss",
    "MarginLabelSmoothingCrossentropy",
    "NormalizedByPositives",
    "OutputLoss",
    "Penalty",
    "PolyLoss",
    "QualityFocalCrossentropy",
    "SoftBinnedACE",
    "SoftBinnedECE",
    "SparseCategoricalFocalCrossentropy",
    "UnifiedFocalLoss",
    "VarifocalLoss",
    "class_balanced_alpha",
    "get",
]
