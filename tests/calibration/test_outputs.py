"""calibrate with models of several outputs, of pixels, and models that were loaded."""

import keras
import numpy as np
import pytest
import reference
from keras import layers
from networks import noisy_labels, predict

from keras_focal.calibration import TemperatureFit, calibrate, fit_temperature

# What calibration computes is the matter here, not the traced `predict` of a model.
pytestmark = pytest.mark.usefixtures("few_steps")

SIZE = 200


def over_confident(x, classes, name, activation=None):
    kernel = keras.initializers.RandomNormal(stddev=2.0, seed=0)
    return layers.Dense(classes, activation, kernel_initializer=kernel, name=name)(x)


def heads(kind):
    """Return a network of outputs "a" of 3 classes, "b" of one column, and "size", a regression."""
    inputs = keras.Input((4,))
    outputs = {
        "a": over_confident(inputs, 3, "a"),
        "b": over_confident(inputs, 1, "b"),
        "size": layers.Dense(2, name="size")(inputs),
    }
    return keras.Model(inputs, outputs if kind is dict else kind(outputs.values()))


def labels_for(model, x, rng):
    """Return labels of "a" and "b" for a network of logits, with their temperatures."""
    found = predict(model, x)
    logits = dict(zip("ab", listed(found)[:2], strict=True))
    labels = {name: noisy_labels(logits[name], rng) for name in "ab"}
    return labels, {name: fit_temperature(logits[name], labels[name]).temperature for name in "ab"}


def listed(found):
    return [*found.values()] if isinstance(found, dict) else found


def expected_of(model, x, temperatures):
    """Return the outputs of a network of logits, calibrated."""
    a, b, size = listed(predict(model, x))
    return [
        reference.softmax64(a.astype("float64") / temperatures["a"]),
        1 / (1 + np.exp(-b.astype("float64") / temperatures["b"])),
        size,
    ]


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_every_labelled_output_is_calibrated_in_its_place(rng, kind, fold):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = heads(kind)
    labels, temperatures = labels_for(model, x, rng)
    y = labels if kind is dict else [labels["a"], labels["b"], None]
    calibrated, fits = calibrate(
        model, x, y, from_logits=True, fold=fold, return_fit=True, verbose=0
    )
    found = predict(calibrated, x)
    assert type(found) is kind
    for value, expected in zip(listed(found), expected_of(model, x, temperatures), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)
    assert {name: fit.temperature for name, fit in fits.items()} == pytest.approx(temperatures)
    if not fold:
        for name in "ab":
            layer = calibrated.get_layer(f"{name}_temperature")
            assert layer.temperature == pytest.approx(temperatures[name])


def test_logits_and_probabilities_may_stand_side_by_side(rng):
    inputs = keras.Input((4,))
    logits = over_confident(inputs, 3, "head")
    model = keras.Model(inputs, {"a": logits, "b": layers.Softmax()(logits)})
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    y = noisy_labels(predict(model, x)["a"], rng)
    labels, declared = {"a": y, "b": y}, {"a": True, "b": False}
    calibrated = calibrate(model, x, labels, from_logits=declared, verbose=0)
    found = predict(calibrated, x)
    np.testing.assert_allclose(found["a"], found["b"], atol=1e-5)


def test_all_outputs_are_named_after_their_output(rng):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = heads(dict)
    labels, _ = labels_for(model, x, rng)
    calibrated = calibrate(model, x, labels, from_logits=True, outputs="all", verbose=0)
    found = predict(calibrated, x)
    names = {"a_logits", "a_probabilities", "b_logits", "b_probabilities", "size"}
    assert {*found} == names
    np.testing.assert_allclose(
        found["a_probabilities"], reference.softmax64(found["a_logits"]), atol=1e-6
    )


@pytest.mark.parametrize("weighted", ["not", "each", "shared"])
def test_batches_of_several_outputs_give_the_temperatures_of_arrays(rng, weighted):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = heads(dict)
    labels, _ = labels_for(model, x, rng)
    weights = {name: rng.uniform(0.1, 2.0, SIZE) for name in "ab"}
    given = {"not": None, "each": weights, "shared": weights["a"]}[weighted]
    arrays = (x, labels) if given is None else (x, labels, given)

    def part(i):
        return keras.tree.map_structure(lambda array: array[i * 60 : (i + 1) * 60], arrays)

    kwargs = {"from_logits": True, "return_fit": True, "verbose": 0}
    _, expected = calibrate(model, x, labels, sample_weight=given, **kwargs)
    _, found = calibrate(model, (part(i) for i in range(4)), **kwargs)
    for name in "ab":
        assert found[name].temperature == pytest.approx(expected[name].temperature, rel=1e-5)
    if weighted == "shared":
        weighted_alone = {"a": weights["a"], "b": weights["a"]}
        _, alone = calibrate(model, x, labels, sample_weight=weighted_alone, **kwargs)
        assert alone == expected


def test_subclassed_models_of_several_outputs_are_taken(rng):
    class Two(keras.Model):
        def call(self, x):
            return {"a": 3.0 * x[:, :3], "b": 3.0 * x[:, 3:]}

    x = rng.normal(size=(SIZE, 4)).astype("float32")
    labels, temperatures = labels_for(Two(), x, rng)
    model = Two()
    for _ in range(2):  # a model that has been called keeps the names of its outputs
        _, fits = calibrate(model, x, labels, from_logits=True, return_fit=True, verbose=0)
        assert {name: fit.temperature for name, fit in fits.items()} == pytest.approx(temperatures)


class Split(layers.Layer):
    def call(self, x):
        return {"a": 3.0 * x[:, :3], "b": 3.0 * x[:, 3:]}


def test_sequence_that_ends_in_several_outputs_is_taken(rng):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), Split()])
    labels, temperatures = labels_for(model, x, rng)
    _, fits = calibrate(model, x, labels, from_logits=True, return_fit=True, verbose=0)
    assert {name: fit.temperature for name, fit in fits.items()} == pytest.approx(temperatures)


def test_batches_need_not_label_every_output(rng):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = heads(dict)
    labels, temperatures = labels_for(model, x, rng)
    y, seen = labels["b"], slice(0, 150)
    batches = [(x[seen], {"a": labels["a"][seen], "b": y[seen]}), (x[150:], {"b": y[150:]})]
    _, fits = calibrate(model, batches, from_logits=True, return_fit=True, verbose=0)
    assert fits["b"].temperature == pytest.approx(temperatures["b"], rel=1e-5)
    assert (fits["a"].num_samples, fits["b"].num_samples) == (150, SIZE)


def test_one_output_in_a_dict_stays_in_it(rng):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"z": over_confident(inputs, 3, "head")})
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    y = noisy_labels(predict(model, x)["z"], rng)
    for labels in (y, {"z": y}):
        calibrated, fit = calibrate(model, x, labels, from_logits=True, return_fit=True, verbose=0)
        assert [*predict(calibrated, x)] == ["z"]
        assert isinstance(fit, TemperatureFit)
        layer = calibrated.get_layer("temperature")
        assert layer.temperature == pytest.approx(fit.temperature)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_pixels_share_one_temperature(rng, activation, fold):
    inputs = keras.Input((6, 5, 2))
    kernel = keras.initializers.RandomNormal(stddev=2.0, seed=0)
    head = layers.Conv2D(3, 1, activation=activation, kernel_initializer=kernel)
    model = keras.Model(inputs, head(layers.Conv2D(4, 3, padding="same")(inputs)))
    x = rng.normal(size=(20, 6, 5, 2)).astype("float32")
    outputs = predict(model, x).astype("float64")
    logits = outputs if activation is None else np.log(outputs)
    y = noisy_labels(logits, rng)
    weights = (np.arange(20) % 2).astype("float32")
    calibrated, fit = calibrate(
        model,
        x,
        y,
        from_logits=activation is None,
        fold=fold,
        return_fit=True,
        sample_weight=weights,
        verbose=0,
    )
    expected = fit_temperature(logits[1::2], y[1::2]).temperature
    assert fit.temperature == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        predict(calibrated, x), reference.softmax64(logits / fit.temperature), atol=1e-6
    )


@pytest.mark.parametrize("fold", [False, True])
def test_loaded_models_are_calibrated_as_those_saved(rng, tmp_path, fold):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, over_confident(inputs, 3, "head", "softmax"))
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    y = noisy_labels(np.log(predict(model, x)), rng)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    found, expected = (
        predict(calibrate(each, x, y, fold=fold, verbose=0), x) for each in (loaded, model)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fit_says_what_the_model_does(rng):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, over_confident(inputs, 3, "head"))
    logits = predict(model, x)
    y = noisy_labels(logits, rng)
    calibrated, fit = calibrate(model, x, y, from_logits=True, return_fit=True, verbose=0)
    # Predictions may differ by a rounding error where the size of a batch does.
    expected = vars(fit_temperature(logits, y))
    assert vars(fit) == {
        name: value if isinstance(value, str | bool) else pytest.approx(value, rel=1e-6)
        for name, value in expected.items()
    }
    after = reference.nll(y, np.log(predict(calibrated, x).astype("float64")))
    assert fit.nll_after == pytest.approx(after, rel=1e-5)


# --- errors


def test_labels_that_name_no_output_raise(rng):
    x, y = np.zeros((6, 4), "float32"), np.arange(6) % 3
    with pytest.raises(ValueError, match=r"`y` must be keyed by .*'a', 'b', 'size'.*'c'"):
        calibrate(heads(dict), x, {"a": y, "c": y}, from_logits=True, verbose=0)
    for few in (y, [y], [y] * 4):
        with pytest.raises(ValueError, match=r"`y` must be a dict or list with one entry for each"):
            calibrate(heads(list), x, few, from_logits=True, verbose=0)
    for none in ({}, {"a": None}):
        with pytest.raises(ValueError, match=r"`y` must hold labels for at least one output"):
            calibrate(heads(dict), x, none, from_logits=True, verbose=0)


def test_outputs_without_a_declaration_raise(rng):
    x, y = np.zeros((6, 4), "float32"), {"a": np.arange(6) % 3, "b": np.arange(6) % 2}
    for declared in ({"a": True}, "yes"):
        with pytest.raises(ValueError, match=r"`from_logits` must be True or False, or a dict"):
            calibrate(heads(dict), x, y, from_logits=declared, verbose=0)


def test_outputs_inside_outputs_raise():
    inputs = keras.Input((4,))
    nested = {"a": {"b": layers.Dense(3)(inputs)}}
    with pytest.raises(ValueError, match=r"`model` must have one output, or a dict or list"):
        calibrate(keras.Model(inputs, nested), np.zeros((6, 4)), np.zeros(6), verbose=0)


def test_error_of_one_of_several_outputs_names_it(rng):
    x = rng.normal(size=(SIZE, 4)).astype("float32")
    model = heads(dict)
    labels, _ = labels_for(model, x, rng)
    labels["b"] = labels["b"] + 7
    with pytest.raises(ValueError, match=r"`labels` must be class ids") as caught:
        calibrate(model, x, labels, from_logits=True, verbose=0)
    assert caught.value.__notes__ == ["This is of the output 'b'."]
