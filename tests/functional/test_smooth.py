"""smooth_calibration_error against the exact double sum over predictions and reflected kernels."""

import keras
import numpy as np
import pytest
import reference
from keras import ops
from predictions import CASES, SIZE, example, published_test_set

from keras_focal import functional


def error_of(*args, **kwargs):
    return functional.smooth_calibration_error(*args, **kwargs)


def exact_error(confidence, correct, width, weights=None, points=4000):
    """Integral of |sum_i w_i K(t, c_i) (a_i - c_i)| / sum w, one prediction and image at a time."""
    weights = np.ones(len(confidence)) if weights is None else weights
    t = (np.arange(points) + 0.5) / points
    residual = np.zeros(points)
    for c, a, w in zip(confidence, correct, weights, strict=True):
        # Images further away than 8 widths add nothing.
        for image in (2 * k + sign * c for k in (-2, -1, 0, 1, 2) for sign in (1, -1)):
            if -8 * width < image < 1 + 8 * width:
                residual += w * (a - c) * np.exp(-0.5 * ((t - image) / width) ** 2)
    return np.abs(residual).mean() / (width * np.sqrt(2 * np.pi)) / np.sum(weights)


def assert_is_fixed_point(error, confidence, correct, weights=None, tolerance=1e-4):
    """The exact error falls through its own width within `tolerance` of `error`."""
    for width, sign in ((error - tolerance, 1), (error + tolerance, -1)):
        assert sign * (exact_error(confidence, correct, width, weights) - width) > 0


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_error_is_the_fixed_point_of_the_exact_double_sum(case, from_logits):
    labels, logits, probabilities = example(case)
    rows = reference.softmax64(logits) if from_logits else probabilities
    error = error_of(labels, logits if from_logits else probabilities, from_logits=from_logits)
    assert_is_fixed_point(error, *reference.top_label(labels, rows))


def test_weighted_error_is_the_fixed_point_of_the_exact_double_sum(rng):
    labels, _, probabilities = example("random")
    weights = rng.uniform(0, 3, SIZE).astype("float32") * (rng.random(SIZE) < 0.8)
    error = error_of(labels, probabilities, sample_weight=weights)
    assert_is_fixed_point(error, *reference.top_label(labels, probabilities), weights)


def test_opposite_residuals_within_one_cell_are_told_apart():
    # 7 right and 3 wrong, 2e-5 apart: moved to one place they would cancel.
    confidence = np.array([0.70001] * 7 + [0.70003] * 3, "float32")
    rows = np.stack([confidence, 1 - confidence], -1)
    labels = np.array([0] * 7 + [1] * 3)
    error = error_of(labels, rows)
    assert error > 1e-3
    assert_is_fixed_point(error, *reference.top_label(labels, rows))


@pytest.mark.parametrize("name", ["cross_entropy", "flsd53"])
def test_error_of_published_logits_is_the_fixed_point_of_the_exact_double_sum(real_data, name):
    labels, logits = (part[:1000] for part in published_test_set(real_data, name))
    error = error_of(labels, logits, from_logits=True)
    assert_is_fixed_point(error, *reference.top_label(labels, reference.softmax64(logits)))


def test_predictions_right_as_often_as_they_say_have_no_error():
    rows = np.array([[0.75, 0.25]] * 4 + [[0.5, 0.5]] * 2, "float32")
    assert error_of([0, 0, 0, 1, 0, 1], rows) == 0.0


def test_certain_and_always_wrong_predictions_have_the_largest_error():
    error = error_of([1, 1, 1, 1], np.array([[1.0, 0.0]] * 4, "float32"))
    assert error == pytest.approx(1.0, abs=1e-8)


def test_residuals_of_one_sign_give_their_mean():
    # Every prediction is wrong: smoothing moves the residuals, their sum stays.
    _, _, probabilities = example("random")
    mean = probabilities.max(-1).astype("float64").mean()
    assert error_of(probabilities.argmin(-1), probabilities) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_error_lies_between_the_mean_gap_and_the_mean_size_of_residuals(case):
    labels, _, probabilities = example(case)
    confidence, correct = reference.top_label(labels, probabilities)
    error = error_of(labels, probabilities)
    assert abs(np.mean(correct - confidence)) - 1e-6 < error
    assert error < np.mean(np.abs(correct - confidence))


def test_small_moves_of_confidence_change_the_error_little():
    # Across the edge 0.6 of bins, ECE jumps from 0.1 to 0.5.
    labels = [0, 1, 0, 1, 0]
    below, above = (
        np.array([[c, 1 - c], [0.6, 0.4], [c, 1 - c], [0.6, 0.4], [c, 1 - c]], "float32")
        for c in (0.5999, 0.6001)
    )
    ece = [
        float(functional.expected_calibration_error(labels, rows, num_bins=5))
        for rows in (below, above)
    ]
    assert abs(ece[1] - ece[0]) > 0.3
    assert error_of(labels, above) == pytest.approx(error_of(labels, below), abs=2e-4)


def test_integer_weights_equal_repetition(rng):
    labels, _, probabilities = example("ties")
    times = rng.integers(0, 4, SIZE)
    repeated = error_of(labels.repeat(times), probabilities.repeat(times, axis=0))
    weighted = error_of(labels, probabilities, sample_weight=times)
    assert weighted == pytest.approx(repeated, abs=1e-8)


def test_row_order_and_leading_axes_do_not_matter(rng):
    labels, _, probabilities = example("random")
    order = rng.permutation(SIZE)
    expected = error_of(labels, probabilities)
    nested = error_of(labels[order].reshape(8, 64), probabilities[order].reshape(8, 64, 4))
    assert nested == pytest.approx(expected, abs=1e-8)


def test_one_column_is_the_positive_class_of_two(rng):
    logits = rng.normal(0, 2, (64, 1)).astype("float32")
    labels = rng.integers(0, 2, (64, 1))
    rows = np.concatenate([np.zeros_like(logits), logits], -1)
    two = error_of(labels, rows, from_logits=True)
    assert error_of(labels, logits, from_logits=True) == pytest.approx(two, abs=1e-8)


def test_soft_rows_count_as_their_largest_class(rng):
    labels, _, probabilities = example("random")
    rows = 0.9 * np.eye(4, dtype="float32")[labels] + 0.025
    assert error_of(rows, probabilities) == error_of(labels, probabilities)


def test_no_predictions_have_no_error():
    assert error_of(np.zeros(0, "int32"), np.zeros((0, 2), "float32")) == 0.0


def test_weights_of_zero_have_no_error():
    rows = np.array([[0.9, 0.1]] * 2, "float32")
    assert error_of([0, 1], rows, sample_weight=[0.0, 0.0]) == 0.0


def test_half_precision_logits_are_computed_in_float32():
    labels, logits, _ = example("random")
    half = ops.cast(logits, "bfloat16")
    expected = error_of(labels, ops.cast(half, "float32"), from_logits=True)
    assert error_of(labels, half, from_logits=True) == expected


@pytest.fixture
def half_floatx():
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx("float32")


def test_half_floatx_does_not_change_the_error(half_floatx):
    labels, _, probabilities = example("random")
    got = error_of(labels, probabilities, sample_weight=np.ones(SIZE, "float32"))
    keras.config.set_floatx("float32")
    assert got == error_of(labels, probabilities)


def test_result_is_a_python_float():
    assert type(error_of([0], [[0.9, 0.1]])) is float
