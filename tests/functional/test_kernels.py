"""A compiled kernel gives what the plain one gives, for every shape, and is compiled seldom."""

import re

import numpy as np
import pytest
from backends import BACKEND, compiled_call, value_and_gradient
from keras import ops

from keras_focal import functional, metrics
from keras_focal.functional._backend import compilation, operations
from keras_focal.functional._backend.compilation import jitted

on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="islands are TensorFlow's")


LOSSES = {
    "sparse": functional.sparse_categorical_focal_crossentropy,
    "categorical": functional.categorical_focal_crossentropy,
    "binary": functional.binary_focal_crossentropy,
}
every_loss = pytest.mark.parametrize("kind", LOSSES)


def sample(*leading, kind="sparse", classes=300):
    rng = np.random.default_rng(0)
    labels = {
        "sparse": lambda: rng.integers(0, classes, leading).astype("int32"),
        "categorical": lambda: rng.dirichlet(np.ones(classes), leading).astype("float32"),
        "binary": lambda: rng.random((*leading, classes)).astype("float32"),
    }[kind]()
    return labels, rng.normal(0, 4, (*leading, classes)).astype("float32")


def in_graph(kind="sparse", **arguments):
    """Return a TensorFlow graph of losses and the gradient of their sum."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True, autograph=False)
    def step(labels, logits, **rows):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = LOSSES[kind](labels, logits, **arguments, **rows)
        return loss, tape.gradient(loss, logits)

    return step


def assert_is_plain(actual, labels, logits, kind="sparse", **arguments):
    def loss(z):
        return LOSSES[kind](labels, z, **arguments)

    expected = value_and_gradient(loss, logits)
    np.testing.assert_allclose(ops.convert_to_numpy(actual[0]), expected[0], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(actual[1]), expected[1], rtol=3e-6, atol=1e-7)


RULES = {
    "number": {"gamma": 3.0},
    "rule": {"gamma": lambda p: ops.where(p < 0.2, 5.0, 3.0)},
    "alpha": {"gamma": 0.5, "alpha": np.linspace(0, 1, 300, dtype="float32")},
}


@on_tensorflow
@every_loss
@pytest.mark.parametrize(
    ("rule", "leading"),
    [*((name, (40,)) for name in RULES), ("rule", (2, 3, 7))],
    ids=str,
)
def test_island_equals_the_plain_kernel(kind, leading, rule):
    labels, logits = sample(*leading, kind=kind)
    actual = in_graph(kind, **RULES[rule])(labels, ops.convert_to_tensor(logits))
    assert_is_plain(actual, labels, logits, kind, **RULES[rule])


@on_tensorflow
def test_island_equals_the_plain_kernel_with_a_gamma_for_each_row():
    labels, logits = sample(5, 8)
    gamma = np.linspace(0, 5, 8, dtype="float32")
    actual = in_graph()(labels, ops.convert_to_tensor(logits), gamma=ops.convert_to_tensor(gamma))
    assert_is_plain(actual, labels, logits, gamma=gamma)


@on_tensorflow
@every_loss
@pytest.mark.parametrize("jit", [False, True])
def test_unknown_numbers_of_rows_give_the_plain_values(kind, jit):
    import tensorflow as tf

    arguments = {"gamma": 3.0, "alpha": np.linspace(0, 1, 300, dtype="float32")}
    labels, _ = sample(1, 1, kind=kind)
    specs = [
        tf.TensorSpec((None, None, *labels.shape[2:]), labels.dtype),
        tf.TensorSpec((None, None, 300)),
    ]
    step = tf.function(
        in_graph(kind, **arguments).python_function, input_signature=specs, jit_compile=jit
    )
    for leading in [(3, 17), (1, 1), (5, 0)]:
        labels, logits = sample(*leading, kind=kind)
        actual = step(labels, logits)
        assert actual[1].shape == logits.shape
        if 0 not in leading:
            assert_is_plain(actual, labels, logits, kind, **arguments)


@on_tensorflow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_island_takes_half_precision_logits(dtype):
    import tensorflow as tf

    labels, logits = sample(16)
    logits = tf.cast(logits, dtype)
    loss, gradient = in_graph(gamma=2.0)(labels, logits)
    assert loss.dtype == tf.float32
    assert gradient.dtype == dtype
    expected = in_graph(gamma=2.0)(labels, tf.cast(logits, tf.float32))
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    rounded = tf.cast(tf.cast(expected[1], dtype), "float32")
    np.testing.assert_allclose(tf.cast(gradient, "float32"), rounded, rtol=1e-2, atol=1e-7)


@pytest.mark.nightly
@on_tensorflow
@pytest.mark.parametrize("classes", [3, 600], ids=["few operations", "island"])
def test_second_derivative_in_a_graph_is_the_plain_one(classes):
    import tensorflow as tf

    labels, logits = sample(2, classes=classes)

    def curvature(logits):
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                loss = functional.sparse_categorical_focal_crossentropy(labels, logits, gamma=3.0)
            slope = tf.reduce_sum(inner.gradient(loss, logits) ** 2)
        return outer.gradient(slope, logits)

    logits = tf.constant(logits)
    np.testing.assert_allclose(tf.function(curvature)(logits), curvature(logits), rtol=1e-4)


def test_numbers_of_rows_are_powers_of_two_at_first_then_four_in_each_octave():
    sizes = compilation.SIZES
    assert sizes[0] == 1
    assert np.all(np.diff(sizes) > 0)
    few = sizes[sizes <= 1024]
    np.testing.assert_array_equal(few, 2 ** np.arange(11))
    assert np.all(np.diff(sizes[sizes >= 1024]) <= sizes[sizes >= 1024][:-1] / 4)
    assert sizes[-1] >= 2**27


@on_tensorflow
def test_varying_batches_meet_few_compiled_sizes():
    sizes = set()

    def compiled(labels, logits):
        sizes.add(labels.shape[0])
        return ops.sum(logits, -1)

    for count in range(1, 200):
        arrays = ops.zeros((count,), "int32"), ops.ones((count, 3))
        result = compilation._padded(compiled, arrays, 1, ())
        np.testing.assert_array_equal(result, np.full(count, 3.0))
    assert sizes <= set(compilation.SIZES)
    assert len(sizes) <= 50


@on_tensorflow
def test_large_batches_are_compiled_and_small_ones_are_not():
    def compiled_kernels(classes):
        labels, logits = sample(4, classes=classes)
        step = in_graph(gamma=2.0).get_concrete_function(labels, ops.convert_to_tensor(logits))
        operations = step.graph.get_operations()
        return sum(operation.node_def.attr["_XlaMustCompile"].b for operation in operations)

    assert compiled_kernels(1000) == 2
    assert compiled_kernels(3) == 0


@on_tensorflow
@pytest.mark.parametrize("rows", [4, None])
def test_rows_are_padded_only_if_their_number_is_unknown(rows):
    import tensorflow as tf

    of_batch = tf.TensorSpec((rows,), "int32"), tf.TensorSpec((rows, 1000), "float32")
    graph = in_graph(gamma=2.0).get_concrete_function(*of_batch).graph
    assert any(x.type == "Pad" for x in graph.get_operations()) == (rows is None)


@pytest.mark.skipif(BACKEND != "jax", reason="a barrier in programs of JAX")
@pytest.mark.parametrize("kind", ["sparse", "binary"])
def test_expressions_of_the_predictions_are_not_kept_for_the_gradient(kind):
    import jax

    labels, logits = sample(4, kind=kind)

    def total(logits):
        return ops.sum(LOSSES[kind](labels, logits, gamma=2.0))

    assert "optimization_barrier" in str(jax.make_jaxpr(jax.grad(total))(logits))


@on_tensorflow
def test_nothing_is_compiled_where_tensorflow_has_no_xla(monkeypatch):
    import tensorflow as tf

    def refused(x):
        raise tf.errors.UnimplementedError(None, None, "not built with XLA")

    labels, logits = sample(4, classes=1000)
    compilation._has_xla.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(tf, "function", lambda function, **options: refused)
            assert not compilation._has_xla()
        step = in_graph(gamma=2.0).get_concrete_function(labels, ops.convert_to_tensor(logits))
        operations = step.graph.get_operations()
        assert not any(operation.node_def.attr["_XlaMustCompile"].b for operation in operations)
        found = step(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits))
        assert_is_plain(found, labels, logits, gamma=2.0)
    finally:
        compilation._has_xla.cache_clear()


@on_tensorflow
def test_a_metric_in_a_graph_is_two_compiled_kernels():
    import tensorflow as tf

    metric = metrics.CalibrationMetrics(from_logits=True)

    def step(labels, logits):
        metric.update_state(labels, logits)
        return metric.result()

    for size in (7, None):
        specs = [tf.TensorSpec((size,), "int64"), tf.TensorSpec((size, 10))]
        graph = tf.function(step, input_signature=specs).get_concrete_function().graph
        operations = graph.get_operations()
        assert sum(operation.node_def.attr["_XlaMustCompile"].b for operation in operations) == 2


@on_tensorflow
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_metric_counts_an_unknown_number_of_rows_and_no_more(jit):
    import tensorflow as tf

    metric = metrics.CalibrationMetrics(from_logits=True)
    plain = metrics.CalibrationMetrics(from_logits=True)
    specs = [tf.TensorSpec((None, None), "int64"), tf.TensorSpec((None, None, 300))]
    step = tf.function(metric.update_state, input_signature=specs, jit_compile=jit)
    for leading in [(3, 17), (1, 1), (5, 0), (29, 1)]:
        labels, logits = sample(*leading)
        step(labels, logits)
        plain.update_state(labels, logits)
    np.testing.assert_array_equal(metric.cells().count, plain.cells().count)
    np.testing.assert_allclose(metric.cells().gap, plain.cells().gap, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_rows_are_added_where_the_index_says(dtype, rng):
    x, rows = rng.integers(0, 9, (6, 3)).astype(dtype), rng.integers(0, 9, (40, 3)).astype(dtype)
    index = rng.integers(0, 6, 40).astype("int32")
    expected = x.copy()
    np.add.at(expected, index, rows)
    actual = operations.scatter_add(*map(ops.convert_to_tensor, (x, index, rows)))
    np.testing.assert_array_equal(ops.convert_to_numpy(actual), expected)


def test_an_empty_batch_has_no_loss():
    for loss in (
        functional.sparse_categorical_focal_crossentropy(np.zeros(0, "int32"), np.zeros((0, 5))),
        functional.categorical_focal_crossentropy(np.zeros((0, 5)), np.zeros((0, 5))),
    ):
        assert tuple(loss.shape) == (0,)


def test_jitted_kernel_gives_the_same_and_is_traced_once_for_a_shape(rng):
    calls = []

    def kernel(x, y):
        calls.append(x.shape)
        return ops.exp(x) + y

    fast = jitted(kernel)
    x, y = rng.normal(0, 1, (2, 7)).astype("float32")
    for _ in range(3):
        found = fast(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
        np.testing.assert_allclose(ops.convert_to_numpy(found), np.exp(x) + y, atol=1e-6)
    assert len(calls) == (1 if BACKEND == "jax" else 3)


@on_tensorflow
def test_equal_kernels_are_traced_once_in_a_process():
    import tensorflow as tf

    traced = []

    def scaled(factor, x):
        traced.append(factor)
        return factor * x

    x = tf.range(2048, dtype="float32")
    for factor in (2.0, 2.0, 3.0):
        # A graph of its own, as each fit of each model has.
        graph = tf.function(
            lambda x, factor=factor: compilation.compiled(compilation.Kernel(scaled, (factor,)), x)
        )
        np.testing.assert_array_equal(graph(x), factor * x.numpy())
    assert traced == [2.0, 3.0]


@on_tensorflow
@pytest.mark.parametrize("build", [metrics.AdaECE, metrics.CalibrationMetrics])
def test_metric_of_another_model_is_compiled_no_more(build):
    import tensorflow as tf

    def kept():
        return compilation._kept_island.cache_info().misses

    x, y = tf.zeros((32, 10)), tf.zeros(32, "int32")
    counts = []
    for _ in range(2):
        metric = build(from_logits=True)

        @tf.function
        def update(y, x, metric=metric):
            metric.update_state(y, x)
            return metric.result()

        update(y, x)
        counts.append(kept())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("size", [1, 2, 64, 65, 4096, 4161, 300_000])
@pytest.mark.parametrize("is_known", [True, False])
def test_running_sum_is_the_sum_of_the_first_entries(size, is_known):
    x = np.random.default_rng(0).uniform(size=size).astype("float32")
    run = operations.running_sum
    if not is_known:
        if BACKEND != "tensorflow":
            pytest.skip("shapes are known on JAX and torch")
        import tensorflow as tf

        run = tf.function(operations.running_sum, input_signature=[tf.TensorSpec((None,))])
    found = ops.convert_to_numpy(run(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(found, x.cumsum(dtype="float64"), rtol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs operation by operation")
def test_log_of_one_plus_keeps_its_digits_when_compiled():
    x = np.concatenate([[0.0], np.logspace(-37, 0, 20_000)]).astype("float32")
    found = compiled_call(operations.log_of_one_plus, x)
    right = np.log1p(x.astype("float64"))
    np.testing.assert_allclose(ops.convert_to_numpy(found), right, rtol=2e-7, atol=0)


@pytest.mark.parametrize("gamma", [2.0, 2.5])
def test_many_outputs_are_computed_as_few_are(gamma, monkeypatch):
    """On TensorFlow the gradient of many is computed anew, from logits that lie above a bound."""
    logits = np.array([-np.inf, -3e38, -90.0, -2.0, 0.0, 1.0, 30.0, np.inf, np.nan], "float32")
    targets = np.repeat(np.array([[0.0], [1.0], [0.3]], "float32"), len(logits), axis=1)

    def loss(z):
        return functional.binary_focal_crossentropy(targets, z, gamma=gamma)

    few = value_and_gradient(loss, np.tile(logits, (3, 1)), compiled=True)
    monkeypatch.setattr(operations, "MANY_OUTPUTS", 1)
    many = value_and_gradient(loss, np.tile(logits, (3, 1)), compiled=True)
    for found, right in zip(many, few, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6)


@on_tensorflow
def test_many_outputs_keep_no_array_for_the_gradient():
    import tensorflow as tf

    z = tf.zeros((operations.MANY_OUTPUTS,))

    @tf.function(jit_compile=True, autograph=False)
    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = functional.binary_focal_crossentropy(tf.zeros_like(z), z)
        return loss, tape.gradient(loss, z)

    program = step.experimental_get_compiler_ir(z)(stage="optimized_hlo")
    arrays = re.findall(r" = f32\[1048576\]\S* (?!parameter)", program[program.index("ENTRY") :])
    assert len(arrays) == 2  # the loss and the gradient
