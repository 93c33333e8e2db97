"""The maths: tensors in, tensors out, keras.ops only, no state. Equations in docs/maths.md."""

from keras_focal.functional._binary import binary_focal_crossentropy
from keras_focal.functional._bins import (
    LOGIT_CELLS,
    BinStatistics,
    Predictions,
    amounts,
    bin_statistics,
    class_ids,
    equal_width_bins,
    logit_cells,
    top_label,
)
from keras_focal.functional._calibration import (
    adaptive_expected_calibration_error,
    expected_calibration_error,
    expected_error,
    maximum_calibration_error,
    maximum_error,
    root_mean_square_error,
)
from keras_focal.functional._debiased import debiased_calibration_error
from keras_focal.functional._decomposition import BrierParts, brier_decomposition
from keras_focal.functional._focal import (
    categorical_focal_crossentropy,
    sparse_categorical_focal_crossentropy,
)
from keras_focal.functional._gamma import gamma_star, gradient_ratio, step_gamma
from keras_focal.functional._kernels import compiled
from keras_focal.functional._linear import linear_sparse_focal_crossentropy
from keras_focal.functional._maps import (
    beta_map,
    ensemble_map,
    linear_map,
    log_odds,
    log_probabilities,
    piecewise_constant_map,
    piecewise_linear_map,
    platt_map,
)
from keras_focal.functional._noise import NoiseFloor, noise_floor
from keras_focal.functional._partitions import EqualMass, EqualWidth, Partition, equal_mass_bins
from keras_focal.functional._precision import compute_dtype
from keras_focal.functional._probabilities import (
    logits_from_binary_probabilities,
    logits_from_probabilities,
)
from keras_focal.functional._scaling import scale_logits
from keras_focal.functional._scores import (
    brier_score,
    class_probabilities,
    class_targets,
    entropy,
    negative_log_likelihood,
)
from keras_focal.functional._smooth import smooth_calibration_error
from keras_focal.functional._sums import Sums, Totals
from keras_focal.functional._weights import align_weights, effective_weights

__all__ = [
    "LOGIT_CELLS",
    "BinStatistics",
    "BrierParts",
    "EqualMass",
    "EqualWidth",
    "NoiseFloor",
    "Partition",
    "Predictions",
    "Sums",
    "Totals",
    "adaptive_expected_calibration_error",
    "align_weights",
    "amounts",
    "beta_map",
    "bin_statistics",
    "binary_focal_crossentropy",
    "brier_decomposition",
    "brier_score",
    "categorical_focal_crossentropy",
    "class_ids",
    "class_probabilities",
    "class_targets",
    "compiled",
    "compute_dtype",
    "debiased_calibration_error",
    "effective_weights",
    "ensemble_map",
    "entropy",
    "equal_mass_bins",
    "equal_width_bins",
    "expected_calibration_error",
    "expected_error",
    "gamma_star",
    "gradient_ratio",
    "linear_map",
    "linear_sparse_focal_crossentropy",
    "log_odds",
    "log_probabilities",
    "logit_cells",
    "logits_from_binary_probabilities",
    "logits_from_probabilities",
    "maximum_calibration_error",
    "maximum_error",
    "negative_log_likelihood",
    "noise_floor",
    "piecewise_constant_map",
    "piecewise_linear_map",
    "platt_map",
    "root_mean_square_error",
    "scale_logits",
    "smooth_calibration_error",
    "sparse_categorical_focal_crossentropy",
    "step_gamma",
    "top_label",
]
