"""Sample weights and masks as one weight per prediction."""

import keras
import numpy as np
import pytest
from backends import to_numpy
from keras import ops

from keras_focal.functional._inputs.weights import align_weights, effective_weights

TOKENS = np.array([[5, 3, 0], [2, 0, 0], [1, 4, 2]])


@pytest.fixture
def masked():
    """Predictions of shape (3, 3, 4) that carry the mask TOKENS != 0."""
    embedded = keras.layers.Embedding(6, 4, mask_zero=True)(TOKENS)
    return keras.layers.Dense(4)(embedded)


def weights(y_pred, sample_weight=None, **kwargs):
    return to_numpy(effective_weights(y_pred, sample_weight, **kwargs))


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4), (3, 2, 5, 4)])
def test_without_weight_or_mask_every_prediction_counts_one(shape):
    np.testing.assert_array_equal(weights(ops.zeros(shape)), np.ones(shape[:-1]))


def test_class_axis_may_be_any():
    assert weights(ops.zeros((3, 4, 2, 5)), axis=1).shape == (3, 2, 5)


def test_mask_counts_zero(masked):
    np.testing.assert_array_equal(weights(masked), TOKENS != 0)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3)])
def test_mask_multiplies_sample_weight(masked, shape):
    sample_weight = np.arange(1, np.prod(shape) + 1, dtype="float32").reshape(shape)
    spread = sample_weight[:, None] if len(shape) == 1 else sample_weight
    np.testing.assert_array_equal(weights(masked, sample_weight), (TOKENS != 0) * spread)


def test_fractional_weight_is_not_rescaled_by_the_mask(masked):
    # Keras scales a mask up to keep a mean; a count must not be scaled.
    np.testing.assert_allclose(weights(masked, np.full(3, 0.25)).sum(), 0.25 * (TOKENS != 0).sum())


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_weight_per_sample_is_spread_over_its_predictions(shape):
    got = weights(ops.zeros((3, 2, 5, 4)), np.array([1.0, 2.0, 3.0]).reshape(shape))
    np.testing.assert_array_equal(got, np.broadcast_to([[[1.0]], [[2.0]], [[3.0]]], (3, 2, 5)))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_weight_of_the_leading_axes_is_spread_over_the_rest(axes, rng):
    sample_weight = rng.uniform(0, 2, (3, 2, 5)[:axes]).astype("float32")
    spread = sample_weight.reshape(sample_weight.shape + (1,) * (3 - axes))
    got = weights(ops.zeros((3, 2, 5, 4)), sample_weight)
    np.testing.assert_array_equal(got, np.broadcast_to(spread, (3, 2, 5)))


def test_weight_of_each_prediction_is_taken_as_it_is(rng):
    sample_weight = rng.uniform(0, 2, (3, 2)).astype("float32")
    np.testing.assert_array_equal(weights(ops.zeros((3, 2, 4)), sample_weight), sample_weight)


def test_weight_with_a_trailing_axis_of_one_loses_it(rng):
    sample_weight = rng.uniform(0, 2, (3, 2, 1)).astype("float32")
    got = weights(ops.zeros((3, 2, 4)), sample_weight)
    np.testing.assert_array_equal(got, sample_weight[..., 0])


def test_column_of_weights_fits_one_prediction_per_sample():
    got = align_weights(ops.convert_to_tensor([[1.0], [2.0]]), ops.zeros((2,)))
    np.testing.assert_array_equal(to_numpy(got), [1.0, 2.0])


def test_integer_weights_become_floats():
    got = effective_weights(ops.zeros((2, 4)), np.array([1, 2]))
    assert keras.backend.standardize_dtype(got.dtype) == "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_predictions_do_not_round_weights(dtype):
    got = weights(ops.zeros((1, 4), dtype=dtype), np.array([257.5]))
    np.testing.assert_array_equal(got, [257.5])


def test_predictions_that_are_not_finite_have_a_weight():
    np.testing.assert_array_equal(weights(ops.full((2, 3), float("nan"))), [1.0, 1.0])
