"""Every metric of the package, and a batch of predictions that all of them take."""

import keras
import numpy as np
import pytest
from backends import BACKEND

from keras_focal import metrics

BUILDERS = {
    "ece": metrics.ECE,
    "ada_ece": metrics.AdaECE,
    "mce": metrics.MCE,
    "rmsce": metrics.RMSCE,
    "binary_ece": metrics.BinaryECE,
    "classwise_ece": lambda **how: metrics.ClasswiseECE(num_classes=2, **how),
    "calibration": metrics.CalibrationMetrics,
    "nll": metrics.NegativeLogLikelihood,
    "brier": metrics.BrierScore,
    "refinement": metrics.RefinementError,
    "confident": metrics.ConfidentCoverage,
    "by_correctness": metrics.ScoresByCorrectness,
    "logit_norm": lambda from_logits=True, **how: metrics.LogitNorm(**how),
}
every_metric = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
LABELLED = {name: build for name, build in BUILDERS.items() if name != "logit_norm"}
every_labelled = pytest.mark.parametrize("build", LABELLED.values(), ids=LABELLED)
GOOD = [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]
LABELS = [1, 0, 0]


def numbers(metric):
    return [float(value) for value in keras.tree.flatten(metric.result())]


def with_row(row, at=1):
    rows = np.array(GOOD, "float32")
    rows[at] = row
    return rows


def in_graph(function):
    """The function inside a step that is traced: compiled, or on torch broken nowhere."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, backend="eager", fullgraph=True)
