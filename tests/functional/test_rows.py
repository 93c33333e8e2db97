"""Every loss of a row of logits against the formula in 80 digits, at the ends of the number line.

A number below the smallest normal float32 may be flushed to zero: there only its absolute error
is held.
"""

from functools import cache, partial

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional

NORMAL = 2.0**-126
AS_USUAL = BACKEND == "jax"
compiled_or_not = pytest.mark.parametrize(
    "compiled", [False] if BACKEND == "torch" else [False, True], ids=lambda c: f"compiled={c}"
)

# By name: the loss, the formula, and whether it takes soft rows.
LOSSES = {
    "brier": (functional.brier_loss, reference.brier, True),
    "smoothed": (
        partial(functional.label_smoothing_crossentropy, label_smoothing=0.05),
        partial(reference.smoothed, s=0.05),
        True,
    ),
    "entropy": (
        partial(functional.entropy_regularized_crossentropy, weight=0.5),
        partial(reference.entropy_regularized, weight=0.5),
        True,
    ),
    "margin": (
        partial(functional.margin_smoothing_crossentropy, weight=0.1, margin=1.5),
        partial(reference.margin_smoothed, weight=0.1, margin=1.5),
        True,
    ),
    **{
        f"dual {gamma:g}": (
            partial(functional.dual_focal_crossentropy, gamma=gamma),
            partial(reference.dual_focal, gamma=gamma),
            False,
        )
        for gamma in (0.0, 0.5, 2.0, 5.0)
    },
    **{
        f"poly {gamma:g}": (
            partial(functional.poly_focal_crossentropy, gamma=gamma, epsilon=1.5),
            partial(reference.poly_focal, gamma=gamma, epsilon=1.5),
            True,
        )
        for gamma in (0.0, 0.5, 2.0)
    },
    "focal + brier": (
        partial(functional.focal_calibration_loss, gamma=1.0, weight=0.5),
        partial(reference.focal_calibration, gamma=1.0, weight=0.5),
        True,
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
of_soft_rows = pytest.mark.parametrize("name", [n for n in LOSSES if LOSSES[n][2]])


@cache
def batch():
    """Class ids and float32 logits of 5 classes: random, huge, far from 0, wrong, right, equal."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 22)
    logits = rng.normal(0, 2, (22, 5))
    rows = np.arange(22)
    logits[4:8] = rng.choice([-1e4, 9e3, 0.0, 1e4], (4, 5))
    logits[8:11] += 1e4
    logits[rows[11:14], labels[11:14]] -= 60
    logits[rows[14:20], labels[14:20]] += [12, 18, 30, 50, 65, 80]
    logits[20:] = 0.0
    return labels, logits.astype("float32")


def soft_rows():
    rows = np.random.default_rng(1).dirichlet(np.ones(5), len(batch()[0])).astype("float32")
    rows[::4] = np.eye(5)[batch()[0][::4]]
    return rows


@cache
def oracle(name, soft=False):
    formula = LOSSES[name][1]
    labels, logits = batch()
    targets = soft_rows() if soft else np.eye(5)[labels]
    functions = [partial(formula, q) for q in targets]
    values = [reference.value_of(f, row) for f, row in zip(functions, logits, strict=True)]
    slopes = [reference.gradient_of(f, row) for f, row in zip(functions, logits, strict=True)]
    return np.array(values), np.array(slopes)


def relative_error(actual, expected, scale):
    """Return the error over `scale`; 0 where the expected number is no normal float32."""
    error, normal = np.abs(actual - expected), np.abs(expected) >= NORMAL
    assert np.all(error[~normal] <= NORMAL)
    return np.where(normal, error, 0.0) / np.maximum(scale, NORMAL)


def assert_near(name, actual, expected):
    """Hold values to 3e-6 of themselves, gradients to that of the largest entry of their row."""
    size = np.abs(expected[0])
    if name == "entropy":
        # A difference, which crosses 0.
        size = size + oracle("smoothed")[0]
    value_error = relative_error(actual[0], expected[0], size)
    assert value_error.max() <= 3e-6, value_error.argmax()
    size = np.abs(expected[1]).max(-1, keepdims=True)
    error = relative_error(actual[1], expected[1], size)[smooth_rows(name)]
    assert error.max() <= 3e-6, np.unravel_index(error.argmax(), error.shape)


def smooth_rows(name):
    """Rows where the loss has a derivative: equal logits are corners of two of them."""
    equal = np.array([len(np.unique(row)) < len(row) for row in batch()[1]])
    return ~equal if name.startswith(("dual", "margin")) else np.ones(len(equal), bool)


@compiled_or_not
@every_loss
def test_value_and_gradient_are_accurate(name, compiled):
    labels, logits = batch()
    actual = value_and_gradient(partial(LOSSES[name][0], labels), logits, compiled=compiled)
    assert_near(name, actual, oracle(name))


@of_soft_rows
def test_soft_rows_are_accurate(name):
    actual = value_and_gradient(
        partial(LOSSES[name][0], soft_rows()), batch()[1], compiled=AS_USUAL
    )
    assert_near(name, actual, oracle(name, soft=True))


@every_loss
def test_one_hot_rows_and_ids_of_either_shape_are_equal(name):
    labels, logits = batch()
    forms = (labels, labels[:, None], np.eye(5, dtype="float32")[labels])
    first, *others = [
        value_and_gradient(partial(LOSSES[name][0], form), logits, compiled=AS_USUAL)
        for form in forms
    ]
    for other in others:
        np.testing.assert_allclose(other[0], first[0], rtol=2e-6, atol=NORMAL)
        size = np.abs(first[1]).max(-1, keepdims=True)
        assert np.max(np.abs(other[1] - first[1]) / np.maximum(size, NORMAL)) <= 2e-6


@compiled_or_not
@every_loss
def test_nothing_is_nan_at_the_ends(name, compiled):
    big = 3e38
    logits = np.array(
        [
            [0, 0, 0],
            [big, -big, 0],
            [-big, big, big],
            [-np.inf, 0, 0],
            [0, -np.inf, -np.inf],
            [1e4, -1e4, 0],
        ],
        "float32",
    )
    value, gradient = value_and_gradient(
        partial(LOSSES[name][0], np.zeros(6, "int32")), logits, compiled=compiled
    )
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient))


@every_loss
def test_half_precision_logits_are_computed_in_float32(name):
    labels, logits = batch()
    half = ops.cast(ops.convert_to_tensor(logits[:4]), "bfloat16")
    value, gradient = value_and_gradient(partial(LOSSES[name][0], labels[:4]), half)
    exact, slopes = value_and_gradient(
        partial(LOSSES[name][0], labels[:4]), ops.cast(half, "float32")
    )
    np.testing.assert_array_equal(value, exact)
    np.testing.assert_allclose(gradient, slopes, rtol=2**-7, atol=1e-6)


@pytest.mark.nightly
@pytest.mark.skipif(BACKEND == "jax", reason="JAX keeps float64 off by default")
@every_loss
def test_gradient_is_that_of_finite_differences_in_float64(name):
    labels, logits = batch()
    labels, logits = labels[:4], logits[:4].astype("float64") + 1e-9
    loss = partial(LOSSES[name][0], labels)
    gradient = value_and_gradient(loss, logits, dtype="float64")[1]
    for k in range(5):
        step = 1e-6 * np.eye(5)[k]
        above, below = (ops.convert_to_numpy(loss(logits + s)) for s in (step, -step))
        assert above.dtype == "float64"
        np.testing.assert_allclose(gradient[:, k], (above - below) / 2e-6, rtol=1e-5, atol=1e-8)


@every_loss
def test_leading_axes_and_none_at_all_are_kept(name):
    labels, logits = batch()
    loss = LOSSES[name][0]
    flat = to_numpy(loss(labels[:4], logits[:4]))
    square = to_numpy(loss(labels[:4].reshape(2, 2), logits[:4].reshape(2, 2, 5)))
    np.testing.assert_allclose(square, flat.reshape(2, 2), rtol=1e-6)
    assert tuple(loss(np.zeros((0,), "int32"), np.zeros((0, 5), "float32")).shape) == (0,)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces unknown lengths")
@pytest.mark.parametrize("name", ["brier", "dual 2", "poly 2"])
def test_the_number_of_rows_may_be_unknown(name):
    import tensorflow as tf

    labels, logits = batch()
    labels, logits = np.tile(labels, 20).astype("int32"), np.tile(logits, (20, 1))
    step = tf.function(
        LOSSES[name][0],
        input_signature=[tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 5))],
    )
    np.testing.assert_allclose(
        to_numpy(step(labels, logits)), to_numpy(LOSSES[name][0](labels, logits)), rtol=3e-6
    )


# --- Identities ---------------------------------------------------------------------------------


def crossentropy(labels, logits):
    return to_numpy(functional.sparse_categorical_focal_crossentropy(labels, logits, gamma=0.0))


@pytest.mark.parametrize(
    "loss",
    [
        partial(functional.label_smoothing_crossentropy, label_smoothing=0.0),
        partial(functional.entropy_regularized_crossentropy, weight=0.0),
        partial(functional.margin_smoothing_crossentropy, weight=0.0),
        partial(functional.margin_smoothing_crossentropy, margin=1e5),
        partial(functional.dual_focal_crossentropy, gamma=0.0),
        partial(functional.poly_focal_crossentropy, gamma=0.0, epsilon=0.0),
        partial(functional.focal_calibration_loss, gamma=0.0, weight=0.0),
        partial(functional.focal_crossentropy, gamma=0.0),
    ],
    ids=[
        "smoothing 0",
        "entropy 0",
        "margin weight 0",
        "wide margin",
        "dual gamma 0",
        "poly epsilon 0",
        "brier weight 0",
        "focal gamma 0",
    ],
)
def test_without_its_term_a_loss_is_crossentropy(loss):
    labels, logits = batch()
    np.testing.assert_allclose(
        to_numpy(loss(labels, logits)), crossentropy(labels, logits), rtol=3e-6, atol=NORMAL
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_dual_focal_without_a_class_below_is_focal(gamma):
    labels, logits = batch()
    # The true class is the least likely.
    logits = logits.copy()
    logits[np.arange(len(labels)), labels] = logits.min(-1) - 1
    np.testing.assert_allclose(
        to_numpy(functional.dual_focal_crossentropy(labels, logits, gamma=gamma)),
        to_numpy(functional.sparse_categorical_focal_crossentropy(labels, logits, gamma=gamma)),
        rtol=3e-6,
    )


def test_dual_focal_of_two_classes_doubles_the_base_where_right():
    value = functional.dual_focal_crossentropy([0], [[1.0, 0.0]], gamma=2.0)
    p = 1 / (1 + np.exp(-1.0))
    assert float(value[0]) == pytest.approx((2 * (1 - p)) ** 2 * -np.log(p), rel=1e-6)


def test_dual_focal_takes_a_rule_for_gamma():
    labels, logits = batch()
    rule = functional.dual_focal_crossentropy(
        labels[:4], logits[:4], gamma=lambda p: functional.step_gamma(p, [0.3], [4.0, 1.0])
    )
    p = reference.softmax64(logits[:4])[np.arange(4), labels[:4]]
    for i, gamma in enumerate(np.where(p < 0.3, 4.0, 1.0)):
        one = functional.dual_focal_crossentropy(labels[i : i + 1], logits[i : i + 1], gamma=gamma)
        assert float(rule[i]) == pytest.approx(float(one[0]), rel=1e-6)


def test_smoothing_of_keras_is_ours_at_another_strength():
    labels, logits = batch()
    rows = np.eye(5, dtype="float32")[labels]
    of_keras = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.05 * 5 / 4, reduction=None
    )
    np.testing.assert_allclose(
        to_numpy(functional.label_smoothing_crossentropy(labels[:4], logits[:4])),
        to_numpy(of_keras(rows[:4], logits[:4])),
        rtol=1e-5,
    )


def test_brier_loss_is_the_brier_score():
    labels, logits = batch()
    np.testing.assert_allclose(
        to_numpy(functional.brier_loss(labels, logits)),
        to_numpy(functional.brier_score(labels, logits, from_logits=True)),
        rtol=1e-5,
        atol=1e-12,
    )


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 3.0, 5.0])
def test_focal_loss_bounds_the_entropy_regularized_one(gamma):
    """Equation 4: L_focal >= KL(q || p) - gamma H(p), with q one-hot and gamma >= 1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (2000, 4)) * rng.choice([0.1, 1, 5, 20], (2000, 1))
    logits = logits.astype("float32")
    labels = rng.integers(0, 4, 2000)
    focal = to_numpy(functional.sparse_categorical_focal_crossentropy(labels, logits, gamma=gamma))
    bound = to_numpy(functional.entropy_regularized_crossentropy(labels, logits, weight=gamma))
    assert np.all(focal >= bound - 1e-6 * np.abs(bound))


def test_the_entropy_bound_needs_gamma_of_one():
    """So that the test above could fail."""
    logits = np.array([[-4.0, 0.0]], "float32")
    focal = functional.sparse_categorical_focal_crossentropy([0], logits, gamma=0.1)
    bound = functional.entropy_regularized_crossentropy([0], logits, weight=0.01)
    assert float(focal[0]) < float(bound[0])


# --- Weights of classes -------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.9999])
def test_class_balanced_alpha_is_one_over_the_effective_number(beta):
    counts = np.array([5000, 300, 20, 1])
    weights = (1 - beta) / (1 - beta**counts)
    expected = weights * 4 / weights.sum()
    np.testing.assert_allclose(functional.class_balanced_alpha(counts, beta), expected, rtol=1e-12)


def test_class_balanced_alpha_at_its_ends():
    counts = [100, 10, 1]
    assert functional.class_balanced_alpha(counts, 0.0) == [1.0, 1.0, 1.0]
    inverse = 1 / np.array(counts)
    np.testing.assert_allclose(
        functional.class_balanced_alpha(counts, 1 - 1e-12), inverse * 3 / inverse.sum(), rtol=1e-9
    )


@pytest.mark.parametrize("counts", [[5, 0], [5, -1], [], [5, np.nan], [[1, 2]], "many", None])
def test_counts_that_are_not_positive_are_an_error(counts):
    with pytest.raises(ValueError, match=r"`counts` must be a list .* Leave out a class"):
        functional.class_balanced_alpha(counts)


@pytest.mark.parametrize("beta", [-0.1, 1.0, np.nan])
def test_beta_outside_its_interval_is_an_error(beta):
    with pytest.raises(ValueError, match=r"`beta` must be a number in \[0, 1\)"):
        functional.class_balanced_alpha([5, 6], beta)
