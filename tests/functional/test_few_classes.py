"""Few classes in a TensorFlow graph: few operations and compiled code give what eager ones do."""

import keras
import numpy as np
import pytest
from backends import BACKEND, value_and_gradient

from keras_focal import functional
from keras_focal.functional._backend.compilation import MOST_ENTRIES
from keras_focal.gammas import SampleDependentGamma

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs are TensorFlow's")

CLASSES = 5
MANY = MOST_ENTRIES // CLASSES + 1
RULES = {
    "number": {"gamma": 2.0},
    "fraction": {"gamma": 0.5},
    "cross-entropy": {"gamma": 0.0},
    "rule": {"gamma": SampleDependentGamma([0.2], [5.0, 3.0])},
    "alpha": {"gamma": 3.0, "alpha": np.linspace(0.1, 1, CLASSES, dtype="float32")},
}
FUSED = "SparseSoftmaxCrossEntropyWithLogits"


def sample(count, scale=4.0):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    return labels, rng.normal(0, scale, (count, CLASSES)).astype("float32")


def in_graph(rows=None, jit=False, dtype="float32", **arguments):
    """Return a TensorFlow graph of losses and the gradient of their sum."""
    import tensorflow as tf

    specs = tf.TensorSpec((rows,), "int64"), tf.TensorSpec((rows, CLASSES), dtype)

    @tf.function(input_signature=specs, autograph=False, jit_compile=jit)
    def step(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = functional.sparse_categorical_focal_crossentropy(labels, logits, **arguments)
        return loss, tape.gradient(loss, logits)

    return step


def operations(step):
    """Return the types of all operations of a graph and of the functions that it calls."""
    graph = step.get_concrete_function().graph.as_graph_def()
    parts = [graph.node, *(function.node_def for function in graph.library.function)]
    return [operation.op for part in parts for operation in part]


@pytest.mark.parametrize("scale", [0.1, 4.0, 25.0])
@pytest.mark.parametrize("rule", RULES)
def test_any_number_of_rows_gives_the_plain_values(rule, scale):
    step = in_graph(**RULES[rule])
    for count in (1, 7, MANY):
        labels, logits = sample(count, scale)
        value, gradient = value_and_gradient(
            lambda z, y=labels: functional.sparse_categorical_focal_crossentropy(
                y, z, **RULES[rule]
            ),
            logits,
        )
        found = step(labels, logits)
        np.testing.assert_allclose(found[0], value, rtol=3e-6, atol=1e-37)
        np.testing.assert_allclose(found[1], gradient, rtol=6e-6, atol=1e-37)


@pytest.mark.parametrize("rows", [None, 4])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_what_is_no_number_or_no_class_is_nan_and_the_rest_is_finite(rows, gamma):
    low, high = np.finfo("float32").min, np.finfo("float32").max
    step, one, inf = in_graph(rows, gamma=gamma), np.ones(4, "int64"), np.inf
    finite = [[0, low, high, 0, 0], [high, low, 0, 0, 0], [0, high, -inf, -inf, -inf], [low] * 5]
    value, gradient = step(one, np.float32(finite))
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient))
    assert np.all(value >= 0)
    wrong = [[np.nan, 0, 0, 0, 0], [0, inf, 0, 0, 0], [inf, 0, 0, 0, 0], [-inf] * 5]
    for result in step(one, np.float32(wrong)):
        assert np.all(np.isnan(result).reshape(4, -1).any(axis=1))
    for result in step(np.int64([-1, 5, 2**32, -(2**40)]), np.zeros((4, CLASSES), "float32")):
        assert np.all(np.isnan(result))


def test_logits_of_minus_infinity_alone_have_no_loss():
    for labels in ([0], [[1.0, 0, 0, 0, 0]]):
        loss = functional.focal_crossentropy(labels, np.full((1, CLASSES), -np.inf), gamma=0.0)
        assert np.isnan(loss)


def test_rows_of_weight_zero_count_for_nothing():
    import tensorflow as tf

    from keras_focal import losses

    loss = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    labels, logits = sample(4)
    spoilt = logits.copy()
    spoilt[1], labels[1] = np.nan, -7
    weights = np.float32([1, 0, 2, 3])
    kept = np.array([0, 2, 3])
    step = tf.function(loss, reduce_retracing=True)
    expected = 3 / 4 * loss(labels[kept], logits[kept], weights[kept])
    np.testing.assert_allclose(step(labels, spoilt, weights), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_count_as_their_values(dtype):
    labels, logits = sample(7)
    logits = keras.ops.cast(logits, dtype)
    value, gradient = in_graph(dtype=dtype, gamma=2.0)(labels, logits)
    expected = in_graph(gamma=2.0)(labels, keras.ops.cast(logits, "float32"))
    np.testing.assert_array_equal(value, expected[0])
    assert gradient.dtype == dtype
    rounded = keras.ops.cast(keras.ops.cast(expected[1], dtype), "float32")
    np.testing.assert_array_equal(keras.ops.cast(gradient, "float32"), rounded)


def test_few_rows_are_few_operations_where_nothing_else_is_compiled():
    few, many, compiled = in_graph(64), in_graph(MANY), in_graph(64, jit=True)
    assert FUSED in operations(few)
    assert FUSED not in operations(many)
    assert FUSED not in operations(compiled)
    kinds = operations(in_graph(None))
    assert FUSED in kinds
    assert kinds.count("If") + kinds.count("StatelessIf") == 1
