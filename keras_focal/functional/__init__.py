"""The maths: tensors in, tensors out, without state. docs/maths.md numbers the equations."""

from keras_focal._theory import gamma_star, optimal_probability, threshold_probability
from keras_focal.functional._inputs.probabilities import (
    logits_from_binary_probabilities,
    logits_from_probabilities,
)
from keras_focal.functional.calibration._bins import (
    BinMeans,
    BinStatistics,
    ClassBinStatistics,
    bin_means,
)
from keras_focal.functional.calibration._bootstrap import Interval, bootstrap_intervals
from keras_focal.functional.calibration._debiased import debiased_calibration_error
from keras_focal.functional.calibration._decomposition import (
    BrierParts,
    TopLabelBrierParts,
    brier_decomposition,
    top_label_brier_parts,
)
from keras_focal.functional.calibration._detections import (
    detection_calibration_error,
    localization_aware_calibration_error,
)
from keras_focal.functional.calibration._errors import (
    accuracy_from_bins,
    adaptive_expected_calibration_error,
    bin_statistics,
    ece_from_bins,
    error_from_bins,
    expected_calibration_error,
    maximum_calibration_error,
    mce_from_bins,
    rmsce_from_bins,
)
from keras_focal.functional.calibration._noise import NoiseFloor, noise_floor
from keras_focal.functional.calibration._scores import (
    PredictionScores,
    brier_score,
    entropy,
    negative_log_likelihood,
    prediction_scores,
)
from keras_focal.functional.calibration._smooth import smooth_calibration_error
from keras_focal.functional.gammas._adaptive import adapted_gammas
from keras_focal.functional.gammas._theory import continuous_gamma, gradient_ratio, step_gamma
from keras_focal.functional.losses._binary import binary_focal_crossentropy
from keras_focal.functional.losses._brier import brier_loss, focal_calibration_loss
from keras_focal.functional.losses._class_balance import class_balanced_alpha
from keras_focal.functional.losses._dual import dual_focal_crossentropy
from keras_focal.functional.losses._focal import (
    categorical_focal_crossentropy,
    focal_crossentropy,
    sparse_categorical_focal_crossentropy,
)
from keras_focal.functional.losses._linear import linear_sparse_focal_crossentropy
from keras_focal.functional.losses._linear_parts import LinearHeadStatistics
from keras_focal.functional.losses._mmce import maximum_mean_calibration_error
from keras_focal.functional.losses._norms import focal_gradient_norm, logit_norm
from keras_focal.functional.losses._outputs import (
    asymmetric_loss,
    quality_focal_crossentropy,
    varifocal_crossentropy,
)
from keras_focal.functional.losses._penalties import (
    acls_penalty,
    cals_penalty,
    dca_penalty,
    mdca_penalty,
    nacl_penalty,
    soft_binned_ace_penalty,
    soft_binned_ece_penalty,
)
from keras_focal.functional.losses._poly import poly_focal_crossentropy
from keras_focal.functional.losses._regions import focal_tversky_loss, unified_focal_loss
from keras_focal.functional.losses._smoothing import (
    entropy_regularized_crossentropy,
    label_smoothing_crossentropy,
    margin_smoothing_crossentropy,
)
from keras_focal.functional.maps._conformal import conformal_scores
from keras_focal.functional.maps._maps import (
    beta_map,
    ensemble_map,
    linear_map,
    log_odds,
    piecewise_constant_map,
    piecewise_linear_map,
    platt_map,
    quadratic_map,
    venn_abers_map,
)
from keras_focal.functional.maps._posterior import focal_posterior
from keras_focal.functional.maps._scaling import scale_logits

# Losses of one class per prediction
__all__ = [
    "LinearHeadStatistics",
    "brier_loss",
    "categorical_focal_crossentropy",
    "dual_focal_crossentropy",
    "entropy_regularized_crossentropy",
    "focal_calibration_loss",
    "focal_crossentropy",
    "focal_tversky_loss",
    "label_smoothing_crossentropy",
    "linear_sparse_focal_crossentropy",
    "margin_smoothing_crossentropy",
    "maximum_mean_calibration_error",
    "poly_focal_crossentropy",
    "sparse_categorical_focal_crossentropy",
    "unified_focal_loss",
]

# Losses of independent outputs
__all__ += [
    "asymmetric_loss",
    "binary_focal_crossentropy",
    "quality_focal_crossentropy",
    "varifocal_crossentropy",
]

# Penalties that train calibration beside a loss
__all__ += [
    "acls_penalty",
    "cals_penalty",
    "dca_penalty",
    "mdca_penalty",
    "nacl_penalty",
    "soft_binned_ace_penalty",
    "soft_binned_ece_penalty",
]

# Class weights, and the gradient of a loss
__all__ += ["class_balanced_alpha", "focal_gradient_norm"]

# Calibration errors of predictions
__all__ += [
    "Interval",
    "adaptive_expected_calibration_error",
    "bootstrap_intervals",
    "detection_calibration_error",
    "expected_calibration_error",
    "localization_aware_calibration_error",
    "maximum_calibration_error",
    "smooth_calibration_error",
]

# Bins of predictions, and what follows from them
__all__ += [
    "BinMeans",
    "BinStatistics",
    "ClassBinStatistics",
    "NoiseFloor",
    "TopLabelBrierParts",
    "accuracy_from_bins",
    "bin_means",
    "bin_statistics",
    "debiased_calibration_error",
    "ece_from_bins",
    "error_from_bins",
    "mce_from_bins",
    "noise_floor",
    "rmsce_from_bins",
    "top_label_brier_parts",
]

# Scores of predictions
__all__ += [
    "BrierParts",
    "PredictionScores",
    "brier_decomposition",
    "brier_score",
    "entropy",
    "logit_norm",
    "negative_log_likelihood",
    "prediction_scores",
]

# Calibration maps: logits in, logits out
__all__ += [
    "beta_map",
    "ensemble_map",
    "focal_posterior",
    "linear_map",
    "log_odds",
    "logits_from_binary_probabilities",
    "logits_from_probabilities",
    "piecewise_constant_map",
    "piecewise_linear_map",
    "platt_map",
    "quadratic_map",
    "scale_logits",
    "venn_abers_map",
]

# Conformal prediction: probabilities in, scores of classes out
__all__ += ["conformal_scores"]

# Gamma
__all__ += [
    "adapted_gammas",
    "continuous_gamma",
    "gamma_star",
    "gradient_ratio",
    "optimal_probability",
    "step_gamma",
    "threshold_probability",
]
