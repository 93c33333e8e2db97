"""The batched Tree-LSTM against a recursion over one tree at a time."""

import keras
import numpy as np
import pytest
from nltk import Tree

import keras_focal
from examples.paper.data._types import Data
from examples.paper.data.sst import encode
from examples.paper.networks import _tree_lstm as module
from examples.paper.networks._tree_lstm import tree_lstm

BACKEND = keras.backend.backend()
SENTENCES = (
    "(4 (2 a) (3 good))",
    "(3 (2 (2 a) (1 dull)) (4 (2 but) (4 (2 so) (3 good))))",
    "(0 (1 (1 (1 (1 dull) (2 film)) (2 so)) (2 a)) (0 (2 but) (1 dull)))",
    "(1 dull)",
)
WORDS = ("", "<unknown>", "a", "but", "dull", "film", "good", "so")
WIDTH = 13


def encoded(*sentences, width=WIDTH, phrases=True):
    return encode([Tree.fromstring(s) for s in sentences], WORDS, width, phrases=phrases)


@pytest.fixture
def data():
    train = encoded(*SENTENCES)
    held_out = encoded(*SENTENCES, phrases=False)
    return Data("toy", train, held_out, held_out, ("negative", "positive"), WORDS)


@pytest.fixture
def model(data):
    return tree_lstm(data, units=3, embedding=4)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def recursion(tree, weights):
    """Hidden state and cell of the root, and the logits of all nodes, each before its children."""
    vectors, leaf_kernel, leaf_bias, kernel, bias, head, head_bias = weights
    units = len(head)
    if len(tree) == 1:
        z = vectors[WORDS.index(tree[0])] @ leaf_kernel + leaf_bias
        c = z[:units]
        h = sigmoid(z[units:]) * np.tanh(c)
        below = []
    else:
        (left_h, left_c, left), (right_h, right_c, right) = (recursion(t, weights) for t in tree)
        i, f_left, f_right, o, u = np.split(np.concatenate([left_h, right_h]) @ kernel + bias, 5)
        c = sigmoid(i) * np.tanh(u) + sigmoid(f_left) * left_c + sigmoid(f_right) * right_c
        h = sigmoid(o) * np.tanh(c)
        below = left + right
    return h, c, [(tree, h @ head + head_bias), *below]


def weights_of(model):
    return [np.asarray(keras.ops.convert_to_numpy(w), np.float64) for w in model.weights]


def expected_logits(sentence, weights):
    """Logits of the nodes of a sentence in the order of their heights, the root first."""
    nodes = recursion(Tree.fromstring(sentence), weights)[2]
    return np.array([logits for _, logits in sorted(nodes, key=lambda n: -n[0].height())])


def predict(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("block", [1, 2, 32])
def test_batch_equals_recursion(model, data, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    logits = predict(model, data.train.x)
    for row, sentence in enumerate(SENTENCES):
        expected = expected_logits(sentence, weights_of(model))
        np.testing.assert_allclose(logits[row, : len(expected)], expected, atol=1e-5)


def loss_of(sentences, weights, counts):
    total = 0.0
    for sentence, of_sentence in zip(sentences, counts, strict=True):
        logits = expected_logits(sentence, weights)
        total += (of_sentence[: len(logits)] * np.log1p(np.exp(logits[:, 0] - logits[:, 1]))).sum()
    return total


def gradients(model, x, counts):
    """Gradients of the weighted sum of -log p of class 1 over nodes."""
    ops, variables = keras.ops, model.trainable_variables
    counts = ops.convert_to_tensor(counts)

    def loss(logits):
        return ops.sum(counts * ops.softplus(logits[..., 0] - logits[..., 1]))

    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(model(x))
        found = tape.gradient(value, [v.value for v in variables])
    elif BACKEND == "jax":
        import jax

        state = [v.value for v in model.non_trainable_variables]
        found = jax.grad(lambda values: loss(model.stateless_call(values, state, x)[0]))(
            [v.value for v in variables]
        )
    else:
        loss(model(x)).backward()
        found = [v.value.grad for v in variables]
    return [keras.ops.convert_to_numpy(gradient) for gradient in found]


@pytest.mark.parametrize("block", [2, 32])
def test_gradient_equals_differences_of_recursion(model, data, rng, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    model.get_layer("tree_lstm").vectors.assign(rng.normal(size=(len(WORDS), 4)))
    counts = (rng.random((len(SENTENCES), WIDTH)) * (data.train.x["height"] > 0)).astype("float32")
    found = gradients(model, data.train.x, counts)
    weights = weights_of(model)
    for weight, gradient in zip(weights, found, strict=True):
        flat, expected = weight.reshape(-1), np.zeros(weight.size)
        for entry in range(weight.size):
            value = flat[entry]
            pair = []
            for shift in (1e-5, -1e-5):
                flat[entry] = value + shift
                pair.append(loss_of(SENTENCES, weights, counts))
            flat[entry] = value
            expected[entry] = (pair[0] - pair[1]) / 2e-5
        np.testing.assert_allclose(gradient.reshape(-1), expected, atol=1e-5)


def test_result_does_not_depend_on_padding_nor_on_the_batch(model):
    alone = predict(model, encoded(SENTENCES[1]).x)
    together = predict(model, encoded(*SENTENCES, SENTENCES[1]).x)
    np.testing.assert_allclose(together[[1, 4], :7], np.repeat(alone[:, :7], 2, 0), atol=1e-6)


def test_words_without_weight_have_no_gradient(model):
    split = encoded(SENTENCES[0], SENTENCES[1])
    counts = split.weight.copy()
    counts[1] = 0.0
    of_words = gradients(model, split.x, counts)[0]
    assert np.abs(of_words[[WORDS.index("a"), WORDS.index("good")]]).min() > 0
    np.testing.assert_array_equal(of_words[[WORDS.index(word) for word in ("dull", "so")]], 0.0)


@pytest.mark.skipif(BACKEND == "torch", reason="XLA compiles for TensorFlow and JAX")
def test_compiled_equals_eager(model, data):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(model, jit_compile=True)
        x = {name: tf.constant(values) for name, values in data.train.x.items()}
    else:
        import jax

        compiled, x = jax.jit(model), data.train.x
    logits = keras.ops.convert_to_numpy(compiled(x))
    np.testing.assert_allclose(logits, predict(model, data.train.x), atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("CE", {}),
        ("FLSc-531", {}),
        *(
            pytest.param(*row, marks=pytest.mark.nightly)
            for row in (("Brier", {}), ("MMCE", {"weight": 8}), ("LS-0.05", {}), ("FLSD-53", {}))
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The loss 'FLSc-531' is being trained with gamma 5")
def test_every_loss_takes_labels_and_weights_of_nodes(data, loss, options, few_steps):
    keras.utils.set_random_seed(0)
    model = tree_lstm(data, units=3, embedding=4)
    model.compile("sgd", keras_focal.losses.get(loss, from_logits=True, **options))
    before = weights_of(model)
    history = model.fit(
        data.train.x, data.train.y, sample_weight=data.train.weight, batch_size=2, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    for old, new in zip(before[:-1], weights_of(model), strict=False):
        assert np.isfinite(new).all()
        assert np.abs(new - old).max() > 0


@pytest.mark.nightly
def test_training_under_xla_learns_the_roots(data):
    keras.utils.set_random_seed(0)
    model = tree_lstm(data, units=8, embedding=8)
    model.get_layer("dropout").rate = 0.0
    model.compile(
        keras.optimizers.Adagrad(0.3),
        keras_focal.losses.get("FLSD-53", from_logits=True),
        jit_compile=BACKEND != "torch",
    )
    split = data.train
    model.fit(split.x, split.y, sample_weight=split.weight, batch_size=4, epochs=20, verbose=0)
    np.testing.assert_array_equal(predict(model, split.x)[:, 0].argmax(-1), split.y[:, 0])


def test_saved_model_gives_the_same_logits(model, data, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        predict(again, data.train.x), predict(model, data.train.x), atol=1e-6
    )
