"""TemperatureScaling: the map, its frozen weight, and what a saved model carries."""

import keras
import numpy as np
import pytest
from backends import to_numpy
from keras import ops

from keras_focal.layers import TemperatureScaling


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (64, 4)).astype("float32")


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.5, 40.0])
def test_logits_are_divided_by_the_temperature(logits, temperature):
    scaled = to_numpy(TemperatureScaling(temperature)(logits))
    np.testing.assert_allclose(scaled, logits.astype("float64") / temperature, rtol=5e-7)


@pytest.mark.parametrize("shape", [(64,), (2, 32, 4), (2, 4, 4, 8), (64, 4, 1)])
def test_shape_stays(logits, shape):
    layer = TemperatureScaling(2.0)
    assert tuple(layer(np.resize(logits, shape)).shape) == shape
    assert tuple(layer.compute_output_shape(shape)) == shape
    assert tuple(layer(keras.Input(shape[1:])).shape) == (None, *shape[1:])


@pytest.mark.parametrize("temperature", [1e-3, 0.7, 2.4975, 1e3])
def test_temperature_reads_back(temperature):
    assert TemperatureScaling(temperature).temperature == pytest.approx(temperature, rel=1e-6)


def test_temperature_follows_its_weight():
    layer = TemperatureScaling(2.0)
    layer.log_temperature.assign(np.log(4.0))
    assert layer.temperature == pytest.approx(4.0, rel=1e-6)
    assert layer.get_config()["temperature"] == pytest.approx(4.0, rel=1e-6)
    np.testing.assert_allclose(to_numpy(layer(np.ones((64, 4), "float32"))), 0.25, rtol=1e-6)


def test_softmax_of_probabilities_goes_through_their_logits(logits):
    probabilities = to_numpy(ops.softmax(logits)).astype("float32")
    from_probabilities = ops.softmax(TemperatureScaling(2.0, inputs="probabilities")(probabilities))
    from_logits = ops.softmax(TemperatureScaling(2.0)(logits))
    np.testing.assert_allclose(to_numpy(from_probabilities), to_numpy(from_logits), rtol=2e-5)


def test_sigmoid_of_probabilities_goes_through_their_logits(logits):
    logits = logits[:, :1]
    probabilities = to_numpy(ops.sigmoid(logits)).astype("float32")
    from_probabilities = TemperatureScaling(2.0, inputs="probabilities")(probabilities)
    np.testing.assert_allclose(to_numpy(from_probabilities), logits / 2.0, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("row", [[1.0, 0.0], [0.0], [1.0]])
def test_certain_probabilities_give_finite_logits(row):
    scaled = to_numpy(TemperatureScaling(0.1, inputs="probabilities")(np.array([row], "float32")))
    assert np.all(np.isfinite(scaled))


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
@pytest.mark.parametrize("policy", ["{}", "mixed_{}"])
def test_half_precision_logits_keep_the_precision_of_their_dtype(logits, policy, dtype, rounding):
    # Rounding the log of this T to bfloat16 makes T wrong by 1.4 %, to float16 by 0.2 %.
    temperature = 1016.2
    layer = TemperatureScaling(temperature, dtype=policy.format(dtype))
    scaled = layer(logits)
    assert keras.backend.standardize_dtype(scaled.dtype) == dtype
    assert keras.backend.standardize_dtype(layer.log_temperature.dtype) == "float32"
    expected = to_numpy(ops.cast(logits, dtype)) / temperature
    # One rounding of T and one of the quotient; float16 has no digits below 6e-8.
    np.testing.assert_allclose(to_numpy(scaled), expected, rtol=2 * rounding, atol=6e-8)


def test_half_precision_probabilities_are_scaled_in_float32():
    # A bfloat16 probability of 1e-30 has the logit -69: to a relative error of 1e-6, not of 1 %.
    layer = TemperatureScaling(2.0, inputs="probabilities", dtype="float32")
    probabilities = ops.cast([[1.0, 1e-30]], "bfloat16")
    expected = np.log(to_numpy(probabilities)) / 2.0
    np.testing.assert_allclose(to_numpy(layer(probabilities)), expected, rtol=1e-6, atol=1e-7)


def test_mask_passes_through():
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = keras.layers.Embedding(5, 4, mask_zero=True)(tokens)
    layer = TemperatureScaling(2.0)
    assert layer.supports_masking
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer.compute_mask(embedded, ops.convert_to_tensor(tokens != 0))),
        tokens != 0,
    )


def test_temperature_is_the_only_weight_and_frozen():
    layer = TemperatureScaling(2.0)
    assert [tuple(weight.shape) for weight in layer.weights] == [()]
    assert layer.trainable_weights == []
    layer.trainable = True
    assert layer.trainable_weights == []


def test_training_moves_the_body_and_not_the_temperature(logits, rng):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), TemperatureScaling(2.0, name="temperature")]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = to_numpy(model.layers[0].kernel)
    model.fit(logits, rng.integers(0, 3, 64), batch_size=64, verbose=0)
    assert not np.array_equal(before, to_numpy(model.layers[0].kernel))
    assert model.get_layer("temperature").temperature == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("inputs", ["logits", "probabilities"])
def test_config_round_trip_keeps_every_argument(inputs):
    layer = TemperatureScaling(2.5, inputs=inputs, name="mine", dtype="float32")
    copy = TemperatureScaling.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.temperature, copy.inputs, copy.name) == (layer.temperature, inputs, "mine")


def test_saved_model_carries_the_temperature_of_the_weight(logits, tmp_path):
    model = keras.Sequential([keras.Input((4,)), TemperatureScaling(2.0, name="temperature")])
    model.get_layer("temperature").log_temperature.assign(np.log(3.0))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("temperature").temperature == pytest.approx(3.0, rel=1e-6)
    np.testing.assert_array_equal(
        loaded.predict(logits, verbose=0), model.predict(logits, verbose=0)
    )


def test_weights_file_carries_the_temperature(tmp_path):
    def build(temperature):
        return keras.Sequential([keras.Input((4,)), TemperatureScaling(temperature, name="t")])

    build(3.0).save_weights(tmp_path / "model.weights.h5")
    model = build(1.0)
    model.load_weights(tmp_path / "model.weights.h5")
    assert model.get_layer("t").temperature == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize(
    "temperature", [0.0, -1.0, float("nan"), float("inf"), "2", None, [[2.0]], True]
)
def test_temperature_that_is_not_a_positive_number_raises(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number > 0"):
        TemperatureScaling(temperature)


def test_unknown_kind_of_input_raises():
    with pytest.raises(ValueError, match="`inputs` must be one of 'logits', 'probabilities'"):
        TemperatureScaling(inputs="odds")


def test_unknown_argument_raises():
    with pytest.raises(ValueError, match="temperatures"):
        TemperatureScaling(temperatures=2.0)


@pytest.mark.parametrize(
    ("dtype", "p", "expected"),
    [
        ("float16", [[1.0, 0.0]], [[0.0, np.log(2.0**-25)]]),
        ("bfloat16", [[1.0, 0.0]], [[0.0, np.log(2.0**-126)]]),
        ("float32", [[1.0, 0.0]], [[0.0, np.log(2.0**-126)]]),
        ("float16", [[1.0], [0.0]], [[np.log(2.0**11 - 1)], [-np.log(2.0**11 - 1)]]),
        ("bfloat16", [[1.0], [0.0]], [[np.log(255.0)], [-np.log(255.0)]]),
        ("float32", [[1.0], [0.0]], [[np.log(2.0**24 - 1)], [-np.log(2.0**24 - 1)]]),
    ],
)
def test_what_a_probability_of_0_counts_as_depends_on_its_dtype(dtype, p, expected):
    layer = TemperatureScaling(1.0, inputs="probabilities")
    np.testing.assert_allclose(to_numpy(layer(ops.cast(p, dtype))), expected, rtol=1e-5, atol=1e-6)


def test_temperature_of_each_label_is_kept_and_saved(logits):
    layer = TemperatureScaling([0.5, 1.0, 2.0, 4.0])
    expected = logits.astype("float64") / [0.5, 1.0, 2.0, 4.0]
    np.testing.assert_allclose(to_numpy(layer(logits)), expected, rtol=5e-7)
    again = TemperatureScaling.from_config(layer.get_config())
    assert again.temperature == pytest.approx([0.5, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(to_numpy(again(logits)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="expected axis -1"):
        layer(logits[:, :3])


@pytest.mark.parametrize("temperature", [[], [1.0, 0.0], [1.0, np.inf], [[1.0, 2.0]], ["a", "b"]])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number > 0"):
        TemperatureScaling(temperature)
