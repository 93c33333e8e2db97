"""Every calibration map, in one table.

A new map is a function that fits it, a layer, and a record here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import keras

from keras_focal import layers
from keras_focal.calibration.maps._linear import (
    fit_dirichlet,
    fit_matrix,
    fit_structured_matrix,
    fit_structured_vector,
    fit_vector,
)
from keras_focal.calibration.maps._one_vs_rest import fit_beta, fit_platt, fit_quadratic
from keras_focal.calibration.maps._sample import FitFunction
from keras_focal.calibration.maps._tables import fit_histogram, fit_isotonic
from keras_focal.calibration.maps._temperatures import (
    fit_by_focal_temperature,
    fit_by_temperature,
    fit_ensemble,
)
from keras_focal.calibration.maps._venn_abers import fit_cross_venn_abers, fit_venn_abers


@dataclass(frozen=True)
class Method:
    """A calibration map.

    Attributes:
        name: What `method` calls it.
        fit: Fits it to held-out logits.
        layer: The layer of it, which takes `Fitted.arguments`.
        round: In which round "auto" tries it, from cheap, 0, to dear, 2.
        auto: Whether "auto" tries it "always", of "two classes", or "never".
        labels: How many labels of each class, on average, "auto" wants for it.
        needs_solvers: Whether the fit needs SciPy and scikit-learn.
        keeps_top_class: Whether the map never changes which class of a row is the largest.
        folds: Whether it can go into the weights of the last layer.
        has_strengths: Whether the strengths of regularisation are arguments of it.
        is_same_in_binary: Whether of one logit it is Platt scaling or beta calibration, so that
            "auto" leaves it out there.
        same_of_log_probabilities: The method that is the same map where logits are
            log-probabilities already, so that "auto" tries one of them.
    """

    name: str
    fit: FitFunction
    layer: Callable[..., keras.layers.Layer]
    round: int = 1
    auto: Literal["always", "two classes", "never"] = "always"
    labels: int = 0
    needs_solvers: bool = True
    keeps_top_class: bool = False
    folds: bool = False
    has_strengths: bool = False
    is_same_in_binary: bool = False
    same_of_log_probabilities: str = ""


METHODS = {
    method.name: method
    for method in (
        Method(
            "temperature",
            fit_by_temperature,
            layers.TemperatureScaling,
            round=0,
            needs_solvers=False,
            keeps_top_class=True,
            folds=True,
        ),
        Method(
            "focal_temperature",
            fit_by_focal_temperature,
            layers.FocalPosterior,
            round=0,
            needs_solvers=False,
            keeps_top_class=True,
        ),
        Method(
            "structured_vector",
            fit_structured_vector,
            layers.StructuredVectorScaling,
            round=0,
            has_strengths=True,
            is_same_in_binary=True,
        ),
        Method(
            "structured_matrix",
            fit_structured_matrix,
            layers.StructuredMatrixScaling,
            has_strengths=True,
            is_same_in_binary=True,
        ),
        Method(
            "vector", fit_vector, layers.VectorScaling, has_strengths=True, is_same_in_binary=True
        ),
        Method(
            "matrix",
            fit_matrix,
            layers.MatrixScaling,
            round=2,
            has_strengths=True,
            is_same_in_binary=True,
        ),
        Method(
            "dirichlet",
            fit_dirichlet,
            layers.DirichletCalibration,
            round=2,
            has_strengths=True,
            is_same_in_binary=True,
            same_of_log_probabilities="matrix",
        ),
        Method("platt", fit_platt, layers.PlattScaling),
        Method("quadratic", fit_quadratic, layers.QuadraticScaling, auto="two classes"),
        Method("beta", fit_beta, layers.BetaCalibration),
        Method(
            "ensemble_temperature",
            fit_ensemble,
            layers.EnsembleTemperatureScaling,
            round=0,
            keeps_top_class=True,
        ),
        Method("histogram", fit_histogram, layers.HistogramBinning),
        Method("isotonic", fit_isotonic, layers.IsotonicRegression),
        Method(
            "venn_abers",
            fit_venn_abers,
            layers.VennAbersCalibration,
            labels=100,
            needs_solvers=False,
        ),
        Method(
            "cross_venn_abers",
            fit_cross_venn_abers,
            layers.VennAbersCalibration,
            auto="never",
            needs_solvers=False,
        ),
    )
}
"""The calibration maps by name."""
