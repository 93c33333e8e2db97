"""FocalPosterior: the map as a layer of a model that is saved, loaded and composed."""

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from keras import ops

from keras_focal.layers import FocalPosterior


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (64, 4)).astype("float32")


def test_layer_gives_the_posterior_of_a_focal_minimiser(rng):
    eta = rng.dirichlet(np.ones(4), 20)
    q = reference.focal_minimiser(eta, 3.0)
    found = to_numpy(ops.softmax(FocalPosterior(3.0)(np.log(q).astype("float32"))))
    np.testing.assert_allclose(found, eta, atol=1e-6)
    assert np.abs(q - eta).max() > 0.1


def test_probabilities_of_a_softmax_are_turned_back_into_logits(logits):
    of_logits = ops.softmax(FocalPosterior(2.0)(logits))
    of_probabilities = ops.softmax(FocalPosterior(2.0, inputs="probabilities")(ops.softmax(logits)))
    np.testing.assert_allclose(to_numpy(of_probabilities), to_numpy(of_logits), atol=1e-6)


def test_probability_of_a_sigmoid_is_that_of_the_positive_class():
    z = np.array([[-3.0], [0.0], [0.5], [4.0]], "float32")
    found = to_numpy(FocalPosterior(2.0, inputs="probabilities")(ops.sigmoid(z)))
    np.testing.assert_allclose(found, to_numpy(FocalPosterior(2.0)(z)), rtol=1e-5, atol=1e-6)


def test_with_a_temperature_it_is_focal_temperature_scaling(logits):
    model = keras.Sequential([keras.Input((4,)), FocalPosterior(1.5, 2.0), keras.layers.Softmax()])
    expected = [np.exp(reference.focal_posterior(row / 2.0, 1.5)) for row in logits[:5]]
    expected = [row / row.sum() for row in expected]
    np.testing.assert_allclose(to_numpy(model(logits))[:5], expected, rtol=1e-5, atol=1e-7)


def test_compiled_with_a_temperature_it_gives_what_it_gives_eagerly(logits):
    # A compiler that fuses the division leaves the largest logit a rounding away from itself.
    layer = FocalPosterior(-0.4, 2.7)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(jit_compile=keras.backend.backend() != "torch")
    found = model.predict(logits, verbose=0)
    np.testing.assert_allclose(found, to_numpy(layer(logits)), rtol=1e-5, atol=1e-6)


def test_temperature_and_gamma_are_the_weights_and_frozen(logits):
    layer = FocalPosterior(2.0)
    assert [tuple(weight.shape) for weight in layer.weights] == [(), ()]
    layer.trainable = True
    assert layer.trainable_weights == []
    assert layer.supports_masking


def test_saved_model_carries_the_gamma_of_the_weight(logits, tmp_path):
    model = keras.Sequential([keras.Input((4,)), FocalPosterior(2.0, name="posterior")])
    model.get_layer("posterior").weights[1].assign(3.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("posterior").gamma == 3.0
    np.testing.assert_array_equal(to_numpy(loaded(logits)), to_numpy(model(logits)))


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf"), "2", None, True])
def test_gamma_that_no_map_has_raises(gamma):
    with pytest.raises(ValueError, match="`gamma` must be a finite number > -1"):
        FocalPosterior(gamma)


def test_unknown_kind_of_input_raises():
    with pytest.raises(ValueError, match="`inputs` must be one of 'logits', 'probabilities'"):
        FocalPosterior(inputs="odds")
