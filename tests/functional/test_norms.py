"""Norms of logits, and of the gradient of the last layer: those of the gradient written out."""

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional


def example(classes=5, size=40, scale=4.0):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, scale, (size, classes)).astype("float32")
    return rng.integers(0, classes, size).astype("int32"), logits


def oracle(labels, logits, gamma, alpha=None):
    rows = zip(labels, logits, strict=True)
    gradients = [reference.sparse_focal(label, row, gamma, alpha)[1] for label, row in rows]
    return np.linalg.norm(gradients, axis=-1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0, 5.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_norm_is_that_of_the_oracle_s_gradient(gamma, classes):
    labels, logits = example(classes)
    norm = functional.focal_gradient_norm(labels, logits, gamma=gamma)
    np.testing.assert_allclose(to_numpy(norm), oracle(labels, logits, gamma), rtol=1e-5)


def test_norm_keeps_its_digits_where_p_rounds_to_0_and_to_1():
    labels, logits = example()
    logits[np.arange(40), labels] += np.linspace(-70, 70, 40, dtype="float32")
    norm = to_numpy(functional.focal_gradient_norm(labels, logits, gamma=1.0))
    expected = oracle(labels, logits, 1.0)
    is_normal = expected > 2.0**-126
    assert expected[is_normal].min() < 1e-30
    np.testing.assert_allclose(norm[is_normal], expected[is_normal], rtol=1e-5)
    assert np.all(norm[~is_normal] < 2.0**-125)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_norm_does_not_change_when_all_logits_move(offset):
    labels, logits = example()
    logits = np.round(logits)
    plain, moved = (
        to_numpy(functional.focal_gradient_norm(labels, z)) for z in (logits, logits + offset)
    )
    np.testing.assert_allclose(moved, plain, rtol=1e-6)


def test_norm_of_weighted_classes_is_the_oracle_s():
    labels, logits = example(3)
    alpha = [0.5, 1.0, 2.0]
    norm = functional.focal_gradient_norm(labels, logits, alpha=alpha)
    np.testing.assert_allclose(to_numpy(norm), oracle(labels, logits, 2.0, alpha), rtol=1e-5)


def test_gamma_may_be_a_rule_or_one_of_each_row():
    labels, logits = example()

    def rule(p):
        return ops.where(p < 0.2, 5.0, 3.0)

    p = reference.softmax64(logits)[np.arange(40), labels]
    of_each = np.where(p < 0.2, 5.0, 3.0)
    expected = np.where(p < 0.2, oracle(labels, logits, 5.0), oracle(labels, logits, 3.0))
    for gamma in (rule, of_each.astype("float32")):
        norm = functional.focal_gradient_norm(labels, logits, gamma=gamma)
        np.testing.assert_allclose(to_numpy(norm), expected, rtol=1e-5)


def test_ratio_to_cross_entropy_is_that_of_proposition_1():
    labels, logits = example()
    focal, plain = (functional.focal_gradient_norm(labels, logits, gamma=g) for g in (3.0, 0.0))
    p = reference.softmax64(logits)[np.arange(40), labels]
    expected = [reference.gradient_ratio(x, 3.0) for x in p]
    np.testing.assert_allclose(to_numpy(focal) / to_numpy(plain), expected, rtol=2e-5)


def test_norm_of_the_last_layer_is_that_of_the_gradient_of_kernel_and_bias(rng):
    labels, _ = example(3, 6)
    features = rng.normal(0, 1, (6, 4)).astype("float32")
    layer = rng.normal(0, 1, (5, 3)).astype("float32")  # the bias is the last row
    logits = features @ layer[:4] + layer[4]
    norm = functional.focal_gradient_norm(labels, logits, gamma=2.0, features=features)
    for i in range(6):

        def loss(weights, i=i):
            z = ops.matmul(ops.convert_to_tensor(features[i : i + 1]), weights[:4]) + weights[4]
            return functional.sparse_categorical_focal_crossentropy(labels[i : i + 1], z, gamma=2.0)

        _, gradient = value_and_gradient(loss, layer)
        assert float(norm[i]) == pytest.approx(np.linalg.norm(gradient), rel=2e-5)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_one_column_is_the_logit_of_the_positive_class(gamma):
    z = np.linspace(-20, 20, 9, dtype="float32")[:, None]
    for label in (0, 1):
        labels = np.full(9, label, "int32")
        norm = functional.focal_gradient_norm(labels, z, gamma=gamma)
        expected = [abs(reference.binary_focal(float(label), row[0], gamma)[1]) for row in z]
        np.testing.assert_allclose(to_numpy(norm), expected, rtol=1e-5)


def test_impossible_classes_are_as_in_the_loss():
    logits = np.array([[1.0, 2.0, -np.inf]], "float32")
    norm = to_numpy(functional.focal_gradient_norm(np.array([0]), logits, gamma=0.0))
    np.testing.assert_allclose(norm, [np.sqrt(2) / (1 + np.exp(-1))], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e4, 1e38])
def test_norm_stays_finite_at_extreme_logits(scale):
    labels, logits = example()
    logits = scale * np.tanh(logits)
    norm = to_numpy(functional.focal_gradient_norm(labels, logits.astype("float32"), gamma=0.5))
    assert np.isfinite(norm).all()
    assert norm.max() <= 2.0


def test_no_rows_have_no_norms():
    nothing = functional.focal_gradient_norm(np.zeros(0, "int32"), np.zeros((0, 3), "float32"))
    assert tuple(nothing.shape) == (0,)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"labels": [0, 1, 1], "logits": [[1.0, 2.0]] * 2}, "labels"),
        ({"labels": [0, 1], "logits": [[1.0, 2.0]] * 2, "features": [[1.0]]}, "features"),
    ],
)
def test_shapes_that_do_not_match_raise(given, name):
    with pytest.raises(ValueError, match=f"`{name}` must have shape"):
        functional.focal_gradient_norm(**given)


# --- the norm of logits


def test_logit_norm_is_the_square_root_of_the_sum_of_squares():
    _, logits = example()
    expected = np.sqrt((logits.astype("float64") ** 2).sum(-1))
    np.testing.assert_allclose(to_numpy(functional.logit_norm(logits)), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-60, 2.0**60, 2.0**120])
def test_squares_of_logits_need_not_be_floats(scale):
    rows = np.array([[3.0, -4.0], [0.0, 0.0], [5.0, 12.0]], "float32") * np.float32(scale)
    expected = np.array([5.0, 0.0, 13.0]) * scale
    np.testing.assert_allclose(to_numpy(functional.logit_norm(rows)), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_has_norm_nan(bad):
    norm = to_numpy(functional.logit_norm(np.array([[1.0, bad], [3.0, 4.0]], "float32")))
    np.testing.assert_array_equal(norm, [np.nan, 5.0])


# --- both


def compiled(function):
    """XLA on TensorFlow, jit on JAX; torch runs eagerly."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def norms(labels, logits):
    features = logits[:, :3]
    return functional.focal_gradient_norm(labels, logits, gamma=3.0, features=features)


def test_compiled_norms_equal_eager_ones():
    labels, logits = (ops.convert_to_tensor(part) for part in example())
    got = to_numpy(compiled(norms)(labels, logits))
    np.testing.assert_allclose(got, to_numpy(norms(labels, logits)), rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    labels, logits = example()
    half = ops.cast(logits, "bfloat16")
    got, expected = norms(labels, half), norms(labels, ops.cast(half, "float32"))
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_array_equal(to_numpy(got), to_numpy(expected))


@pytest.fixture
def half_floatx():
    keras.config.set_floatx("bfloat16")
    yield
    keras.config.set_floatx("float32")


def test_half_floatx_does_not_change_the_norms(half_floatx):
    labels, logits = example()
    got = to_numpy(norms(labels, logits))
    keras.config.set_floatx("float32")
    np.testing.assert_allclose(got, to_numpy(norms(labels, logits)), rtol=1e-6)
