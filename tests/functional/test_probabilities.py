import keras
import numpy as np
import pytest
import reference
from backends import to_numpy, value_and_gradient
from keras import ops

from keras_focal.functional import logits_from_binary_probabilities, logits_from_probabilities
from keras_focal.functional._inputs.probabilities import are_distributions

TINY = np.finfo("float32").tiny


@pytest.mark.parametrize(
    ("row", "expected"),
    [([1.0], True), ([1.5], False), ([-0.5], False), ([0.5, 0.5], True), ([0.5, 0.75], False)],
    ids=str,
)
def test_rows_are_told_from_other_numbers(row, expected):
    assert bool(are_distributions(ops.convert_to_tensor([row]))[0]) is expected


def test_softmax_of_the_logits_gives_the_probabilities_back():
    p = np.random.default_rng(0).dirichlet(np.ones(6), 20).astype("float32")
    logits = to_numpy(logits_from_probabilities(p))
    np.testing.assert_allclose(reference.softmax64(logits), p, rtol=2e-6)


def test_rows_need_not_sum_to_one():
    p = np.array([[0.2, 0.3, 0.5]], "float32")
    logits = to_numpy(logits_from_probabilities(4 * p))
    np.testing.assert_allclose(reference.softmax64(logits), p, rtol=1e-6)


def test_sigmoid_of_the_logits_gives_the_probabilities_back():
    p = np.array([1e-37, 1e-20, 1e-5, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999], "float32")
    logits = to_numpy(logits_from_binary_probabilities(p))
    # The logit -85 of the first is rounded to 4e-6, which is its relative error.
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), p, rtol=8e-6)


def test_binary_logits_are_antisymmetric():
    p = np.array([0.25, 0.375, 0.4375, 0.5], "float32")
    np.testing.assert_allclose(
        to_numpy(logits_from_binary_probabilities(p)),
        -to_numpy(logits_from_binary_probabilities(1 - p)),
        rtol=1e-6,
    )


def test_zero_counts_as_the_smallest_normal_number():
    for function in (logits_from_probabilities, logits_from_binary_probabilities):
        np.testing.assert_allclose(
            to_numpy(function(np.array([0.0, TINY], "float32"))), 126 * -np.log(2), rtol=1e-6
        )


def test_a_binary_one_counts_as_the_largest_number_below_it():
    logits = to_numpy(logits_from_binary_probabilities(np.array([1.0, 1 - 2.0**-24], "float32")))
    np.testing.assert_allclose(logits, 24 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("function", [logits_from_probabilities, logits_from_binary_probabilities])
def test_gradient_is_finite_at_zero_and_one(function):
    value, gradient = value_and_gradient(function, np.array([0.0, 0.5, 1.0], "float32"))
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient))
    assert gradient[1] > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
@pytest.mark.parametrize("function", [logits_from_probabilities, logits_from_binary_probabilities])
def test_logits_are_float32_whatever_comes_in(function, dtype):
    p = ops.cast(ops.convert_to_tensor([0.0, 0.3, 1.0]), dtype)
    logits = function(p)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_array_equal(
        to_numpy(logits), to_numpy(function(to_numpy(p).astype("float32")))
    )
