"""The head and the loss in one: the values and gradients of the two steps, part by part."""

import numpy as np
import pytest
from backends import BACKEND, compiled_call, to_numpy
from keras import ops

from keras_focal import functional, metrics

NAMES = ("features", "kernel", "bias")


def sample(rows=23, depth=7, classes=50, dtype="float32"):
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.normal(0, 1, (rows, depth)),
        "kernel": rng.normal(0, 1, (depth, classes)),
        "bias": rng.normal(0, 1, classes),
    }
    labels = rng.integers(0, classes, rows).astype("int32")
    return {k: v.astype("float32").astype(dtype) for k, v in arrays.items()}, labels


def two_steps(features, kernel, bias, labels, **arguments):
    logits = ops.matmul(features, kernel)
    logits = logits if bias is None else logits + bias
    return functional.sparse_categorical_focal_crossentropy(labels, logits, **arguments)


def losses_and_gradients(function, arrays, upstream, *, compiled=False):
    """Return function(*arrays) and the gradients of its sum weighted by `upstream`."""
    names = list(arrays)
    values = [ops.convert_to_tensor(arrays[name]) for name in names]

    def total(*values):
        losses = function(**dict(zip(names, values, strict=True)))
        return ops.sum(losses * ops.convert_to_tensor(upstream)), losses

    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.autograph.experimental.do_not_convert
        def run(*values):
            with tf.GradientTape() as tape:
                tape.watch(values)
                whole, losses = total(*values)
            return losses, tape.gradient(whole, values)

        losses, gradients = tf.function(run)(*values) if compiled else run(*values)
    elif BACKEND == "jax":
        import jax

        run = jax.grad(total, argnums=tuple(range(len(values))), has_aux=True)
        gradients, losses = (jax.jit(run) if compiled else run)(*values)
    else:
        values = [value.detach().clone().requires_grad_(True) for value in values]
        whole, losses = total(*values)
        whole.backward()
        gradients = [value.grad for value in values]
    return to_numpy(losses), dict(zip(names, map(to_numpy, gradients), strict=True))


def assert_equals_two_steps(arrays, labels, *, num_parts=4, compiled=False, rtol=1e-5, **arguments):
    upstream = np.random.default_rng(1).uniform(0.5, 1.5, labels.shape).astype("float32")

    def in_one(features, kernel, bias=None):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, num_parts=num_parts, **arguments
        )

    def in_two(features, kernel, bias=None):
        return two_steps(features, kernel, bias, labels, **arguments)

    actual = losses_and_gradients(in_one, arrays, upstream, compiled=compiled)
    expected = losses_and_gradients(in_two, arrays, upstream)
    np.testing.assert_allclose(actual[0], expected[0], rtol=rtol, atol=1e-6)
    for name, gradient in expected[1].items():
        # Relative to the largest entry: the sums run in another order.
        atol = 1e-6 * np.abs(gradient).max()
        np.testing.assert_allclose(actual[1][name], gradient, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("num_parts", [1, 4, 7, 50], ids=lambda n: f"{n} parts")
def test_values_and_gradients_are_those_of_two_steps(num_parts, compiled):
    arrays, labels = sample()
    assert_equals_two_steps(arrays, labels, num_parts=num_parts, compiled=compiled, gamma=3.0)


RULES = {
    "rule": lambda p: ops.where(p < 0.2, 5.0, 3.0),
    "row by row": np.linspace(0, 5, 23, dtype="float32"),
    "tensor": np.float32(1.5),
}


@pytest.mark.parametrize("gamma", RULES.values(), ids=RULES)
def test_every_form_of_gamma_is_taken(gamma):
    arrays, labels = sample()
    assert_equals_two_steps(arrays, labels, gamma=gamma, compiled=True)


@pytest.mark.parametrize("alpha", [0.5, np.linspace(0, 2, 50, dtype="float32")], ids=["one", "K"])
def test_alpha_weighs_classes(alpha):
    arrays, labels = sample()
    assert_equals_two_steps(arrays, labels, gamma=2.0, alpha=alpha)


def test_bias_may_be_left_out():
    arrays, labels = sample()
    del arrays["bias"]
    assert_equals_two_steps(arrays, labels, gamma=2.0)


def test_leading_axes_are_kept():
    arrays, labels = sample(rows=24)
    arrays["features"] = arrays["features"].reshape(2, 12, 7)
    assert_equals_two_steps(arrays, labels.reshape(2, 12), gamma=2.0, compiled=True)


def in_one(labels, **arguments):
    def function(features, kernel, bias):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, num_parts=4, **arguments
        )

    return function


def test_weights_multiply_the_loss_of_each_row():
    arrays, labels = sample()
    weights = np.random.default_rng(2).uniform(0, 2, 23).astype("float32")
    ones = np.ones(23, "float32")
    actual = losses_and_gradients(in_one(labels, sample_weight=weights), arrays, ones)
    expected = losses_and_gradients(in_one(labels), arrays, weights)
    np.testing.assert_allclose(actual[0], expected[0] * weights, rtol=1e-6)
    for name in NAMES:
        np.testing.assert_allclose(actual[1][name], expected[1][name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("by", ["weight", "ignore_class"])
def test_a_row_that_does_not_count_adds_nothing_even_if_it_is_not_finite(by):
    arrays, labels = sample()
    counts = np.arange(23) % 3 > 0
    kept = {**arrays, "features": arrays["features"][counts]}
    ones = np.ones(23, "float32")
    expected = losses_and_gradients(in_one(labels[counts]), kept, ones[counts])
    arrays["features"][~counts] = np.nan
    if by == "weight":
        function = in_one(labels, sample_weight=counts.astype("float32"))
    else:
        function = in_one(np.where(counts, labels, -100).astype("int32"), ignore_class=-100)
    losses, gradients = losses_and_gradients(function, arrays, ones)
    np.testing.assert_array_equal(losses[~counts], 0.0)
    np.testing.assert_array_equal(gradients["features"][~counts], 0.0)
    np.testing.assert_allclose(losses[counts], expected[0], rtol=1e-6)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(gradients[name], expected[1][name], rtol=1e-5, atol=1e-6)


def test_half_precision_is_multiplied_and_added_up_in_float32():
    """In bfloat16 the sum over 4096 equal rows stalls at 256."""
    rows = 4096
    features, kernel = np.ones((rows, 1), "float32"), np.zeros((1, 2), "float32")
    labels = np.zeros(rows, "int32")

    def function(features, kernel):
        return functional.linear_sparse_focal_crossentropy(
            ops.cast(features, "bfloat16"),
            ops.cast(kernel, "bfloat16"),
            None,
            labels,
            gamma=0.0,
            num_parts=2,
        )

    arrays = {"features": features, "kernel": kernel}
    losses, gradients = losses_and_gradients(function, arrays, np.ones(rows, "float32"))
    np.testing.assert_allclose(losses, np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(gradients["kernel"], [[-rows / 2, rows / 2]])


def test_badly_misclassified_rows_have_a_finite_loss_and_gradient():
    arrays, labels = sample()
    arrays["kernel"] *= 1e4
    losses, gradients = losses_and_gradients(in_one(labels), arrays, np.ones(23, "float32"))
    assert np.all(np.isfinite(losses))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients.values())


def plain(features, kernel, bias, labels, gamma, label_smoothing=0.0, z_loss=0.0, softcap=None):
    """The loss by its formula, from whole logits and differentiated automatically."""
    z = ops.matmul(features, kernel) + bias
    z = z if softcap is None else softcap * ops.tanh(z / softcap)
    is_true = ops.cast(np.eye(z.shape[-1])[labels], "float32")
    q = is_true * (1.0 - label_smoothing) + label_smoothing / z.shape[-1]
    log_p = ops.log_softmax(z)
    focal = -ops.sum(q * (1.0 - ops.exp(log_p)) ** gamma * log_p, axis=-1)
    return focal + z_loss * ops.logsumexp(z, axis=-1) ** 2


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {"gamma": 0.0, "label_smoothing": 0.1},
        {"gamma": 2.0, "z_loss": 0.01},
        {"gamma": 2.0, "softcap": 3.0},
        {"gamma": 0.0, "label_smoothing": 0.2, "z_loss": 0.01, "softcap": 3.0},
    ],
    ids=lambda arguments: " and ".join([*arguments][1:]),
)
def test_smoothing_z_loss_and_cap_are_those_of_whole_logits(arguments, compiled):
    arrays, labels = sample()
    upstream = np.random.default_rng(1).uniform(0.5, 1.5, 23).astype("float32")
    actual = losses_and_gradients(in_one(labels, **arguments), arrays, upstream, compiled=compiled)
    expected = losses_and_gradients(
        lambda features, kernel, bias: plain(features, kernel, bias, labels, **arguments),
        arrays,
        upstream,
    )
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5)
    for name in NAMES:
        atol = 2e-6 * np.abs(expected[1][name]).max()
        np.testing.assert_allclose(actual[1][name], expected[1][name], rtol=2e-5, atol=atol)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("num_parts", [1, 4, 7], ids=lambda n: f"{n} parts")
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_reduction_changes_no_gradient(reduction, num_parts, compiled):
    """With it the gradients are computed in the forward pass, in parts of the rows."""
    arrays, labels = sample(depth=17)
    weights = np.random.default_rng(2).integers(0, 3, 23).astype("float32")
    labels[4] = -100
    arguments = {
        "gamma": 3.0,
        "z_loss": 0.01,
        "softcap": 3.0,
        "ignore_class": -100,
        "sample_weight": weights,
        "num_parts": num_parts,
    }

    def reduced(features, kernel, bias):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, reduction=reduction, **arguments
        )

    def by_hand(features, kernel, bias):
        losses = functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, **arguments
        )
        count = weights[labels >= 0].sum() if reduction == "mean" else 1.0
        return ops.sum(losses) / count

    upstream = np.float32(1.5)
    actual = losses_and_gradients(reduced, arrays, upstream, compiled=compiled)
    expected = losses_and_gradients(by_hand, arrays, upstream)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    for name in NAMES:
        atol = 1e-6 * np.abs(expected[1][name]).max()
        np.testing.assert_allclose(actual[1][name], expected[1][name], rtol=1e-5, atol=atol)


def test_mean_of_no_row_is_zero():
    arrays, labels = sample()
    function = in_one(labels, reduction="mean", sample_weight=np.zeros(23, "float32"))
    losses, gradients = losses_and_gradients(function, arrays, np.float32(1.0))
    assert losses == 0.0
    assert all(np.all(gradient == 0.0) for gradient in gradients.values())


@pytest.mark.parametrize("alpha", [np.linspace(0.5, 2, 50, dtype="float32"), np.float32(0.7)])
def test_learned_gamma_and_alpha_have_the_same_gradients_with_a_reduction(alpha):
    arrays, labels = sample()
    arrays = {**arrays, "gamma": np.float32(1.5), "alpha": alpha}

    def function(reduction):
        def total(features, kernel, bias, gamma, alpha):
            losses = functional.linear_sparse_focal_crossentropy(
                features, kernel, bias, labels, gamma=gamma, alpha=alpha, reduction=reduction
            )
            return ops.sum(losses)

        return total

    actual = losses_and_gradients(function("sum"), arrays, np.float32(2.0))
    expected = losses_and_gradients(function(None), arrays, np.float32(2.0))
    for name in arrays:
        np.testing.assert_allclose(actual[1][name], expected[1][name], rtol=2e-5, atol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="torch reads the label and raises")
@pytest.mark.parametrize("wrong", [-1, 50])
def test_an_invalid_label_gives_a_gradient_of_nan_for_learned_weights(wrong):
    arrays, labels = sample()
    labels[5] = wrong
    arrays = {**arrays, "alpha": np.ones(50, "float32")}

    def function(features, kernel, bias, alpha):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, alpha=alpha
        )

    _, gradients = losses_and_gradients(function, arrays, np.float32(1.0), compiled=True)
    assert np.isnan(gradients["alpha"]).any()


def statistics_of(arrays, labels, **arguments):
    def function(features, kernel, bias):
        return functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, return_statistics=True, num_parts=4, **arguments
        )

    return function(**{k: ops.convert_to_tensor(v) for k, v in arrays.items()})


def test_statistics_are_those_of_whole_logits():
    arrays, labels = sample(rows=24)
    arrays["bias"][3] = -np.inf
    # A tie, whose top class is the lowest.
    arrays["features"][0], arrays["bias"][:2], labels[0] = 0.0, 5.0, 1
    z = arrays["features"].astype("float64") @ arrays["kernel"] + arrays["bias"]
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    log_sum_exp = z.max(axis=1) + np.log(shifted.sum(axis=1))
    labels[1::2] = z.argmax(axis=1)[1::2]
    expected = {
        "neg_log_likelihood": log_sum_exp - z[np.arange(24), labels],
        "log_sum_exp": log_sum_exp,
        "entropy": -np.sum(p * np.log(p, where=p > 0, out=np.zeros_like(p)), axis=1),
        "confidence": p.max(axis=1),
        "correct": z.argmax(axis=1) == labels,
    }
    assert 0 < expected["correct"].sum() < 24
    _, found = statistics_of(arrays, labels)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=2e-5, atol=1e-6, err_msg=name)


def test_statistics_change_neither_the_loss_nor_its_gradients():
    arrays, labels = sample()
    upstream = np.random.default_rng(1).uniform(0.5, 1.5, 23).astype("float32")

    def function(features, kernel, bias):
        losses, statistics = in_one(labels, return_statistics=True)(features, kernel, bias)
        # A constant: it adds to the sum, but has no gradient.
        return losses + 0.0 * ops.sum(ops.stack(statistics), axis=0)

    actual = losses_and_gradients(function, arrays, upstream)
    expected = losses_and_gradients(in_one(labels), arrays, upstream)
    np.testing.assert_array_equal(actual[0], expected[0])
    for name in NAMES:
        np.testing.assert_array_equal(actual[1][name], expected[1][name])


def test_ece_of_the_statistics_is_that_of_the_logits():
    arrays, labels = sample(rows=200)
    weights = np.random.default_rng(3).integers(0, 3, 200).astype("float32")
    arrays["kernel"] *= 0.7
    from_logits = metrics.ExpectedCalibrationError(from_logits=True)
    z = arrays["features"] @ arrays["kernel"] + arrays["bias"]
    from_logits.update_state(labels, z, weights)
    _, found = statistics_of(arrays, labels, sample_weight=weights)
    from_statistics = metrics.BinaryExpectedCalibrationError()
    from_statistics.update_state(found.correct, found.confidence, weights)
    assert float(from_logits.result()) > 0.1
    np.testing.assert_allclose(from_statistics.result(), from_logits.result(), rtol=1e-5)


def test_statistics_of_rows_that_do_not_count_are_zero():
    arrays, labels = sample()
    labels = np.where(np.arange(23) % 3 > 0, labels, -100).astype("int32")
    arrays["features"][labels == -100] = np.nan
    _, found = statistics_of(arrays, labels, ignore_class=-100)
    for values in found:
        np.testing.assert_array_equal(to_numpy(values)[labels == -100], 0.0)
        assert np.all(np.isfinite(to_numpy(values)))


@pytest.mark.skipif(BACKEND == "torch", reason="torch reads the labels")
def test_an_invalid_label_gives_statistics_of_nan_in_a_compiled_step():
    arrays, labels = sample()
    labels[5] = 50

    def function(labels):
        return statistics_of(arrays, labels)[1]

    found = compiled_call(function, labels)
    for name in ("neg_log_likelihood", "correct"):
        assert list(np.flatnonzero(np.isnan(to_numpy(getattr(found, name))))) == [5]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has unknown shapes")
@pytest.mark.parametrize(
    ("jit", "arguments"),
    [
        (False, {"num_parts": 4}),
        (True, {"num_parts": 4}),
        (False, {}),
        (False, {"reduction": "sum"}),
    ],
    ids=str,
)
def test_the_number_of_rows_may_be_unknown(jit, arguments):
    import tensorflow as tf

    arrays, labels = sample()
    step = tf.function(
        lambda features, labels: functional.linear_sparse_focal_crossentropy(
            features, arrays["kernel"], arrays["bias"], labels, **arguments
        ),
        input_signature=[tf.TensorSpec((None, 7)), tf.TensorSpec((None,), tf.int32)],
        jit_compile=jit,
        autograph=False,
    )
    expected = to_numpy(two_steps(*arrays.values(), labels))
    for count in (23, 9):
        right = expected[:count].sum() if "reduction" in arguments else expected[:count]
        found = step(arrays["features"][:count], labels[:count])
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((23, 6), "float32")}, "`features` must have shape"),
        ({"labels": np.zeros(22, "int32")}, "`labels` must have shape"),
        ({"bias": np.zeros(49, "float32")}, "`bias` must have shape"),
        ({"sample_weight": np.zeros(22, "float32")}, "`sample_weight` must have shape"),
        ({"gamma": 0.0, "label_smoothing": 1.0}, "`label_smoothing` must be a number in"),
        ({"label_smoothing": 0.1}, "`label_smoothing` must be 0 unless `gamma` is 0"),
        ({"z_loss": -1.0}, "`z_loss` must be a finite number >= 0"),
        ({"softcap": 0.0}, "`softcap` must be a finite number > 0"),
        ({"reduction": "none"}, "`reduction` must be one of"),
        ({"num_parts": 0}, "`num_parts` must be a whole number >= 1"),
        ({"num_parts": 1.5}, "`num_parts` must be a whole number >= 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named(change, message):
    arrays, labels = sample()
    with pytest.raises(ValueError, match=message):
        functional.linear_sparse_focal_crossentropy(**{**arrays, "labels": labels, **change})


@pytest.mark.skipif(BACKEND != "jax", reason="the figure is that of JAX's compiler")
@pytest.mark.parametrize("reduction", [None, "sum"])
def test_memory_stays_a_tenth_of_the_logits(reduction):
    import jax

    def total(features, kernel, bias, labels):
        losses = functional.linear_sparse_focal_crossentropy(
            features, kernel, bias, labels, reduction=reduction
        )
        return losses.sum()

    rows, depth, classes = 2048, 256, 32000
    shapes = [((rows, depth), "float32"), ((depth, classes), "float32"), ((classes,), "float32")]
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in [*shapes, ((rows,), "int32")]]
    step = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*arguments).compile()
    assert step.memory_analysis().temp_size_in_bytes <= 0.1 * 4 * rows * classes
