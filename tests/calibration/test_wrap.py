"""calibrate: the model that comes back is the one that went in, with confidences set right."""

import re
import warnings

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from keras import layers

from keras_focal.calibration import (
    calibrate,
    fit_focal_temperature,
    fit_map,
    fit_temperature,
)

# What calibration computes is the matter here, not the traced `predict` of a model.
pytestmark = pytest.mark.usefixtures("few_steps")


def data(rng, size=300, classes=3):
    x = rng.normal(size=(size, classes)).astype("float32")
    noisy = x + rng.normal(size=x.shape)
    return x, noisy.argmax(1)


def network(classes=3, activation=None, scale=6.0):
    """Return an over-confident network: its logits are `scale` times its inputs."""
    kernel = keras.initializers.Identity(gain=scale)
    inputs = keras.Input((classes,))
    return keras.Model(inputs, layers.Dense(classes, activation, kernel_initializer=kernel)(inputs))


def predict(model, x):
    return keras.tree.map_structure(np.asarray, model.predict(x, verbose=0))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_probabilities_are_those_of_the_fitted_temperature(rng, activation):
    x, y = data(rng)
    model = network(activation=activation)
    logits = 6.0 * x.astype("float64")
    temperature = fit_temperature(logits, y).temperature
    calibrated = calibrate(model, x, y, from_logits=activation is None, verbose=0)
    found = calibrated.get_layer("temperature").temperature
    assert found == pytest.approx(temperature, rel=1e-4)
    expected = reference.softmax64(logits / temperature)
    np.testing.assert_allclose(predict(calibrated, x), expected, atol=1e-4)


def test_ece_criterion_takes_the_temperature_of_the_grid(rng):
    x, y = data(rng)
    calibrated = calibrate(network(), x, y, from_logits=True, criterion="ece", verbose=0)
    expected = fit_temperature(6.0 * x.astype("float64"), y, "ece").temperature
    assert calibrated.get_layer("temperature").temperature == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_accuracy_stays_and_likelihood_does_not_get_worse(rng, activation):
    classes = 1 if activation == "sigmoid" else 3
    x = rng.normal(size=(300, classes)).astype("float32")
    noisy = x + rng.normal(size=x.shape)
    y = noisy[:, 0] > 0 if classes == 1 else noisy.argmax(1)
    model = network(classes, activation)
    calibrated = calibrate(model, x, y, from_logits=activation is None, verbose=0)
    accuracies, nlls = [], []
    for probe in (model, calibrated):
        p = predict(probe, x).astype("float64")
        if activation is None and probe is model:
            p = reference.softmax64(p)
        p = np.concatenate([1 - p, p], axis=1) if classes == 1 else p
        accuracies.append((p.argmax(1) == y).mean())
        nlls.append(reference.nll(y.astype(int), np.log(np.clip(p, 1e-38, 1.0))))
    assert accuracies[0] == accuracies[1]
    assert nlls[1] < nlls[0]


def test_predicted_classes_stay_and_likelihood_improves(rng):
    x, y = data(rng)
    model = network()
    calibrated = calibrate(model, x, y, from_logits=True, verbose=0)
    logits, p = predict(model, x), predict(calibrated, x)
    np.testing.assert_array_equal(p.argmax(1), logits.argmax(1))
    assert reference.nll(y, np.log(p)) < reference.nll(y, logits) - 0.1


def test_model_itself_is_unchanged(rng):
    x, y = data(rng)
    model = network()
    before = predict(model, x)
    calibrate(model, x, y, from_logits=True, verbose=0)
    np.testing.assert_array_equal(predict(model, x), before)
    assert len(model.layers) == 2


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_binary_column_gives_a_calibrated_probability(rng, activation):
    x = rng.normal(size=(400, 1)).astype("float32")
    y = (x[:, 0] + rng.normal(size=400) > 0).astype(int)
    model = network(1, activation, scale=5.0)
    calibrated = calibrate(model, x, y, from_logits=activation is None, verbose=0)
    z = 5.0 * x.astype("float64")
    temperature = fit_temperature(z, y).temperature
    expected = 1 / (1 + np.exp(-z / temperature))
    np.testing.assert_allclose(predict(calibrated, x), expected, atol=1e-3)


def test_sequential_and_subclassed_models_are_taken(rng):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(3, kernel_initializer=keras.initializers.Identity(6.0))

        def call(self, x):
            return self.head(x)

    x, y = data(rng)
    kernel = keras.initializers.Identity(6.0)
    sequential = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer=kernel)])
    expected = predict(calibrate(network(), x, y, from_logits=True, verbose=0), x)
    for model in (sequential, Subclassed()):
        found = predict(calibrate(model, x, y, from_logits=True, verbose=0), x)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sequences_of_any_length_are_taken_after_calibration(rng):
    kernel = keras.initializers.Identity(6.0)
    model = keras.Sequential(
        [keras.Input((None, 3), name="steps"), layers.Dense(3, kernel_initializer=kernel)]
    )
    x, y = data(rng)
    calibrated = calibrate(
        model, x.reshape(60, 5, 3), y.reshape(60, 5), from_logits=True, verbose=0
    )
    assert calibrated.input_shape == (None, None, 3)
    assert calibrated.input.name == "steps"


def test_subclassed_model_takes_every_batch_of_a_generator(rng):
    class Scaled(keras.Model):
        def call(self, x):
            return 6.0 * x

    x, y = data(rng)
    expected = calibrate(network(), x, y, from_logits=True, verbose=0)
    found = calibrate(Scaled(), batches("generator", x, y), from_logits=True, verbose=0)
    assert found.get_layer("temperature").temperature == pytest.approx(
        expected.get_layer("temperature").temperature, rel=1e-5
    )


@pytest.mark.parametrize("kind", ["list", "dict", "subclassed"])
def test_models_of_several_inputs_are_taken(rng, kind):
    class Sum(keras.Model):
        def call(self, inputs):
            return 6.0 * (inputs["a"] + inputs["b"])

    x, y = data(rng)
    halves = {"a": 0.25 * x, "b": 0.75 * x}
    inputs = {name: keras.Input((3,), name=name) for name in "ab"}
    output = layers.Rescaling(6.0)(layers.Add()(list(inputs.values())))
    if kind == "list":
        model, x_two = keras.Model(list(inputs.values()), output), list(halves.values())
    else:
        model, x_two = Sum() if kind == "subclassed" else keras.Model(inputs, output), halves
    expected = predict(calibrate(network(), x, y, from_logits=True, verbose=0), x)
    found = predict(calibrate(model, x_two, y, from_logits=True, verbose=0), x_two)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tokens_of_sequences_are_taken(rng):
    class Tagger(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(5, 3, embeddings_initializer="random_normal")

        def call(self, tokens):
            return 100.0 * self.table(tokens)

    tokens = rng.integers(0, 5, (50, 4), dtype="int32")
    model = Tagger()
    logits = predict(model, tokens)
    labels = (logits + rng.normal(0, 5, logits.shape)).argmax(-1)
    calibrated = calibrate(model, tokens, labels, from_logits=True, verbose=0)
    temperature = fit_temperature(logits, labels).temperature
    expected = reference.softmax64(logits.astype("float64") / temperature)
    np.testing.assert_allclose(predict(calibrated, tokens), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["one_hot", "column", "tensor", "list"])
def test_every_form_of_label_gives_the_same_temperature(rng, form):
    x, y = data(rng)
    labels = {
        "one_hot": np.eye(3)[y],
        "column": y[:, None],
        "tensor": keras.ops.convert_to_tensor(y),
        "list": y.tolist(),
    }[form]
    expected = calibrate(network(), x, y, from_logits=True, verbose=0)
    found = calibrate(network(), x, labels, from_logits=True, verbose=0)
    assert (
        found.get_layer("temperature").temperature == expected.get_layer("temperature").temperature
    )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_half_precision_models_give_float32_probabilities(rng, activation, dtype):
    # The rounded probabilities of 50 classes do not sum to 1 if they are added in bfloat16.
    x, y = data(rng, classes=50)
    inputs = keras.Input((50,))
    kernel = keras.initializers.Identity(gain=3.0)
    dense = layers.Dense(50, activation, kernel_initializer=kernel, dtype=dtype)
    model = keras.Model(inputs, dense(inputs))
    calibrated = calibrate(model, x, y, from_logits=activation is None, verbose=0)
    p = predict(calibrated, x)
    assert p.dtype == "float32"
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)
    expected = fit_temperature(3.0 * x.astype("float64"), y).temperature
    # bfloat16 rounds a logit of 8 by up to 0.03.
    assert calibrated.get_layer("temperature").temperature == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("method", ["vector", "focal_temperature", "isotonic"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_another_method_puts_its_layer_behind_the_model(rng, tmp_path, activation, method):
    x, y = data(rng)
    model = network(activation=activation)
    calibrated, fit = calibrate(
        model, x, y, from_logits=activation is None, method=method, return_fit=True, verbose=0
    )
    assert (fit.method, calibrated.get_layer("calibration").name) == (method, "calibration")
    # In place of a softmax too, the map takes the logits.
    expected = keras.ops.softmax(fit.layer(6.0 * x))
    np.testing.assert_allclose(predict(calibrated, x), to_numpy(expected), atol=1e-6)
    calibrated.save(tmp_path / "calibrated.keras")
    loaded = keras.saving.load_model(tmp_path / "calibrated.keras")
    np.testing.assert_allclose(predict(loaded, x), predict(calibrated, x), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"method": "scaling"}, "method"),
        ({"method": "vector", "criterion": "ece"}, "criterion"),
        ({"method": "vector", "fold": True}, "fold"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_before_any_work(rng, arguments, name):
    x, y = data(rng)
    with pytest.raises(ValueError, match=f"`{name}` must be one of"):
        calibrate(network(), x, y, from_logits=True, **arguments)


class Flip(layers.Layer):
    """A layer that acts unless it is told not to, as the augmentation layers of Keras do."""

    def call(self, x, training=True):
        return -x if training else x


@pytest.mark.parametrize("is_nested", [False, True])
def test_layers_that_act_as_in_training_when_served_are_named(rng, is_nested):
    augmentation = Flip(name="flip")
    if is_nested:
        augmentation = keras.Sequential([keras.Input((3,)), augmentation])
    model = keras.Sequential([keras.Input((3,)), augmentation, layers.Dense(3)])
    x, y = data(rng)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        warnings.filterwarnings("ignore", "Even though")  # Of the fixture `few_steps`.
        calibrate(model, x, y, from_logits=True, verbose=0)
    (said,) = (one for one in caught if one.category is UserWarning)
    assert re.search("serve other probabilities.*Received: flip$", f"{said.message}")
    assert said.filename == __file__


@pytest.mark.parametrize("limit", [{"max_seconds": 0}, {"keep_top_class": True}])
def test_limits_of_auto_are_those_of_fit_map(rng, limit):
    pytest.importorskip("sklearn", reason="needs the extra `maps`")
    x, y = data(rng)
    options = {"from_logits": True, "method": "auto", "return_fit": True, "verbose": 0}
    _, fit = calibrate(network(), x, y, **options, **limit)
    alone = fit_map(6.0 * x, y, "auto", **limit)
    assert (fit.method, fit.nll_after) == (alone.method, pytest.approx(alone.nll_after, rel=1e-5))
    assert [row.method for row in fit.skipped] == [row.method for row in alone.skipped]
    assert fit.skipped


def test_calibrated_model_can_be_calibrated_again(rng):
    x, y = data(rng)
    once = calibrate(network(), x, y, from_logits=True, verbose=0)
    twice = calibrate(once, x, y, verbose=0)
    np.testing.assert_allclose(predict(twice, x), predict(once, x), atol=1e-4)


@pytest.mark.parametrize("name", ["temperature", "probabilities"])
def test_layers_of_the_model_may_have_any_name(rng, name):
    x, y = data(rng)
    inputs = keras.Input((3,))
    kernel = keras.initializers.Identity(6.0)
    model = keras.Model(inputs, layers.Dense(3, kernel_initializer=kernel, name=name)(inputs))
    found = predict(calibrate(model, x, y, from_logits=True, verbose=0), x)
    expected = predict(calibrate(network(), x, y, from_logits=True, verbose=0), x)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_certain_probabilities_give_finite_ones(rng):
    x, y = data(rng)
    model = network(activation="softmax", scale=200.0)
    assert (predict(model, x) == 1.0).any()
    p = predict(calibrate(model, x, y, verbose=0), x)
    assert np.all(np.isfinite(p))
    np.testing.assert_array_equal(p.argmax(1), predict(model, x).argmax(1))


def test_weights_are_shared_with_the_model(rng):
    x, y = data(rng)
    model = network()
    calibrated = calibrate(model, x, y, from_logits=True, verbose=0)
    before = predict(calibrated, x)
    model.layers[1].kernel.assign(0.0 * model.layers[1].kernel)
    assert not np.allclose(predict(calibrated, x), before)
    np.testing.assert_allclose(predict(calibrated, x), 1 / 3, atol=1e-6)


def test_compiled_model_stays_compiled(rng):
    x, y = data(rng)
    model = network()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.evaluate(x, y, verbose=0)
    calibrate(model, x, y, from_logits=True, verbose=0)
    assert model.evaluate(x, y, verbose=0) == before


def test_all_outputs_agree_with_each_other(rng):
    x, y = data(rng)
    calibrated = calibrate(network(), x, y, from_logits=True, outputs="all", verbose=0)
    found = predict(calibrated, x)
    assert sorted(found) == ["logits", "probabilities"]
    expected = reference.softmax64(found["logits"])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


def batches(kind, *arrays):
    if kind == "dataset":
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensor_slices(arrays).shuffle(500).batch(64)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return tuple(array[i * 64 : (i + 1) * 64] for array in arrays)

    return Batches() if kind == "py_dataset" else (Batches()[i] for i in range(5))


@pytest.mark.parametrize("kind", ["dataset", "py_dataset", "generator"])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_give_the_temperature_of_arrays(rng, kind, weighted):
    x, y = data(rng)
    weights = rng.uniform(0.1, 2, 300).astype("float32") if weighted else None
    arrays = (x, y, weights) if weighted else (x, y)
    kwargs = {"from_logits": True, "verbose": 0}
    expected = calibrate(network(), x, y, sample_weight=weights, **kwargs)
    found = calibrate(network(), batches(kind, *arrays), **kwargs)
    for model in (expected, found):
        assert model.get_layer("temperature").temperature > 1.5
    assert found.get_layer("temperature").temperature == pytest.approx(
        expected.get_layer("temperature").temperature, rel=1e-5
    )


def test_logits_declared_as_probabilities_raise(rng):
    with pytest.raises(ValueError, match=r"`from_logits` must say .* pass from_logits=True"):
        calibrate(network(), *data(rng), verbose=0)


def test_probabilities_declared_as_logits_raise(rng):
    with pytest.raises(ValueError, match=r"`from_logits` must say .* pass from_logits=False"):
        calibrate(network(activation="softmax"), *data(rng), from_logits=True, verbose=0)


def test_binary_logits_that_look_like_probabilities_warn(rng):
    # Logits of one column may all lie in [0, 1]: doubtful, not impossible.
    x = rng.random((300, 1)).astype("float32")
    y = rng.random(300) < 0.6
    # Not pytest.warns, which turns the warnings of the frameworks themselves into errors.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrate(network(1, scale=1.0), x, y, from_logits=True, verbose=0)
    assert any("`from_logits` must say" in str(warning.message) for warning in caught)


def test_a_label_in_the_unit_interval_is_no_probability_beside_other_logits(rng):
    logits = np.stack([rng.random(300), 3 * rng.normal(size=300)], axis=1).astype("float32")
    labels = (rng.random(logits.shape) < 0.6).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Activation("linear")])
    of_label = {"multi_label": "per_label", "from_logits": True, "verbose": 0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for fit in (fit_temperature, fit_focal_temperature):
            fit(logits, labels, **of_label)
            fit([(logits[:150], labels[:150]), (logits[150:], labels[150:])], **of_label)
        calibrate(model, logits, labels, **of_label)
    assert not [w for w in caught if "`from_logits` must say" in str(w.message)]
    with pytest.warns(UserWarning, match="`from_logits` must say"):
        fit_temperature(logits[:, [0, 0]], labels, **of_label)


def test_data_that_are_empty_or_not_finite_raise(rng):
    x, y = data(rng)
    with pytest.raises(ValueError, match=r"`x` must hold at least one sample"):
        calibrate(network(), x[:0], y[:0], from_logits=True, verbose=0)
    with pytest.raises(ValueError, match=r"`x` must yield at least one batch"):
        calibrate(network(), iter(()), from_logits=True, verbose=0)
    with pytest.raises(ValueError, match=r"`logits` must be finite"):
        calibrate(network(), np.full_like(x, np.nan), y, from_logits=True, verbose=0)


def test_labels_left_out_or_given_twice_raise(rng):
    x, y = data(rng)
    with pytest.raises(ValueError, match=r"`y` must be given with array inputs"):
        calibrate(network(), x, from_logits=True, verbose=0)
    with pytest.raises(ValueError, match=r"`y` and `sample_weight` must be None"):
        calibrate(network(), iter([(x, y)]), y, from_logits=True, verbose=0)
    with pytest.raises(ValueError, match=r"`x` must yield batches \(x, y\)"):
        calibrate(network(), iter([x]), from_logits=True, verbose=0)


@pytest.mark.parametrize("argument", ["outputs", "criterion"])
def test_unknown_choices_raise(rng, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be one of"):
        calibrate(network(), *data(rng), from_logits=True, verbose=0, **{argument: "other"})
