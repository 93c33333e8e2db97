"""ConformalSets: sets of classes as a layer behind the probabilities."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND
from keras import ops

from keras_focal.layers import ConformalSets

METHODS = ("lac", "aps", "raps")


def sets_of(layer, *inputs):
    return ops.convert_to_numpy(layer(*inputs))


@pytest.fixture
def probabilities(rng):
    return rng.dirichlet(np.ones(6), 50).astype("float32")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("allow_empty", [False, True])
def test_set_holds_the_classes_up_to_the_threshold(probabilities, method, allow_empty):
    layer = ConformalSets(0.6, method, penalty=0.05, rank=2, allow_empty=allow_empty)
    expected = np.array(
        [
            [reference.conformal_score(row, c, method, 0.05, 2) <= 0.6 for c in range(6)]
            for row in probabilities
        ]
    )
    assert (expected.sum(axis=1) == 0).any()
    if not allow_empty:
        expected[np.arange(50), probabilities.argmax(axis=1)] = True
    np.testing.assert_array_equal(sets_of(layer, probabilities), expected)


@pytest.mark.parametrize("method", METHODS)
def test_sets_of_logits_are_those_of_their_softmax(probabilities, method):
    of_logits = ConformalSets(0.7, method, inputs="logits")
    np.testing.assert_array_equal(
        sets_of(of_logits, np.log(probabilities) + 3),
        sets_of(ConformalSets(0.7, method), probabilities),
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_column_is_the_positive_of_two_classes(method):
    p = np.array([[0.05], [0.4], [0.5], [0.6], [0.97]], "float32")
    two = np.concatenate([1 - p, p], axis=1)
    expected = sets_of(ConformalSets(0.55, method), two)
    np.testing.assert_array_equal(sets_of(ConformalSets(0.55, method), p), expected)
    z = np.log(p) - np.log1p(-p)
    of_logits = ConformalSets(0.55, method, inputs="logits")
    np.testing.assert_array_equal(sets_of(of_logits, z), expected)


@pytest.mark.parametrize("row", [[np.nan, 0.5, 0.5], [0.9, 0.9, 0.9], [1.5, -0.5, 0.0], [0, 0, 0]])
@pytest.mark.parametrize("method", METHODS)
def test_set_of_what_is_no_distribution_holds_every_class(row, method):
    p = np.array([row, [0.98, 0.01, 0.01]], "float32")
    assert sets_of(ConformalSets(0.1, method), p).sum(axis=1).tolist() == [3, 1]


def test_random_numbers_are_given_with_the_inputs(probabilities, rng):
    layer = ConformalSets(0.6, "aps", randomized=True, allow_empty=True)
    u = rng.random((50, 1), dtype="float32")
    expected = [
        [reference.conformal_score(row, c, "aps", u=of_row) <= 0.6 for c in range(6)]
        for row, of_row in zip(probabilities, u[:, 0], strict=True)
    ]
    np.testing.assert_array_equal(sets_of(layer, probabilities, u), expected)
    with pytest.raises(ValueError, match=r"`u` must be given with randomized=True"):
        layer(probabilities)
    with pytest.raises(ValueError, match=r"`u` must be None with randomized=False"):
        ConformalSets(0.6, "aps")(probabilities, u)


def test_randomized_layer_takes_its_numbers_from_an_input_of_the_model(
    probabilities, rng, tmp_path
):
    p, u = keras.Input((6,), name="p"), keras.Input((1,), name="u")
    model = keras.Model([p, u], ConformalSets(0.6, "raps", randomized=True)(p, u))
    model.save(tmp_path / "m.keras")
    given = [probabilities, rng.random((50, 1), dtype="float32")]
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        loaded.predict(given, verbose=0), sets_of(model.layers[-1], *given)
    )


def test_pixels_have_a_set_each(rng):
    p = rng.dirichlet(np.ones(3), (2, 4, 4)).astype("float32")
    model = keras.Sequential([keras.Input((None, None, 3)), ConformalSets(0.6)])
    assert model.outputs[0].dtype == "bool"
    found = model.predict(p, verbose=0)
    assert found.shape == p.shape
    assert found.dtype == bool


def test_half_precision_gives_the_sets_of_its_values(probabilities):
    half = ops.cast(probabilities, "bfloat16")
    layer = ConformalSets(0.7, "aps", dtype="bfloat16")
    np.testing.assert_array_equal(
        sets_of(layer, half), sets_of(ConformalSets(0.7, "aps"), ops.cast(half, "float32"))
    )


def test_threshold_is_a_frozen_weight_that_is_saved(probabilities, tmp_path):
    model = keras.Sequential([keras.Input((6,)), ConformalSets(0.9, name="sets")])
    layer = model.get_layer("sets")
    assert len(layer.weights) == 1
    assert not layer.trainable_weights
    layer.weights[0].assign(0.25)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("sets").threshold == 0.25
    np.testing.assert_array_equal(
        loaded.predict(probabilities, verbose=0), sets_of(layer, probabilities)
    )


@pytest.mark.skipif(BACKEND == "torch", reason="Keras exports no SavedModel from torch")
def test_saved_model_gives_the_sets(probabilities, tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = keras.Sequential([keras.Input((6,)), ConformalSets(0.7, "raps")])
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_array_equal(
        served.serve(probabilities), sets_of(model.layers[-1], probabilities)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": -0.1}, "`threshold` must be a finite number >= 0"),
        ({"threshold": float("inf")}, "`threshold` must be a finite number >= 0"),
        ({"threshold": 0.5, "method": "hinge"}, "`method` must be one of"),
        ({"threshold": 0.5, "randomized": True}, "`randomized` must be one of False"),
        ({"threshold": 0.5, "penalty": -1}, "`penalty` must be a finite number >= 0"),
        ({"threshold": 0.5, "inputs": "odds"}, "`inputs` must be one of"),
    ],
)
def test_what_is_no_setting_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConformalSets(**arguments)
