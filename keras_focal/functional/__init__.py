"""The maths: tensors in, tensors out, keras.ops only, no state. Equations in docs/maths.md."""

from keras_focal._theory import gamma_star, optimal_probability, threshold_probability
from keras_focal.functional._backend.compilation import compiled, jitted
from keras_focal.functional._backend.precision import compute_dtype
from keras_focal.functional._inputs.probabilities import (
    logits_from_binary_probabilities,
    logits_from_probabilities,
    logits_of,
)
from keras_focal.functional._inputs.weights import align_weights, effective_weights
from keras_focal.functional.calibration._bins import (
    LOGIT_CELLS,
    BinMeans,
    BinStatistics,
    ClassBinStatistics,
    Predictions,
    amounts,
    bin_means,
    equal_width_bins,
    logit_cells,
    one_class,
    top_label,
)
from keras_focal.functional.calibration._bootstrap import Interval, bootstrap_intervals
from keras_focal.functional.calibration._debiased import debiased_calibration_error
from keras_focal.functional.calibration._decomposition import (
    BrierParts,
    TopLabelBrierParts,
    brier_decomposition,
    top_label_brier_parts,
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
from keras_focal.functional.calibration._partitions import (
    EqualMass,
    EqualWidth,
    Partition,
    equal_mass_bins,
)
from keras_focal.functional.calibration._scores import (
    PredictionScores,
    brier_score,
    class_probabilities,
    class_targets,
    entropy,
    negative_log_likelihood,
    prediction_scores,
)
from keras_focal.functional.calibration._smooth import smooth_calibration_error
from keras_focal.functional.calibration._sums import Sums
from keras_focal.functional.gammas._adaptive import BinGaps, BinnedGamma, adapted_gammas, bin_gaps
from keras_focal.functional.gammas._theory import (
    continuous_gamma,
    gradient_ratio,
    step_gamma,
)
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
from keras_focal.functional.losses._mmce import FORMS as MMCE_FORMS
from keras_focal.functional.losses._mmce import maximum_mean_calibration_error
from keras_focal.functional.losses._norms import focal_gradient_norm, logit_norm
from keras_focal.functional.losses._outputs import asymmetric_loss, quality_focal_crossentropy
from keras_focal.functional.losses._poly import poly_focal_crossentropy
from keras_focal.functional.losses._smoothing import (
    entropy_regularized_crossentropy,
    label_smoothing_crossentropy,
    margin_smoothing_crossentropy,
)
from keras_focal.functional.maps._maps import (
    beta_map,
    ensemble_map,
    linear_map,
    log_odds,
    log_probabilities,
    piecewise_constant_map,
    piecewise_linear_map,
    platt_map,
)
from keras_focal.functional.maps._posterior import focal_posterior
from keras_focal.functional.maps._scaling import scale_logits

__all__ = [
    "LOGIT_CELLS",
    "MMCE_FORMS",
    "BinGaps",
    "BinMeans",
    "BinStatistics",
    "BinnedGamma",
    "BrierParts",
    "ClassBinStatistics",
    "EqualMass",
    "EqualWidth",
    "Interval",
    "NoiseFloor",
    "Partition",
    "PredictionScores",
    "Predictions",
    "Sums",
    "TopLabelBrierParts",
    "accuracy_from_bins",
    "adapted_gammas",
    "adaptive_expected_calibration_error",
    "align_weights",
    "amounts",
    "asymmetric_loss",
    "beta_map",
    "bin_gaps",
    "bin_means",
    "bin_statistics",
    "binary_focal_crossentropy",
    "bootstrap_intervals",
    "brier_decomposition",
    "brier_loss",
    "brier_score",
    "categorical_focal_crossentropy",
    "class_balanced_alpha",
    "class_probabilities",
    "class_targets",
    "compiled",
    "compute_dtype",
    "continuous_gamma",
    "debiased_calibration_error",
    "dual_focal_crossentropy",
    "ece_from_bins",
    "effective_weights",
    "ensemble_map",
    "entropy",
    "entropy_regularized_crossentropy",
    "equal_mass_bins",
    "equal_width_bins",
    "error_from_bins",
    "expected_calibration_error",
    "focal_calibration_loss",
    "focal_crossentropy",
    "focal_gradient_norm",
    "focal_posterior",
    "gamma_star",
    "gradient_ratio",
    "jitted",
    "label_smoothing_crossentropy",
    "linear_map",
    "linear_sparse_focal_crossentropy",
    "log_odds",
    "log_probabilities",
    "logit_cells",
    "logit_norm",
    "logits_from_binary_probabilities",
    "logits_from_probabilities",
    "logits_of",
    "margin_smoothing_crossentropy",
    "maximum_calibration_error",
    "maximum_mean_calibration_error",
    "mce_from_bins",
    "negative_log_likelihood",
    "noise_floor",
    "one_class",
    "optimal_probability",
    "piecewise_constant_map",
    "piecewise_linear_map",
    "platt_map",
    "poly_focal_crossentropy",
    "prediction_scores",
    "quality_focal_crossentropy",
    "rmsce_from_bins",
    "scale_logits",
    "smooth_calibration_error",
    "sparse_categorical_focal_crossentropy",
    "step_gamma",
    "threshold_probability",
    "top_label",
    "top_label_brier_parts",
]
