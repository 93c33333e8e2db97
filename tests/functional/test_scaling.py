"""Dividing logits by a temperature."""

import keras
import numpy as np
import pytest
from backends import to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional


def confidences(logits, temperature):
    return to_numpy(ops.max(ops.softmax(functional.scale_logits(logits, temperature)), axis=-1))


@pytest.fixture
def logits(rng):
    return ops.convert_to_tensor(rng.normal(0, 3, (20, 5)).astype("float32"))


def test_temperature_one_changes_nothing(logits):
    np.testing.assert_array_equal(to_numpy(functional.scale_logits(logits, 1.0)), to_numpy(logits))


@pytest.mark.parametrize("temperature", [0.1, 2.5, 100.0])
def test_logits_are_divided_by_the_temperature(logits, temperature):
    scaled = to_numpy(functional.scale_logits(logits, temperature))
    np.testing.assert_allclose(scaled, to_numpy(logits) / temperature, rtol=2e-7)


@pytest.mark.parametrize("temperature", [0.05, 0.9, 1.1, 50.0])
def test_order_of_classes_stays(logits, temperature):
    scaled = to_numpy(functional.scale_logits(logits, temperature))
    np.testing.assert_array_equal(scaled.argsort(-1), to_numpy(logits).argsort(-1))


def test_confidence_falls_as_temperature_rises(logits):
    falling = np.array([confidences(logits, t) for t in (0.5, 0.9, 1.0, 1.1, 3.0, 30.0)])
    assert np.all(np.diff(falling, axis=0) < 0)


def test_infinite_temperature_gives_the_uniform_distribution(logits):
    np.testing.assert_allclose(confidences(logits, 1e8), 0.2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtype_of_logits_stays(logits, dtype):
    scaled = functional.scale_logits(ops.cast(logits, dtype), ops.convert_to_tensor(2.0))
    assert keras.backend.standardize_dtype(scaled.dtype) == dtype


def test_temperature_may_be_a_tensor_to_differentiate(logits):
    def total(temperature):
        return ops.sum(functional.scale_logits(logits, temperature))

    value, gradient = value_and_gradient(total, np.float32(2.0))
    np.testing.assert_allclose(gradient, -value / 2.0, rtol=1e-5)
