"""Losses of probabilities, against 50 digits of the probabilities that were given."""

from functools import partial

import numpy as np
import pytest
import reference
from backends import BACKEND, value_and_gradient

from keras_focal import losses

BOUND = 1e-6
SMALLEST = 2.0**-126
CLASSES = 5
MODES = [False] if BACKEND == "torch" else [False, True]

focal = {gamma: partial(reference.poly_focal, gamma=gamma, epsilon=0) for gamma in (0.5, 5.0, 7.5)}
ROWS = {
    **{
        f"sparse focal, gamma {gamma}": (
            losses.SparseCategoricalFocalCrossentropy,
            {"gamma": gamma},
            value,
        )
        for gamma, value in focal.items()
    },
    "focal of rows": (losses.CategoricalFocalCrossentropy, {"gamma": 5.0}, focal[5.0]),
    "focal, smoothed": (
        losses.CategoricalFocalCrossentropy,
        {"gamma": 0.5, "label_smoothing": 0.1},
        lambda q, row: focal[0.5](_smoothed(q), row),
    ),
    "smoothing": (
        losses.LabelSmoothingCrossentropy,
        {},
        partial(reference.smoothed, s=0.05),
    ),
    "entropy": (
        losses.EntropyRegularizedCrossentropy,
        {"weight": 0.5},
        partial(reference.entropy_regularized, weight=0.5),
    ),
    "margin": (
        losses.MarginLabelSmoothingCrossentropy,
        {"margin": 1.0},
        partial(reference.margin_smoothed, weight=0.1, margin=1.0),
    ),
    "brier": (losses.BrierLoss, {}, reference.brier),
    "dual": (losses.DualFocalCrossentropy, {}, partial(reference.dual_focal, gamma=2.0)),
    "poly": (
        losses.PolyLoss,
        {"gamma": 2.0},
        partial(reference.poly_focal, gamma=2.0, epsilon=1.0),
    ),
    "focal + brier": (
        losses.FocalCalibrationLoss,
        {},
        partial(reference.focal_calibration, gamma=2.0, weight=1.0),
    ),
}


def _smoothed(q):
    return [0.9 * a + 0.1 / CLASSES for a in q]


def rows() -> np.ndarray:
    """Float32 rows for the true class 0: usual ones, sure and right, sure and wrong, of any sum."""
    rng = np.random.default_rng(0)
    usual = rng.dirichlet(np.ones(CLASSES), 6)
    others = usual[:, 1:] / usual[:, 1:].sum(axis=1, keepdims=True)
    small = 10.0 ** np.array([[-38.0], [-30.0], [-13.0], [-7.5], [-3.0], [-1.0]])
    right = np.concatenate([1.0 - np.maximum(small, 2.0**-24), others * small], axis=1)
    wrong = np.concatenate([small, others * (1.0 - small)], axis=1)
    tiny = np.concatenate([usual[:, :1], others * np.array([[1e-37, 1e-10, 1.0, 1.0]])], axis=1)
    p = np.concatenate([usual, right, wrong, tiny, 0.97 * usual]).astype("float32")
    return np.maximum(p, np.float32(SMALLEST * 1.001))


def check(found, true, scale):
    normal = scale > SMALLEST * 2**24
    error = np.abs(found - true)
    error = error.reshape(len(error), -1).max(axis=1)
    assert normal.any()
    worst = (error[normal] / scale[normal]).max()
    print("WORST", worst)
    assert worst <= BOUND


@pytest.mark.parametrize("name", ROWS)
def test_loss_of_probabilities_is_that_of_fifty_digits(name):
    cls, arguments, value = ROWS[name]
    p = rows()
    q = np.eye(CLASSES, dtype="float32")[np.zeros(len(p), "int32")]
    loss = cls(**arguments, reduction=None)
    labels = q if cls is losses.CategoricalFocalCrossentropy else np.zeros(len(p), "int32")
    oracle = [reference.of_probabilities(partial(value, q[0]), row) for row in p]
    values, gradients = (np.array(part) for part in zip(*oracle, strict=True))
    for compiled in MODES:
        found = value_and_gradient(partial(loss, labels), p, compiled=compiled)
        check(found[0], values, np.abs(values))
        check(found[1], gradients, np.abs(gradients).max(axis=1))


OUTPUTS = {
    **{
        f"focal, gamma {gamma}": (
            losses.BinaryFocalCrossentropy,
            {"gamma": gamma},
            partial(reference.asymmetric, gamma_pos=gamma, gamma_neg=gamma, shift=0),
        )
        for gamma in (0.5, 5.0, 7.5)
    },
    "asymmetric": (
        losses.AsymmetricLoss,
        {},
        partial(reference.asymmetric, gamma_pos=0.0, gamma_neg=4.0, shift=0.05),
    ),
    "quality": (
        losses.QualityFocalCrossentropy,
        {"gamma": 2.0},
        partial(reference.quality_focal, gamma=2.0),
    ),
    "varifocal": (losses.VarifocalLoss, {}, partial(reference.varifocal, gamma=2.0, alpha=0.75)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_loss_of_probabilities_of_outputs_is_that_of_fifty_digits(name):
    cls, arguments, value = OUTPUTS[name]
    p = np.array(
        [1.2e-38, 1e-30, 1e-13, 1e-7, 1e-3, 0.3, 0.5, 0.6, 0.9, 0.999, 1 - 2**-22, 1 - 2**-24],
        "float32",
    )
    targets = np.repeat(np.array([0.0, 1.0], "float32"), len(p))
    p = np.tile(p, 2)
    oracle = [
        reference.of_output(partial(value, q), each) for q, each in zip(targets, p, strict=True)
    ]
    values, gradients = (np.array(part) for part in zip(*oracle, strict=True))
    loss = partial(cls(**arguments, reduction=None), targets[:, None])
    for compiled in MODES:
        found = value_and_gradient(loss, p[:, None], compiled=compiled)
        check(found[0], values, np.abs(values))
        check(found[1][:, 0], gradients, np.abs(gradients))
