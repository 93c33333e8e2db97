"""Losses of probabilities, against 50 digits of the probabilities that were given."""

from functools import partial

import numpy as np
import pytest
import reference
from backends import BACKEND, FEW_STEPS_EAGERLY, value_and_gradient
from keras import ops

from keras_focal import losses
from keras_focal.functional._inputs.labels import targets_like

BOUND = 1e-6
SMALLEST = 2.0**-126
CLASSES = 5

focal = {gamma: partial(reference.poly_focal, gamma=gamma, epsilon=0) for gamma in (7.5, 0.5, 5.0)}
ROWS = {
    **{
        f"sparse focal, gamma {gamma}": (
            losses.SparseCategoricalFocalCrossentropy,
            {"gamma": gamma},
            value,
        )
        for gamma, value in focal.items()
        if gamma != 5.0
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


def runs(loss, p, *, is_first):
    """Value and gradient as the backend runs a loss.

    TensorFlow compiles slowly what JAX compiles as well, so there only the first is compiled.
    """
    if FEW_STEPS_EAGERLY:
        yield value_and_gradient(loss, p)
    if BACKEND == "jax" or (BACKEND == "tensorflow" and is_first):
        yield value_and_gradient(loss, p, compiled=True)
    if BACKEND == "tensorflow" and is_first:
        import tensorflow as tf

        yield value_and_gradient(tf.function(loss, autograph=False), p)


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
    assert (error[normal] / scale[normal]).max() <= BOUND


@pytest.mark.parametrize("name", ROWS)
def test_loss_of_probabilities_is_that_of_fifty_digits(name):
    cls, arguments, value = ROWS[name]
    p = rows()
    q = np.eye(CLASSES, dtype="float32")[np.zeros(len(p), "int32")]
    loss = cls(**arguments, reduction=None)
    labels = q if cls is losses.CategoricalFocalCrossentropy else np.zeros(len(p), "int32")
    oracle = [reference.of_probabilities(partial(value, q[0]), row) for row in p]
    values, gradients = (np.array(part) for part in zip(*oracle, strict=True))
    is_first = name == next(iter(ROWS))
    for value, gradient in runs(partial(loss, labels), p, is_first=is_first):
        check(value, values, np.abs(values))
        check(gradient, gradients, np.abs(gradients).max(axis=1))


OUTPUTS = {
    **{
        f"focal, gamma {gamma}": (
            losses.BinaryFocalCrossentropy,
            {"gamma": gamma},
            partial(reference.asymmetric, gamma_pos=gamma, gamma_neg=gamma, shift=0),
        )
        for gamma in (7.5, 0.5)
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
    is_first = name == next(iter(OUTPUTS))
    for value, gradient in runs(loss, p[:, None], is_first=is_first):
        check(value, values, np.abs(values))
        check(gradient[:, 0], gradients, np.abs(gradients))


def test_regions_of_nearly_perfect_pixels_keep_their_digits():
    p = np.array([[1.0, 1e-13, 3e-13], [2e-12, 1.0, 5e-14], [0.0, 4e-13, 1.0]], "float32")
    loss = losses.FocalTversky(gamma=1.0, reduction=None)
    missed, wrong = p.astype("float64") * (1 - np.eye(3)), p.astype("float64") * (1 - np.eye(3))
    error = 0.7 * missed.sum(1) + 0.3 * wrong.sum(0)
    expected = np.mean(error / (1 + error))
    found = np.asarray(loss(np.arange(3), p))
    np.testing.assert_allclose(found, expected, rtol=BOUND)


class OwnLoss(losses.ClassificationLoss):
    def values(self, labels, logits):
        return -ops.sum(ops.log_softmax(logits) * targets_like(labels.values, logits), axis=-1)


class OwnOutputLoss(losses.OutputLoss):
    def of_outputs(self, targets, logits):
        return ops.softplus(logits) - targets.values * logits


class DerivedLoss(losses.SparseCategoricalFocalCrossentropy):
    def values(self, labels, logits):
        return 2.0 * super().values(labels, 1.0 * logits)


def test_loss_with_values_of_its_own_is_given_logits():
    p = np.array([[0.25, 0.75], [0.5, 0.5]], "float32")
    assert float(OwnLoss()([0, 1], p)) == pytest.approx(np.log(8) / 2)
    assert float(DerivedLoss(gamma=0.0)([0, 1], p)) == pytest.approx(np.log(8))
    assert float(OwnOutputLoss()(np.eye(2, dtype="float32")[::-1], p)) == pytest.approx(
        -np.log([0.75, 0.75, 0.5, 0.5]).mean()
    )
