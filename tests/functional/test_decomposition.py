"""brier_decomposition against loops over bins and classes, and the identities of its parts."""

import keras
import numpy as np
import pytest
import reference
from keras import ops
from predictions import CASES, SIZE, example

from keras_focal import functional

BACKEND = keras.backend.backend()


def parts_of(*args, **kwargs):
    return [float(part) for part in functional.brier_decomposition(*args, **kwargs)]


def exact_parts(targets, probabilities, num_bins=15, weights=None):
    """Brier, calibration and refinement: the last as the variance of p - q within the bins."""
    p, q = np.asarray(probabilities, "float64"), np.asarray(targets, "float64")
    weights = np.ones(len(p)) if weights is None else np.asarray(weights, "float64")
    brier = calibration = refinement = 0.0
    for k in range(p.shape[1]):
        brier += np.sum(weights * (p[:, k] - q[:, k]) ** 2)
        for i in range(num_bins):
            inside = (p[:, k] > i / num_bins) & (p[:, k] <= (i + 1) / num_bins)
            if i == 0:
                inside |= p[:, k] == 0
            weight = weights[inside].sum()
            if weight == 0:
                continue
            forecast = (weights * p[:, k])[inside].sum() / weight
            frequency = (weights * q[:, k])[inside].sum() / weight
            calibration += weight * (forecast - frequency) ** 2
            spread = (p[:, k] - q[:, k] - (forecast - frequency))[inside] ** 2
            refinement += np.sum(weights[inside] * spread)
    return np.array([brier, calibration, refinement]) / weights.sum()


def one_hot(labels):
    return np.eye(4)[labels]


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_parts_equal_the_oracle(case, from_logits):
    labels, logits, probabilities = example(case)
    rows = reference.softmax64(logits) if from_logits else probabilities
    got = parts_of(labels, logits if from_logits else probabilities, from_logits=from_logits)
    np.testing.assert_allclose(got, exact_parts(one_hot(labels), rows), atol=2e-6)


@pytest.mark.parametrize("num_bins", [1, 2, 37])
def test_parts_equal_the_oracle_for_any_number_of_bins(num_bins):
    labels, _, probabilities = example("random")
    expected = exact_parts(one_hot(labels), probabilities, num_bins)
    np.testing.assert_allclose(
        parts_of(labels, probabilities, num_bins=num_bins), expected, atol=2e-6
    )


def test_parts_of_weighted_soft_rows_equal_the_oracle(rng):
    _, _, probabilities = example("random")
    targets = rng.dirichlet(np.ones(4), SIZE).astype("float32")
    weights = rng.uniform(0, 3, SIZE).astype("float32") * (rng.random(SIZE) < 0.8)
    expected = exact_parts(targets, probabilities, weights=weights)
    got = parts_of(targets, probabilities, sample_weight=weights)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_brier_is_calibration_plus_refinement(case):
    labels, _, probabilities = example(case)
    brier, calibration, refinement = parts_of(labels, probabilities)
    mean = np.mean(np.sum((probabilities - one_hot(labels)) ** 2, -1))
    np.testing.assert_allclose([brier, calibration + refinement], mean, rtol=2e-6)
    assert 0 <= calibration <= brier
    assert refinement > -1e-6


def test_constant_forecasts_that_are_the_frequencies_have_no_calibration_part():
    rows = np.array([[0.5, 0.25, 0.25]] * 8, "float32")
    brier, calibration, refinement = parts_of([0, 0, 0, 0, 1, 1, 2, 2], rows)
    np.testing.assert_allclose(calibration, 0.0, atol=1e-7)
    np.testing.assert_allclose([brier, refinement], 0.5 * 0.5 + 2 * 0.25 * 0.75, rtol=1e-6)


def test_certain_and_right_forecasts_lose_nothing():
    np.testing.assert_allclose(parts_of([0, 1], np.eye(2, dtype="float32")), 0.0, atol=1e-7)


def test_certain_and_wrong_forecasts_lose_by_calibration_alone():
    got = parts_of([1, 0], np.eye(2, dtype="float32"))
    np.testing.assert_allclose(got, [2.0, 2.0, 0.0], atol=1e-6)


def test_probability_on_an_edge_falls_in_the_lower_bin(rng):
    # Every forecast is an edge: each has a bin to itself, so that nothing varies within a bin.
    rows = np.array([[i / 60, (60 - i) / 60] for i in range(1, 60)], "float32")
    brier, calibration, refinement = parts_of(rng.integers(0, 2, 59), rows, num_bins=60)
    np.testing.assert_allclose(refinement, 0.0, atol=1e-6)
    np.testing.assert_allclose(calibration, brier, rtol=1e-5)


def test_integer_weights_equal_repetition(rng):
    labels, _, probabilities = example("ties")
    times = rng.integers(0, 4, SIZE)
    repeated = parts_of(labels.repeat(times), probabilities.repeat(times, axis=0))
    weighted = parts_of(labels, probabilities, sample_weight=times)
    np.testing.assert_allclose(weighted, repeated, atol=1e-6)


def test_weights_in_a_column_fit_labels_in_a_column(rng):
    labels, _, probabilities = example("random")
    weights = rng.uniform(0, 3, SIZE).astype("float32")
    column = parts_of(labels[:, None], probabilities, sample_weight=weights[:, None])
    flat = parts_of(labels, probabilities, sample_weight=weights)
    np.testing.assert_allclose(column, flat, atol=1e-7)


def test_leading_axes_are_samples():
    labels, _, probabilities = example("random")
    nested = parts_of(labels.reshape(8, 64), probabilities.reshape(8, 64, 4))
    np.testing.assert_allclose(nested, parts_of(labels, probabilities), atol=1e-6)


def test_one_column_is_the_positive_class_of_two(rng):
    positive = rng.random((64, 1)).astype("float32")
    labels = rng.integers(0, 2, (64, 1))
    expected = exact_parts(
        np.concatenate([1 - labels, labels], -1), np.concatenate([1 - positive, positive], -1)
    )
    np.testing.assert_allclose(parts_of(labels, positive), expected, atol=2e-6)


def test_no_predictions_give_zeros():
    assert parts_of(np.zeros(0, "int32"), np.zeros((0, 2), "float32")) == [0.0, 0.0, 0.0]


def test_weights_of_zero_give_zeros():
    rows = np.array([[0.9, 0.1]] * 2, "float32")
    assert parts_of([0, 1], rows, sample_weight=[0.0, 0.0]) == [0.0, 0.0, 0.0]


def compiled(function):
    """XLA on TensorFlow, jit on JAX; torch runs eagerly."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def test_compiled_parts_equal_eager_ones(rng):
    labels, logits, _ = example("random")
    weights = rng.uniform(0, 3, SIZE).astype("float32")

    def run(labels, logits, weights):
        return functional.brier_decomposition(
            labels, logits, from_logits=True, sample_weight=weights
        )

    tensors = [ops.convert_to_tensor(part) for part in (labels, logits, weights)]
    got = [float(part) for part in compiled(run)(*tensors)]
    np.testing.assert_allclose(got, [float(part) for part in run(*tensors)], atol=2e-6)


def test_half_precision_logits_are_computed_in_float32():
    labels, logits, _ = example("random")
    half = ops.cast(logits, "bfloat16")
    expected = parts_of(labels, ops.cast(half, "float32"), from_logits=True)
    assert parts_of(labels, half, from_logits=True) == expected


@pytest.fixture
def half_floatx():
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx("float32")


def test_half_floatx_does_not_change_the_parts(half_floatx):
    labels, _, probabilities = example("random")
    got = parts_of(labels, probabilities, sample_weight=np.ones(SIZE, "float32"))
    keras.config.set_floatx("float32")
    np.testing.assert_allclose(got, parts_of(labels, probabilities), atol=1e-6)


def test_number_of_bins_below_one_raises():
    with pytest.raises(ValueError, match="`num_bins` must be a whole number >= 1"):
        functional.brier_decomposition([0], [[0.9, 0.1]], num_bins=0)
