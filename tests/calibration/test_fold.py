"""calibrate(fold=True): the same probabilities from a graph of not one operation more."""

import backends
import keras
import numpy as np
import pytest
import reference
from keras import layers
from networks import noisy_labels, predict

from keras_focal.calibration import calibrate

# What calibration computes is the matter here, not the traced `predict` of a model.
pytestmark = pytest.mark.usefixtures("few_steps")


def network(*heads, shape=(4,)):
    """Return a network with kernels that make it give logits of some size."""
    model = keras.Sequential([keras.Input(shape), layers.Dense(5, "tanh"), *heads])
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1.5, weight.shape) for weight in model.get_weights()])
    return model


def logits_of(outputs, from_logits):
    outputs = outputs.astype("float64")
    if from_logits:
        return outputs
    return np.log(outputs / (1 - outputs)) if outputs.shape[-1] == 1 else np.log(outputs)


def probabilities_of(logits):
    return 1 / (1 + np.exp(-logits)) if logits.shape[-1] == 1 else reference.softmax64(logits)


def folded_and_expected(model, rng, from_logits, shape=(4,), **kwargs):
    """Return inputs, a folded model, and the probabilities that it must give."""
    x = rng.normal(size=(200, *shape)).astype("float32")
    logits = logits_of(predict(model, x), from_logits)
    y = noisy_labels(logits, rng)
    folded, fit = calibrate(
        model, x, y, from_logits=from_logits, fold=True, return_fit=True, verbose=0, **kwargs
    )
    assert fit.temperature > 1.5
    return x, folded, probabilities_of(logits / fit.temperature)


HEADS = {
    "dense": lambda a: layers.Dense(3, a),
    "dense_without_bias": lambda a: layers.Dense(3, a, use_bias=False),
    "einsum": lambda a: layers.EinsumDense("bd,dk->bk", 3, bias_axes="k", activation=a),
    "sigmoid": lambda a: layers.Dense(1, a and "sigmoid"),
}


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("head", HEADS)
def test_folded_probabilities_are_those_of_the_temperature(rng, head, activation):
    model = network(HEADS[head](activation))
    x, folded, expected = folded_and_expected(model, rng, activation is None)
    np.testing.assert_allclose(predict(folded, x), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D"])
def test_convolutions_fold(rng, kind):
    shape = (2,) * int(kind[4]) + (4,)
    model = network(getattr(layers, kind)(3, 1), shape=shape)
    x, folded, expected = folded_and_expected(model, rng, True, shape)
    np.testing.assert_allclose(predict(folded, x), expected, atol=1e-6)


ENDINGS = {
    "logits": lambda: [layers.Dense(3)],
    "softmax": lambda: [layers.Dense(3, "softmax")],
    "activation": lambda: [layers.Dense(3), layers.Activation("softmax")],
    "softmax_layer": lambda: [layers.Dense(3), layers.Softmax()],
    "sigmoid": lambda: [layers.Dense(1, "sigmoid")],
    "sigmoid_layer": lambda: [layers.Dense(1), layers.Activation("sigmoid")],
    "convolution": lambda: [layers.Reshape((1, 5)), layers.Conv1D(3, 1)],
}


@pytest.mark.skipif(backends.BACKEND == "torch", reason="torch runs without a graph")
@pytest.mark.parametrize("ending", ENDINGS)
def test_folded_graph_has_the_operations_of_the_model_with_its_softmax(rng, ending):
    model = network(*ENDINGS[ending]())
    from_logits = ending in ("logits", "convolution")
    x, folded, expected = folded_and_expected(model, rng, from_logits)
    np.testing.assert_allclose(predict(folded, x), expected, atol=1e-6)
    if from_logits:
        model = keras.Sequential([keras.Input((4,)), *model.layers, layers.Softmax()])
    assert backends.operations(folded, x) == backends.operations(model, x)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_all_outputs_of_a_folded_model_are_calibrated(rng, activation):
    model = network(layers.Dense(3, activation))
    x, folded, expected = folded_and_expected(model, rng, activation is None, outputs="all")
    found = predict(folded, x)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(reference.softmax64(found["logits"]), expected, atol=1e-6)


def test_model_keeps_its_weights_and_shares_all_but_the_last(rng):
    sequential = network(layers.Dense(3))
    model = keras.Model(sequential.inputs[0], sequential.outputs[0])
    weights = [weight.copy() for weight in model.get_weights()]
    _, folded, _ = folded_and_expected(model, rng, True)
    for weight, was in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, was)
    _, first, last = model.layers
    kept = folded.get_layer(model.name).layers
    assert any(layer is first for layer in kept)
    assert not any(layer is last for layer in [*kept, *folded.layers])
    assert folded.count_params() == model.count_params()


def test_saved_folded_model_needs_no_layer_of_the_package(rng, tmp_path):
    x, folded, _ = folded_and_expected(network(layers.Dense(3)), rng, True)
    assert all(type(layer).__module__.startswith("keras.") for layer in folded.layers)
    folded.save(tmp_path / "m.keras")
    reloaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(predict(reloaded, x), predict(folded, x))


def sequential(inputs, layer):
    return keras.Sequential([inputs, layers.Rescaling(0.9, name="head"), layer])


def functional(inputs, layer):
    return keras.Model(inputs, layer(layers.Rescaling(0.9, name="head")(inputs)))


@pytest.mark.parametrize("within", [sequential, functional])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_last_layer_of_a_model_in_a_model_folds(rng, activation, within):
    model = network(layers.Dense(3, activation, name="head"))
    for _ in range(2):
        model = within(keras.Input((4,)), model)
    x, folded, expected = folded_and_expected(model, rng, activation is None)
    np.testing.assert_allclose(predict(folded, x), expected, atol=1e-6)


def test_folded_model_can_be_folded_again(rng):
    x, once, expected = folded_and_expected(network(layers.Dense(3)), rng, True)
    y = noisy_labels(np.log(expected), rng, temperature=1.0)
    twice, fit = calibrate(once, x, y, fold=True, return_fit=True, verbose=0)
    again = probabilities_of(np.log(expected) / fit.temperature)
    np.testing.assert_allclose(predict(twice, x), again, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_half_precision_layers_fold(rng, dtype):
    x, folded, expected = folded_and_expected(network(layers.Dense(3, dtype=dtype)), rng, True)
    found = predict(folded, x)
    assert found.dtype == "float32"
    # The scaled weights are rounded anew.
    np.testing.assert_allclose(found, expected, atol=0.02)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.head = layers.Dense(3)

    def call(self, x):
        return self.head(x)


class Tripled(layers.Dense):
    """Not what its base gives."""

    def call(self, x):
        return 3.0 * super().call(x)


def refused(model, rng, match, name=None):
    """Assert that an output of three classes of a model of (3,) does not fold."""
    x = rng.normal(size=(50, 3)).astype("float32")
    y = np.arange(50) % 3
    with pytest.raises(ValueError, match=f"`fold` must be False .*{match}.* Pass fold=False"):
        calibrate(model, x, {name: y} if name else y, from_logits=True, fold=True, verbose=0)


def quantized():
    layer = layers.Dense(3, name="last")
    layer.build((None, 3))
    layer.quantize("int8")
    return layer


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (lambda: layers.LayerNormalization(name="last"), "is of type LayerNormalization, not"),
        (lambda: layers.Dense(3, "tanh", name="last"), "has the activation tanh, not linear"),
        (lambda: Tripled(3, name="last"), "is of type Tripled, not"),
        (lambda: layers.Dense(3, lora_rank=2, name="last"), "is quantized or has LoRA"),
        (quantized, "is quantized or has LoRA"),
    ],
)
def test_layers_that_do_not_fold_raise(rng, last, reason):
    inputs = keras.Input((3,))
    refused(keras.Model(inputs, last()(inputs)), rng, f"layer 'last' {reason}")


def reused(inputs):
    head = layers.Dense(3, name="head")
    return head(head(inputs))


def both_given(inputs):
    logits = layers.Dense(3, name="head")(inputs)
    return {"a": logits, "b": layers.Softmax()(logits)}


def siamese(inputs):
    head = layers.Dense(3, name="head")
    return {"a": head(inputs), "b": head(layers.Rescaling(2.0)(inputs))}


@pytest.mark.parametrize("outputs", [reused, both_given, siamese])
def test_layer_that_is_used_twice_raises(rng, outputs):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, outputs(inputs))
    refused(model, rng, "layer 'head' is used more than once", outputs is not reused and "a")


def test_model_without_a_graph_raises(rng):
    refused(Subclassed(), rng, "layer 'subclassed' is a subclassed model")


def test_one_of_several_outputs_of_a_model_in_a_model_raises(rng):
    inputs, inner = keras.Input((3,)), keras.Input((3,))
    several = keras.Model(inner, [layers.Dense(3)(inner), layers.Dense(3)(inner)], name="several")
    model = keras.Model(inputs, several(inputs)[0])
    refused(model, rng, "layer 'several' is a model of several outputs")


def test_model_without_a_layer_raises(rng):
    inputs = keras.Input((3,), name="z")
    refused(keras.Model(inputs, inputs), rng, "fold=True for 'z'")


PER_LABEL = {
    "dense": ((), lambda a: layers.Dense(3, a)),
    "einsum": ((), lambda a: layers.EinsumDense("bd,kd->bk", 3, bias_axes="k", activation=a)),
    "convolution": ((2,), lambda a: layers.Conv1D(3, 1, activation=a)),
    "transposed": ((2,), lambda a: layers.Conv1DTranspose(3, 1, activation=a, use_bias=False)),
}


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("head", PER_LABEL)
def test_temperatures_of_each_label_fold_into_its_weights(rng, head, activation):
    shape, made = PER_LABEL[head]
    model = network(made(activation), shape=(*shape, 4))
    x = rng.normal(size=(200, *shape, 4)).astype("float32")
    z = predict(model, x).astype("float64")
    z = z if activation is None else np.log(z / (1 - z))
    y = (z / [1.0, 2.0, 4.0] > rng.logistic(size=z.shape)).astype(int)
    given = {"from_logits": activation is None, "multi_label": "per_label", "verbose": 0}
    folded, fits = calibrate(model, x, y, fold=True, return_fit=True, **given)
    temperatures = [fit.temperature for fit in fits]
    assert temperatures[2] > 1.5 * temperatures[0]
    np.testing.assert_allclose(predict(folded, x), 1 / (1 + np.exp(-z / temperatures)), atol=1e-5)
    behind = calibrate(model, x, y, **given)
    assert behind.get_layer("temperature").temperature == pytest.approx(temperatures, rel=1e-5)
    np.testing.assert_allclose(predict(behind, x), predict(folded, x), atol=1e-5)


def test_labels_without_weights_of_their_own_do_not_fold(rng):
    head = layers.EinsumDense("bde,e->bd", 3, activation="sigmoid")
    model = network(layers.Dense(12), layers.Reshape((3, 4)), head)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.integers(0, 2, (20, 3))
    with pytest.raises(ValueError, match="has no weights of its own for each label"):
        calibrate(model, x, y, multi_label="per_label", fold=True, verbose=0)
