"""The batched Tree-LSTM against a recursion over one tree at a time."""

import keras
import numpy as np
import pytest
from nltk import Tree

from examples.paper.data._types import Data
from examples.paper.data.sst import encode
from examples.paper.networks.tree_lstm import tree_lstm

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


def test_batch_equals_recursion(model, data):
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


def test_gradient_equals_differences_of_recursion(model, data, rng):
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
