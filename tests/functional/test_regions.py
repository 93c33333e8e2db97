"""Losses of regions against their equations, class by class, in float64."""

from functools import partial

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, as_usual, compiled_call, to_numpy, value_and_gradient

from keras_focal import functional

LOSSES = {
    "focal tversky": (functional.focal_tversky_loss, reference.focal_tversky),
    "dice": (
        partial(functional.focal_tversky_loss, alpha=0.5, beta=0.5, gamma=1.0),
        partial(reference.focal_tversky, alpha=0.5, beta=0.5, gamma=1.0),
    ),
    "gamma below 1": (
        partial(functional.focal_tversky_loss, alpha=0.2, beta=1.5, gamma=0.5),
        partial(reference.focal_tversky, alpha=0.2, beta=1.5, gamma=0.5),
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def sample(size=40, scale=2.0, classes=4):
    rng = np.random.default_rng(0)
    # The last class has no label.
    labels = rng.integers(0, classes - 1, size)
    logits = rng.normal(0, scale, (size, classes))
    logits[np.arange(size), labels] += scale / 2
    return labels, logits.astype("float32")


@every_loss
@pytest.mark.parametrize("scale", [0.5, 2.0, 12.0])
def test_value_is_that_of_the_equation(name, scale):
    loss, expected = LOSSES[name]
    labels, logits = sample(scale=scale)
    weights = np.random.default_rng(1).uniform(0, 2, 40).astype("float32")
    weights[:5] = 0.0
    for given in (None, weights):
        found = float(as_usual(partial(loss, sample_weight=given))(labels, logits))
        assert found == pytest.approx(expected(labels, logits, given), rel=2e-6)


@every_loss
def test_gradient_is_that_of_the_equation(name):
    loss, equation = LOSSES[name]
    labels, logits = sample(12)
    _, gradient = value_and_gradient(partial(loss, labels), logits, compiled=BACKEND == "jax")
    expected = np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = logits.astype("float64")
            moved[index] += step
            ends.append(equation(labels, moved))
        expected[index] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@every_loss
def test_each_sample_may_be_measured_alone(name):
    loss, expected = LOSSES[name]
    labels, logits = sample(48)
    labels, logits = labels.reshape(3, 4, 4), logits.reshape(3, 4, 4, 4)
    found = to_numpy(loss(labels, logits, per_sample=True))
    each = [expected(y.ravel(), z.reshape(-1, 4)) for y, z in zip(labels, logits, strict=True)]
    np.testing.assert_allclose(found, each, rtol=2e-6)


def test_tversky_of_keras_has_the_same_alpha_and_beta():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    logits = rng.normal(0, 1, (60, 3)).astype("float32")
    p, q = reference.softmax64(logits).astype("float32"), np.eye(3, dtype="float32")[labels]
    tversky = keras.losses.tversky(q, p, alpha=0.8, beta=0.1, axis=(0,))
    found = functional.focal_tversky_loss(labels, logits, alpha=0.8, beta=0.1, gamma=1.0)
    assert float(found) == pytest.approx(to_numpy(tversky).mean(), rel=1e-5)


@every_loss
def test_rows_are_read_as_their_class(name):
    labels, logits = sample()
    loss = LOSSES[name][0]
    assert float(loss(np.eye(4, dtype="float32")[labels], logits)) == float(loss(labels, logits))


@every_loss
def test_a_small_miss_keeps_its_digits(name):
    labels = np.array([0, 1])
    logits = np.array([[30.0, 0.0], [0.0, 30.0]], "float32")
    loss = LOSSES[name][0]
    p = np.exp(-30.0)
    rates = {"focal tversky": 1.0, "dice": 1.0, "gamma below 1": 1.7}[name]
    exponent = {"focal tversky": 0.75, "dice": 1.0, "gamma below 1": 2.0}[name]
    assert float(loss(labels, logits)) == pytest.approx((rates * p) ** exponent, rel=1e-5)


@every_loss
def test_a_perfect_prediction_costs_nothing_and_has_a_finite_gradient(name):
    logits = np.array([[200.0, 0.0], [0.0, 200.0]], "float32")
    value, gradient = value_and_gradient(partial(LOSSES[name][0], np.array([0, 1])), logits)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


@every_loss
def test_predictions_of_weight_zero_are_not_looked_at(name):
    labels, logits = sample()
    loss = LOSSES[name][0]
    expected = float(loss(labels[2:], logits[2:]))
    labels[:2], logits[:2] = 99, np.nan
    weights = np.ones(40, "float32")
    weights[:2] = 0.0
    found, gradient = value_and_gradient(
        partial(loss, labels, sample_weight=weights), logits, compiled=BACKEND == "jax"
    )
    assert found == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(gradient).all()


@every_loss
def test_nothing_has_loss_zero(name):
    loss = LOSSES[name][0]
    assert float(loss(np.zeros(0, "int32"), np.zeros((0, 3), "float32"))) == 0.0
    zeros = np.zeros(2, "float32")
    assert float(loss(np.zeros(2, "int32"), np.ones((2, 3), "float32"), sample_weight=zeros)) == 0.0
    empty = loss(np.zeros((2, 0), "int32"), np.zeros((2, 0, 3), "float32"), per_sample=True)
    np.testing.assert_array_equal(to_numpy(empty), [0.0, 0.0])


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing here")
def test_one_sample_with_an_invalid_label_does_not_spoil_the_others():
    labels, logits = np.zeros((3, 5), "int32"), np.ones((3, 5, 2), "float32")
    labels[1, 2] = 7
    loss = partial(functional.focal_tversky_loss, per_sample=True)
    found = to_numpy(compiled_call(loss, labels, logits))
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, "1"])
def test_an_argument_that_is_not_positive_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number > 0"):
        functional.focal_tversky_loss([0], [[0.0, 0.0]], **{name: value})


def test_one_prediction_per_sample_is_no_image():
    with pytest.raises(ValueError, match="`per_sample` must be False"):
        functional.focal_tversky_loss([0], [[0.0, 0.0]], per_sample=True)


UNIFIED = [
    {},
    {"form": "symmetric"},
    {"weight": 0.2, "delta": 0.8, "gamma": 0.25, "background": 1},
    {"weight": 0.7, "delta": 0.3, "gamma": 0.75, "background": 1, "form": "symmetric"},
]
every_unified = pytest.mark.parametrize("arguments", UNIFIED, ids=str)


@every_unified
@pytest.mark.parametrize("scale", [0.5, 2.0, 12.0])
def test_unified_value_is_that_of_the_equation(arguments, scale):
    labels, logits = sample(scale=scale)
    weights = np.random.default_rng(1).uniform(0.5, 2, 40).astype("float32")
    for given in (None, weights):
        loss = partial(functional.unified_focal_loss, sample_weight=given, **arguments)
        found = to_numpy(as_usual(loss)(labels, logits))
        expected = reference.unified_focal(labels, logits, given, **arguments)
        np.testing.assert_allclose(found, expected, rtol=3e-6)


@every_unified
def test_unified_gradient_is_that_of_the_equation(arguments):
    labels, logits = sample(8)
    loss = partial(functional.unified_focal_loss, labels, **arguments)
    _, gradient = value_and_gradient(loss, logits, compiled=BACKEND == "jax")
    expected = np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = logits.astype("float64")
            moved[index] += step
            ends.append(reference.unified_focal(labels, moved, **arguments).sum())
        expected[index] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_unified_loss_is_a_focal_and_a_tversky_loss():
    labels, logits = sample(48)
    labels, logits = labels.reshape(3, 4, 4), logits.reshape(3, 4, 4, 4)
    arguments = {"delta": 0.7, "gamma": 0.25, "form": "symmetric", "per_sample": True}
    focal = functional.unified_focal_loss(labels, logits, weight=1.0, **arguments)
    expected = functional.sparse_categorical_focal_crossentropy(
        labels, logits, gamma=0.25, alpha=[0.3, 0.7, 0.7, 0.7]
    )
    np.testing.assert_allclose(to_numpy(focal), to_numpy(expected), rtol=1e-6)
    overlap = functional.unified_focal_loss(labels, logits, weight=0.0, **arguments)
    expected = functional.focal_tversky_loss(
        labels, logits, alpha=0.7, beta=0.3, gamma=4 / 3, per_sample=True
    )
    expected = np.broadcast_to(to_numpy(expected)[:, None, None], (3, 4, 4))
    np.testing.assert_allclose(to_numpy(overlap), expected, rtol=1e-6)


def test_unified_loss_does_not_look_at_weight_zero():
    labels, logits = sample()
    expected = to_numpy(functional.unified_focal_loss(labels[2:], logits[2:]))
    labels[:2], logits[:2] = 99, np.nan
    weights = np.ones(40, "float32")
    weights[:2] = 0.0
    found = to_numpy(functional.unified_focal_loss(labels, logits, sample_weight=weights))
    np.testing.assert_allclose(found[2:], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 1.5}, r"`weight` must be a number in \[0, 1\]"),
        ({"delta": 1.0}, r"`delta` must be a number in \(0, 1\)"),
        ({"gamma": 1.0}, r"`gamma` must be a number in \[0, 1\)"),
        ({"form": "both"}, "`form` must be one of 'asymmetric', 'symmetric'"),
        ({"background": 2}, "`background` must be a whole number >= 0 and < 2"),
    ],
)
def test_a_setting_of_the_unified_loss_out_of_range_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        functional.unified_focal_loss([0], [[0.0, 0.0]], **arguments)
