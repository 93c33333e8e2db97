"""Calibration maps as layers: identity, shapes, half precision, saving, export, accuracy."""

import keras
import numpy as np
import pytest
from backends import BACKEND, to_numpy
from keras import ops

from keras_focal import layers


def ones(classes, value=1.0):
    return [value] * classes


def table(rows, classes):
    return [rows] * classes


# The map that gives every class its own probability, for any number of classes.
GRID = np.linspace(-12.0, 12.0, 241)
IDENTITIES = {
    "VectorScaling": lambda k: ([*ones(k)], [*ones(k, 0.0)]),
    "MatrixScaling": lambda k: (np.eye(k).tolist(), ones(k, 0.0)),
    "DirichletCalibration": lambda k: (np.eye(k).tolist(), ones(k, 0.0)),
    "StructuredVectorScaling": lambda k: (1.0, ones(k), ones(k, 0.0)),
    "StructuredMatrixScaling": lambda k: (1.0, np.eye(k).tolist(), ones(k, 0.0)),
    "PlattScaling": lambda k: (ones(k), ones(k, 0.0)),
    "QuadraticScaling": lambda k: (ones(k, 0.0), ones(k), ones(k, 0.0)),
    "BetaCalibration": lambda k: (ones(k), ones(k), ones(k, 0.0)),
    "EnsembleTemperatureScaling": lambda k: (1.0, [0.5, 0.5, 0.0]),
    "IsotonicRegression": lambda k: (
        table(GRID.tolist(), k),
        table((1 / (1 + np.exp(-GRID))).tolist(), k),
    ),
    "HistogramBinning": lambda k: (
        table(GRID[1:].tolist(), k),
        table((1 / (1 + np.exp(-0.05 - GRID))).tolist(), k),
    ),
    "VennAbersCalibration": lambda k: (
        table(GRID[1:].tolist(), k),
        *[table((1 / (1 + np.exp(-0.05 - GRID))).tolist(), k)] * 2,
    ),
}
ROUNDING = {"IsotonicRegression": 5e-4, "HistogramBinning": 3e-2, "VennAbersCalibration": 3e-2}
CHANGED = {
    "VectorScaling": ([1.0, 1.0, 1.0], [0.0, 0.0, 4.0]),
    "MatrixScaling": ([[1.0, 0, 0], [0, 1, 0], [2, 0, 1]], [0.0, 0.0, 0.0]),
    "DirichletCalibration": ([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [0.0, 0.0, 4.0]),
    "StructuredVectorScaling": (2.0, [1.0, 1.0, 1.0], [0.0, 0.0, 4.0]),
    "StructuredMatrixScaling": (2.0, np.eye(3).tolist(), [0.0, 0.0, 4.0]),
    "PlattScaling": ([1.0, 1.0, 1.0], [0.0, 0.0, 4.0]),
    "QuadraticScaling": ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 4.0]),
    "BetaCalibration": ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 4.0]),
    "IsotonicRegression": (
        [[-5.0, 5.0]] * 3,
        [[0.0, 0.25], [0.0, 0.25], [0.5, 0.75]],
    ),
    "HistogramBinning": ([[0.0]] * 3, [[0.0, 0.25], [0.0, 0.25], [0.5, 0.75]]),
    "VennAbersCalibration": ([[0.0]] * 3, *[[[0.1, 0.25], [0.1, 0.25], [0.5, 0.75]]] * 2),
}
SEVERAL_CLASSES = ("DirichletCalibration", "StructuredVectorScaling", "StructuredMatrixScaling")
every_map = pytest.mark.parametrize("name", IDENTITIES)


def identity(name, classes, /, **kwargs):
    return getattr(layers, name)(*IDENTITIES[name](classes), **kwargs)


@pytest.fixture
def logits(rng):
    return rng.normal(0, 2, (64, 3)).astype("float32")


@every_map
def test_identity_map_gives_the_probabilities_back(name, logits):
    found = to_numpy(ops.softmax(identity(name, 3)(logits)))
    np.testing.assert_allclose(found, to_numpy(ops.softmax(logits)), atol=ROUNDING.get(name, 2e-6))


@every_map
def test_probabilities_go_through_their_logits(name, logits):
    p = to_numpy(ops.softmax(logits)).astype("float32")
    found = to_numpy(ops.softmax(identity(name, 3, inputs="probabilities")(p)))
    np.testing.assert_allclose(found, p, atol=ROUNDING.get(name, 2e-6))


@pytest.mark.parametrize("name", [name for name in IDENTITIES if name not in SEVERAL_CLASSES])
@pytest.mark.parametrize("inputs", ["logits", "probabilities"])
def test_binary_identity_gives_the_probability_back(name, inputs, logits):
    z = logits[:, :1]
    p = to_numpy(ops.sigmoid(z)).astype("float32")
    found = identity(name, 1, inputs=inputs)(z if inputs == "logits" else p)
    np.testing.assert_allclose(to_numpy(ops.sigmoid(found)), p, atol=ROUNDING.get(name, 2e-6))


@every_map
@pytest.mark.parametrize("row", [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
def test_certain_probabilities_give_finite_logits(name, row):
    found = identity(name, 3, inputs="probabilities")(np.array([row], "float32"))
    assert np.all(np.isfinite(to_numpy(found)))


@every_map
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 4, 3)])
def test_shape_stays(name, shape):
    layer = identity(name, 3)
    assert tuple(layer(np.zeros((2, *shape), "float32")).shape) == (2, *shape)
    assert tuple(layer(keras.Input(shape)).shape) == (None, *shape)


@every_map
def test_weights_are_frozen_float32_and_half_precision_logits_give_their_dtype(name, logits):
    layer = identity(name, 3, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(logits).dtype) == "bfloat16"
    layer.trainable = True
    assert layer.trainable_weights == []
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {
        "float32"
    }


@pytest.mark.parametrize("name", CHANGED)
def test_map_can_change_the_top_class(name):
    found = getattr(layers, name)(*CHANGED[name])(np.array([[1.0, 0.0, -0.5]], "float32"))
    assert to_numpy(found).argmax() == 2


def test_ensemble_keeps_the_top_class(logits):
    layer = layers.EnsembleTemperatureScaling(7.0, [0.25, 0.25, 0.5])
    np.testing.assert_array_equal(to_numpy(layer(logits)).argmax(-1), logits.argmax(-1))


@pytest.mark.parametrize("name", ["PlattScaling", "BetaCalibration", "IsotonicRegression"])
def test_binary_map_keeps_the_order_of_samples_and_may_move_the_threshold(name):
    arguments = {
        "PlattScaling": ([0.5], [1.0]),
        "BetaCalibration": ([0.5], [2.0], [1.0]),
        "IsotonicRegression": ([[-9.0, 9.0]], [[0.4, 0.9]]),
    }
    x = np.linspace(-8, 8, 50, dtype="float32")[:, None]
    found = to_numpy(getattr(layers, name)(*arguments[name])(x))[:, 0]
    assert np.all(np.diff(found) > 0)
    assert np.sum(found > 0) > np.sum(x > 0)


def test_parabola_turns_the_order_of_samples_where_it_turns():
    x = np.linspace(-8, 8, 161, dtype="float32")[:, None]
    found = to_numpy(layers.QuadraticScaling([-0.25], [1.0], [0.0])(x))[:, 0]
    assert x[found.argmax(), 0] == pytest.approx(2.0, abs=1e-5)


def test_interval_brackets_the_merged_probability_and_takes_what_the_layer_takes(logits):
    tables = ([[-1.0, 1.0]] * 3, [[0.0, 0.25, 0.75]] * 3, [[0.5, 0.5, 1.0]] * 3)
    layer = layers.VennAbersCalibration(*tables)
    p0, p1 = (to_numpy(each) for each in layer.interval(logits))
    assert p0.shape == p1.shape == logits.shape
    merged = p1 / (1 - p0 + p1)
    assert np.all((p0 <= merged) & (merged <= p1))
    shares = to_numpy(ops.softmax(layer(logits)))
    np.testing.assert_allclose(shares, merged / merged.sum(-1, keepdims=True), rtol=1e-5)
    of_p = layers.VennAbersCalibration(*tables, inputs="probabilities")
    given = of_p.interval(to_numpy(ops.softmax(logits)))
    np.testing.assert_allclose(to_numpy(given[0]), p0, atol=1e-6)


def test_ends_of_an_interval_keep_their_digits_near_0_and_1():
    ends = [1e-7, 1 - 1e-7]
    layer = layers.VennAbersCalibration([[0.0]], [ends], [ends])
    p0, p1 = (to_numpy(each)[:, 0] for each in layer.interval(np.array([[-1.0], [1.0]], "float32")))
    np.testing.assert_allclose(p0, ends, rtol=1e-6)
    np.testing.assert_allclose(p1, ends, rtol=1e-6)
    found = to_numpy(layer(np.array([[-1.0], [1.0]], "float32")))[:, 0]
    np.testing.assert_allclose(found, np.log([1e-7 / (1 - 1e-7), (1 - 1e-7) / 1e-7]), rtol=1e-6)


@every_map
def test_other_number_of_classes_raises(name):
    if name == "EnsembleTemperatureScaling":
        pytest.skip("its weights know no classes")
    with pytest.raises(ValueError, match="expected axis -1"):
        identity(name, 3)(np.zeros((2, 4), "float32"))


@every_map
def test_saved_model_carries_the_map(name, logits, tmp_path, few_steps):
    layer = identity(name, 3, name="map")
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Softmax()])
    weight = layer.weights[0]
    weight.assign(weight * 0.5 + 0.25)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found, expected = (one.get_config() for one in (loaded.get_layer("map"), layer))
    assert all(found[key] == expected[key] for key in expected if key != "dtype")
    np.testing.assert_array_equal(
        loaded.predict(logits, verbose=0), model.predict(logits, verbose=0)
    )


@pytest.mark.nightly
@pytest.mark.skipif(BACKEND != "tensorflow", reason="SavedModel is TensorFlow's")
def test_exported_model_serves_every_map_without_keras(logits, tmp_path):
    import tensorflow as tf

    inputs = keras.Input((3,))
    maps = {name: identity(name, 3)(inputs) for name in IDENTITIES}
    model = keras.Model(inputs, maps)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    served = loaded.serve(logits)
    for name, value in model(logits).items():
        np.testing.assert_allclose(served[name].numpy(), to_numpy(value), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: layers.VectorScaling([1.0], [float("nan")]), "`bias` must be a list of finite"),
        (lambda: layers.VectorScaling([1.0, 1.0], [0.0]), "one entry per class"),
        (lambda: layers.MatrixScaling([1.0], [0.0]), "`matrix` must be rows of finite"),
        (lambda: layers.MatrixScaling([[1.0, 0.0]], [0.0]), "one entry per class"),
        (lambda: layers.DirichletCalibration([[1.0]], [0.0]), "two classes or more"),
        (lambda: layers.StructuredVectorScaling(0.0, [1.0], [0.0]), "`temperature` must"),
        (lambda: layers.StructuredVectorScaling(1.0, [1.0], [0.0]), "two classes or more"),
        (lambda: layers.StructuredMatrixScaling(1.0, [[1.0, 0.0]], [0.0]), "one entry per class"),
        (lambda: layers.BetaCalibration([-1.0], [1.0], [0.0]), "`a` must be numbers >= 0"),
        (lambda: layers.EnsembleTemperatureScaling(1.0, [1.0, 1.0, 0.0]), "that sum to 1"),
        (lambda: layers.EnsembleTemperatureScaling(0.0, [1.0, 0.0, 0.0]), "`temperature` must"),
        (lambda: layers.HistogramBinning([[0.0]], [[0.5]]), "one more number than `edges`"),
        (lambda: layers.HistogramBinning([[0.0]], [[0.5, 1.5]]), r"numbers in \[0, 1\]"),
        (lambda: layers.IsotonicRegression([[1.0, 0.0]], [[0.1, 0.2]]), "`knots` must be rows"),
        (lambda: layers.IsotonicRegression([[0.0, 1.0]], [[0.2, 0.1]]), "`values` must be rows"),
        (lambda: layers.QuadraticScaling([1.0], [0.0, 1.0], [0.0]), "one entry per class"),
        (
            lambda: layers.VennAbersCalibration([[0.0]], [[0.5]], [[0.5, 1.0]]),
            "`lower` must have one more number than `edges`",
        ),
        (
            lambda: layers.VennAbersCalibration([[0.0]], [[0.5, 1.0]], [[0.5, 1.0]]),
            "`lower` must be numbers < 1",
        ),
        (
            lambda: layers.VennAbersCalibration([[0.0]], [[0.0, 0.5]], [[0.0, 0.5]]),
            "`upper` must be numbers > 0",
        ),
        (
            lambda: layers.VennAbersCalibration([[0.0]], [[0.5, 0.2]], [[0.5, 1.0]]),
            "`lower` must be rows of non-decreasing",
        ),
        (
            lambda: layers.VennAbersCalibration([[0.0]], [[0.0, 0.5]], [[0.5, 1.0]] * 2),
            "one entry per class",
        ),
        (lambda: layers.PlattScaling([1.0], [0.0], inputs="odds"), "`inputs` must be one of"),
    ],
)
def test_wrong_argument_raises(build, words):
    with pytest.raises(ValueError, match=words):
        build()
