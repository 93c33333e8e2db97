"""TemperatureScaling: one frozen number that divides logits."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_focal.layers import TemperatureScaling


def test_logits_are_divided_by_the_temperature(rng):
    logits = rng.normal(size=(6, 3)).astype("float32")
    found = ops.convert_to_numpy(TemperatureScaling(2.5)(logits))
    np.testing.assert_allclose(found, logits / 2.5, rtol=1e-6)


def test_temperature_one_changes_nothing(rng):
    logits = rng.normal(size=(6, 3)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(TemperatureScaling()(logits)), logits)


@pytest.mark.parametrize("columns", [1, 4])
def test_probabilities_go_back_to_the_logits_they_came_from(rng, columns):
    logits = rng.normal(size=(8, columns)).astype("float32")
    to_probabilities = ops.sigmoid if columns == 1 else ops.softmax
    layer = TemperatureScaling(2.0, inputs="probabilities")
    scaled = to_probabilities(layer(to_probabilities(logits)))
    expected = ops.convert_to_numpy(to_probabilities(logits / 2.0))
    np.testing.assert_allclose(ops.convert_to_numpy(scaled), expected, atol=1e-6)


def test_training_leaves_the_temperature_alone(rng):
    layer = TemperatureScaling(3.0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), layer])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(rng.normal(size=(16, 4)), rng.integers(0, 2, 16), verbose=0)
    assert layer.temperature == pytest.approx(3.0)
    assert layer.trainable_weights == []


def test_saved_model_keeps_the_temperature(rng, tmp_path):
    model = keras.Sequential([keras.Input((3,)), TemperatureScaling(1.7, name="t")])
    model.save(tmp_path / "m.keras")
    reloaded = keras.models.load_model(tmp_path / "m.keras")
    assert reloaded.get_layer("t").temperature == pytest.approx(1.7, rel=1e-6)


def test_half_precision_logits_stay_half(rng):
    layer = TemperatureScaling(2.0, dtype="mixed_bfloat16")
    scaled = layer(rng.normal(size=(2, 3)).astype("float32"))
    assert keras.backend.standardize_dtype(scaled.dtype) == "bfloat16"


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "warm"])
def test_temperature_must_be_finite_and_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number > 0"):
        TemperatureScaling(temperature)


def test_unknown_inputs_raise():
    with pytest.raises(ValueError, match="`inputs` must be one of 'logits', 'probabilities'"):
        TemperatureScaling(inputs="scores")
