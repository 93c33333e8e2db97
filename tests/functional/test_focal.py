"""The focal losses against the 50-digit oracle, at the ends of the number line, and by identities.

A number below the smallest normal float32 may be flushed to zero: there only its absolute error
is held.
"""

from functools import cache

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_focal import functional

GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5)
NORMAL = 2.0**-126
VALUE_TOLERANCE = 3e-6
GRADIENT_TOLERANCE = 1e-6

# torch runs eagerly in any case.
compiled_or_not = pytest.mark.parametrize(
    "compiled", [False] if BACKEND == "torch" else [False, True], ids=lambda c: f"compiled={c}"
)
# Without jit, JAX compiles every operation by itself, for every new shape.
AS_USUAL = BACKEND == "jax"
as_usual_or_compiled = pytest.mark.parametrize(
    "compiled", sorted({AS_USUAL, BACKEND != "torch"}), ids=lambda c: f"compiled={c}"
)


def differentiate(function, logits, *, compiled=AS_USUAL, dtype=None):
    return value_and_gradient(function, logits, compiled=compiled, dtype=dtype)


every_gamma = pytest.mark.parametrize("gamma", GAMMAS)
every_kind = pytest.mark.parametrize("kind", ["sparse", "categorical", "binary"])
quick = settings(max_examples=20, deadline=None, database=None, derandomize=True)

sparse = functional.sparse_categorical_focal_crossentropy
categorical = functional.categorical_focal_crossentropy
binary = functional.binary_focal_crossentropy


def one_hot(labels, num_classes=6):
    return np.eye(num_classes, dtype="float32")[labels]


def loss_of(kind, labels, num_classes=6, **options):
    """Return the loss as a function of logits: rows of classes, or one logit for "binary"."""
    if kind == "categorical":
        labels = one_hot(labels, num_classes)
    function = {"sparse": sparse, "categorical": categorical, "binary": binary}[kind]
    return lambda logits: function(labels, logits, **options)


def with_complement(logits, labels, complement):
    """Move the true logit of each row to where 1 - p_t is about `complement`."""
    logits = logits.astype("float64")
    rows = np.arange(len(logits))
    logits[rows, labels] = -np.inf
    rest = np.log(np.exp(logits).sum(-1))
    logits[rows, labels] = rest + np.log1p(-complement) - np.log(complement)
    return logits.astype("float32")


def of_binary(labels, margins):
    """Put the logit of the true answer `margins` above that of the false one."""
    return labels.astype("float32"), ((2 * labels - 1) * margins).astype("float32")


@cache
def sets():
    """Class ids and float32 logits of 6 classes, by the name of the set."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 16)
    normal = rng.normal(0, 3, (16, 6)).astype("float32")
    hard = rng.normal(0, 1, (16, 6)).astype("float32")
    hard[np.arange(16), labels] -= 60
    labels_4, hard_4 = np.tile(labels, 4), np.tile(hard, (4, 1)) + rng.normal(0, 1, (64, 6))
    return {
        "random": (labels, normal),
        "huge": (labels[:8], rng.choice([-1e4, 9e3, 0.0, 1e4], (8, 6)).astype("float32")),
        "offset": (labels, normal + np.float32(1e4)),
        "hard": (labels, hard),
        "easy": (labels, with_complement(hard, labels, np.logspace(-5, -14, 16))),
        "easiest": (labels, with_complement(hard, labels, np.logspace(-15, -37, 16))),
        "rising": (labels_4, with_complement(hard_4, labels_4, np.logspace(-0.3, -5.5, 64))),
    }


@cache
def binary_sets():
    """Labels 0 or 1 and float32 logits, by the name of the set."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 16)
    return {
        "random": of_binary(labels, rng.normal(0, 3, 16)),
        "huge": of_binary(labels[:8], rng.choice([-1e4, -9e3, 9e3, 1e4], 8)),
        "hard": of_binary(labels, -60 + rng.normal(0, 1, 16)),
        "easy": of_binary(labels, np.log(10) * np.linspace(5, 14, 16)),
        "easiest": of_binary(labels, np.log(10) * np.linspace(15, 37, 16)),
        "rising": of_binary(np.tile(labels, 4), np.log(10) * np.linspace(0, 5.5, 64)),
    }


def sets_of(kind):
    return binary_sets() if kind == "binary" else sets()


def joined(kind):
    """Labels and logits of all sets in one batch: one compilation serves them all."""
    return tuple(np.concatenate(part) for part in zip(*sets_of(kind).values(), strict=True))


def by_set(kind, rows):
    sizes = [len(labels) for labels, _ in sets_of(kind).values()]
    return dict(zip(sets_of(kind), np.split(rows, np.cumsum(sizes)[:-1]), strict=True))


def row_by_row(function, targets, logits, *args):
    """Return losses and gradients of the oracle for a batch."""
    rows = [function(*row, *args) for row in zip(targets, logits, strict=True)]
    return tuple(np.array(part) for part in zip(*rows, strict=True))


@cache
def oracle(kind, gamma):
    """Loss and gradient of every row of every set."""
    if kind == "categorical":
        return oracle("sparse", gamma)
    function = {"sparse": reference.sparse_focal, "binary": reference.binary_focal}[kind]
    return row_by_row(function, *joined(kind), gamma)


@cache
def measured(kind, gamma, compiled):
    labels, logits = joined(kind)
    return value_and_gradient(loss_of(kind, labels, gamma=gamma), logits, compiled=compiled)


def relative_error(actual, expected, scale):
    """Return the error over `scale`; 0 where the expected number is no normal float32."""
    error, normal = np.abs(actual - expected), np.abs(expected) >= NORMAL
    assert np.all(error[~normal] <= NORMAL)
    return np.where(normal, error, 0.0) / np.maximum(scale, NORMAL)


def assert_accurate(actual, expected):
    """Hold losses and gradients of rows of classes to the accuracy that is promised."""
    np.testing.assert_allclose(actual[0], expected[0], rtol=VALUE_TOLERANCE)
    scale = np.abs(expected[1]).max(-1, keepdims=True)
    assert relative_error(actual[1], expected[1], scale).max() <= GRADIENT_TOLERANCE


def gradient_error(kind, gamma, compiled):
    """Return the largest error of each row's gradient over its largest entry."""
    actual, expected = measured(kind, gamma, compiled)[1], oracle(kind, gamma)[1]
    actual, expected = (x.reshape(len(x), -1) for x in (actual, expected))
    scale = np.abs(expected).max(-1, keepdims=True)
    return relative_error(actual, expected, scale).max(-1)


@compiled_or_not
@every_gamma
@every_kind
def test_value_is_accurate(kind, gamma, compiled):
    expected = oracle(kind, gamma)[0]
    error = relative_error(measured(kind, gamma, compiled)[0], expected, np.abs(expected))
    worst = {name: rows.max() for name, rows in by_set(kind, error).items()}
    assert max(worst.values()) <= VALUE_TOLERANCE, worst


@compiled_or_not
@pytest.mark.parametrize("gamma", [gamma for gamma in GAMMAS if gamma < 5])
@every_kind
def test_gradient_is_accurate(kind, gamma, compiled):
    error = by_set(kind, gradient_error(kind, gamma, compiled))
    worst = {name: rows.max() for name, rows in error.items() if name != "rising"}
    assert max(worst.values()) <= GRADIENT_TOLERANCE, worst


@compiled_or_not
@pytest.mark.parametrize("gamma", [5.0, 7.5])
@every_kind
def test_gradient_at_steep_gamma_is_accurate_where_the_sample_is_wrong(kind, gamma, compiled):
    # log 2 is the cross-entropy at p_t = 1/2.
    wrong = oracle(kind, 0.0)[0] > np.log(2)
    error = np.where(wrong, gradient_error(kind, gamma, compiled), 0.0)
    worst = {name: rows.max() for name, rows in by_set(kind, error).items()}
    assert max(worst.values()) <= GRADIENT_TOLERANCE, worst


@compiled_or_not
@pytest.mark.parametrize("gamma", [5.0, 7.5])
@every_kind
def test_gradient_error_at_steep_gamma_is_that_of_the_complement_times_gamma(kind, gamma, compiled):
    """Raising 1 - p_t to gamma multiplies its rounding error by gamma.

    1 - p_t comes from two exponentials, a sum, a product, a sum and a quotient: three units in
    the last place if all roundings add up, half of that in 19 samples of 20.
    """
    error = by_set(kind, gradient_error(kind, gamma, compiled))["rising"]
    assert np.percentile(error, 95) <= (gamma + 1) * 1.5 * 2.0**-23
    assert error.max() <= (gamma + 1) * 3.0 * 2.0**-23


@every_gamma
def test_soft_targets_follow_appendix_a(gamma):
    logits = sets()["random"][1]
    targets = np.random.default_rng(1).dirichlet(np.ones(6), len(logits)).astype("float32")
    assert_accurate(
        differentiate(lambda z: categorical(targets, z, gamma=gamma), logits),
        row_by_row(reference.categorical_focal, targets, logits, gamma),
    )


@every_gamma
def test_soft_binary_targets_follow_equation_5(gamma):
    logits = binary_sets()["random"][1]
    targets = np.random.default_rng(1).uniform(0, 1, len(logits)).astype("float32")
    value, gradient = differentiate(lambda z: binary(targets, z, gamma=gamma), logits)
    expected, slopes = row_by_row(reference.binary_focal, targets, logits, gamma)
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)
    # The gradients of the two outcomes cancel near the target: the larger one is the scale.
    parts = [
        weights * np.abs(row_by_row(reference.binary_focal, 0 * targets + answer, logits, gamma)[1])
        for answer, weights in ((1, targets), (0, 1 - targets))
    ]
    assert relative_error(gradient, slopes, np.max(parts, axis=0)).max() <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_gamma_of_many_digits_keeps_the_loss_of_easy_binary_samples_accurate(as_tensor):
    logits = np.linspace(-10, -7, 400, dtype="float32")
    gamma = np.float32(7.3)
    expected = row_by_row(reference.binary_focal, np.zeros(400), logits, float(gamma))[0]
    gamma = ops.convert_to_tensor(gamma) if as_tensor else float(gamma)
    actual = functional.binary_focal_crossentropy(np.zeros(400), logits, gamma=gamma)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=VALUE_TOLERANCE)


# --- The ends of the number line ---------------------------------------------------------------


@as_usual_or_compiled
@pytest.mark.parametrize("gamma", [0.5, 5.0])
@every_kind
def test_gradient_of_a_badly_misclassified_sample_is_minus_one(kind, gamma, compiled):
    gaps = np.array([20.0, 60.0, 1e4], "float32")
    logits = np.stack([0 * gaps, gaps, 0 * gaps - 3], -1)
    labels = np.zeros(3, "int32")
    if kind == "binary":
        labels, logits = labels.astype("float32"), gaps
    value, gradient = differentiate(
        loss_of(kind, labels, 3, gamma=gamma), logits, compiled=compiled
    )
    np.testing.assert_allclose(value, gaps, rtol=1e-6)
    slope = 1.0 if kind == "binary" else [-1.0, 1.0, 0.0]
    np.testing.assert_allclose(gradient, np.broadcast_to(slope, logits.shape), atol=1e-6)


def extreme_logits(dtype):
    """Rows of three logits at the ends of `dtype`, and where float32 saturates."""
    top = {
        "float32": 2.0**127 * (2 - 2.0**-23),
        "bfloat16": 2.0**127 * (2 - 2.0**-7),
        "float16": 65504.0,
    }[dtype]
    ends = [
        [1, -1, 0],
        [-1, 1, 1],
        [1, 1, 1],
        [-1, -1, -1],
        [0, -1, 0],
        [1, 1, 0],
        [-1, -1, 0],
    ]
    saturated = [[gap, 0, -gap] for gap in (0, 17, 30, 90, 104, 110, 200)]
    scales = (top, top / 2, 1e4)
    return np.concatenate([*(scale * np.array(ends) for scale in scales), saturated])


@as_usual_or_compiled
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@every_kind
def test_no_finite_logits_give_nan_or_inf(kind, dtype, compiled):
    logits = extreme_logits(dtype).astype("float32")
    if kind == "binary":
        logits = np.unique(logits)
    gammas, labels, rows = (
        axis.ravel()
        for axis in np.meshgrid(
            [0.0, 0.5, 0.9, 1.0, 2.0, 7.5],
            [0, 1] if kind == "binary" else [0, 1, 2],
            np.arange(len(logits)),
            indexing="ij",
        )
    )
    gamma = gammas[:, None] if kind == "categorical" else gammas
    value, gradient = differentiate(
        loss_of(kind, labels, 3, gamma=gamma.astype("float32")),
        logits[rows],
        compiled=compiled,
        dtype=dtype,
    )
    assert np.all(np.isfinite(value))
    assert np.all(value >= 0)
    assert np.all(np.isfinite(gradient))
    # g(p, gamma) < 1.5 for every gamma here.
    assert np.all(np.abs(gradient) <= 1.5)


def test_the_sum_of_a_batch_of_the_worst_samples_is_finite():
    top = np.finfo("float32").max
    logits = np.tile(np.array([[-top, top]], "float32"), (1000, 1))
    value = to_numpy(ops.sum(sparse(np.zeros(1000, "int32"), logits, gamma=2.0)))
    assert 0 < value < np.inf


rows_only = pytest.mark.parametrize("kind", ["sparse", "categorical"])
some_gammas = pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])


@as_usual_or_compiled
@rows_only
def test_impossible_classes_count_as_absent(kind, compiled):
    """A logit of -inf takes its class out of the row, in value and gradient."""
    gamma = 0.5
    possible = np.array([[0.5, 2.0, -1.0], [0.5, 2.0, -1.0]], "float32")
    gapped = np.full((2, 5), -np.inf, "float32")
    gapped[:, [1, 2, 4]] = possible
    value, gradient = differentiate(
        loss_of(kind, np.array([1, 2]), 5, gamma=gamma), gapped, compiled=compiled
    )
    expected, slopes = differentiate(
        loss_of(kind, np.array([0, 1]), 3, gamma=gamma), possible, compiled=compiled
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, [1, 2, 4]], slopes, rtol=1e-6)
    np.testing.assert_array_equal(gradient[:, [0, 3]], 0.0)


@some_gammas
@rows_only
def test_the_only_possible_class_has_no_loss(kind, gamma):
    logits = np.array([[-np.inf, 3.0, -np.inf]], "float32")
    value, gradient = differentiate(loss_of(kind, np.array([1]), 3, gamma=gamma), logits)
    np.testing.assert_array_equal(value, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)


@some_gammas
@rows_only
def test_an_impossible_true_class_is_a_large_finite_loss(kind, gamma):
    logits = np.array([[-np.inf, 3.0, 1.0]], "float32")
    value, gradient = differentiate(loss_of(kind, np.array([0]), 3, gamma=gamma), logits)
    assert 1e10 < value[0] < np.inf
    assert np.all(np.isfinite(gradient))


# --- Precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@every_kind
def test_half_precision_logits_are_computed_in_float32(kind, dtype):
    labels, logits = sets_of(kind)["random"]
    function = loss_of(kind, labels, gamma=2.0)
    rounded = to_numpy(ops.cast(ops.convert_to_tensor(logits), dtype)).astype("float32")
    value, gradient = differentiate(function, rounded, dtype=dtype)
    expected, slopes = differentiate(function, rounded)
    np.testing.assert_array_equal(value, expected)
    # The gradient is the float32 one, rounded to the dtype of the logits and nowhere before.
    slopes = ops.convert_to_tensor(slopes.astype("float32"))
    np.testing.assert_array_equal(gradient, to_numpy(ops.cast(slopes, dtype)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@every_kind
def test_loss_of_half_precision_logits_is_float32(kind, dtype):
    labels, logits = sets_of(kind)["random"]
    value = loss_of(kind, labels)(ops.cast(ops.convert_to_tensor(logits), dtype))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"


@pytest.mark.parametrize("label", [257, 2049])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_large_class_ids_pick_their_own_logit_among_half_precision_ones(dtype, label):
    logits = np.zeros((1, 3000), "float32")
    logits[0, label] = 20.0
    value = to_numpy(sparse([label], ops.cast(ops.convert_to_tensor(logits), dtype), gamma=0.0))
    expected = np.log1p(2999 * np.exp(-20.0))
    np.testing.assert_allclose(value, [expected], rtol=VALUE_TOLERANCE)


# --- Labels -------------------------------------------------------------------------------------


def test_one_hot_rows_equal_class_ids():
    labels, logits = sets()["random"]
    np.testing.assert_allclose(
        to_numpy(categorical(one_hot(labels), logits, gamma=3.0)),
        to_numpy(sparse(labels, logits, gamma=3.0)),
        rtol=1e-6,
    )


def test_a_row_of_zeros_has_no_loss():
    value, gradient = differentiate(
        lambda z: categorical(np.zeros((16, 6), "float32"), z), sets()["random"][1]
    )
    np.testing.assert_array_equal(value, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)


def test_two_classes_equal_one_binary_logit():
    labels, logits = binary_sets()["random"]
    pairs = np.stack([np.zeros_like(logits), logits], -1)
    np.testing.assert_allclose(
        to_numpy(binary(labels, logits, gamma=2.0)),
        to_numpy(sparse(labels, pairs, gamma=2.0)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("shape", [(), (2, 2, 4)])
def test_every_leading_shape_is_kept(shape):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (*shape, 6)).astype("float32")
    labels = rng.integers(0, 6, shape)
    expected = [
        reference.sparse_focal(y, z, 2.0)[0]
        for y, z in zip(labels.ravel(), logits.reshape(-1, 6), strict=True)
    ]
    for kind in ("sparse", "categorical"):
        value, gradient = differentiate(loss_of(kind, labels, gamma=2.0), logits)
        assert value.shape == shape
        assert gradient.shape == logits.shape
        np.testing.assert_allclose(value.ravel(), expected, rtol=VALUE_TOLERANCE)


# --- Alpha --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.25, [0.5, 0.0, 2.0, 1.0, 0.1, 3.0]], ids=["number", "vector"])
@rows_only
def test_alpha_weighs_loss_and_gradient_of_each_class(kind, alpha):
    labels, logits = sets()["random"]
    assert_accurate(
        differentiate(loss_of(kind, labels, gamma=2.0, alpha=alpha), logits),
        row_by_row(reference.sparse_focal, labels, logits, 2.0, np.broadcast_to(alpha, 6)),
    )


def test_alpha_of_a_class_mutes_it():
    labels, logits = np.arange(6), sets()["random"][1][:6]
    alpha = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    value, gradient = differentiate(lambda z: sparse(labels, z, alpha=alpha), logits)
    np.testing.assert_array_equal(value == 0, labels == 2)
    np.testing.assert_array_equal(np.all(gradient == 0, axis=-1), labels == 2)


def test_binary_alpha_weighs_the_positive_class_and_its_complement_the_negative():
    labels, logits = binary_sets()["random"]
    value, gradient = differentiate(lambda z: binary(labels, z, gamma=2.0, alpha=0.25), logits)
    expected, slopes = row_by_row(reference.binary_focal, labels, logits, 2.0, 0.25)
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)
    np.testing.assert_allclose(gradient, slopes, rtol=GRADIENT_TOLERANCE)


# --- Gamma --------------------------------------------------------------------------------------

# The smooth rule would show a gradient through gamma, which a step has nowhere.
RULES = {
    "step": (lambda p: ops.where(p < 0.2, 5.0, 3.0), lambda p: 5 if p < 0.2 else 3),
    "smooth": (lambda p: 4.0 - 2.0 * p, lambda p: 4 - 2 * p),
}


@as_usual_or_compiled
@pytest.mark.parametrize("rule", RULES)
@every_kind
def test_gamma_that_depends_on_p_is_constant_in_the_derivative(kind, rule, compiled):
    labels, logits = sets_of(kind)["random"]
    of_tensor, of_number = RULES[rule]
    function = reference.binary_focal if kind == "binary" else reference.sparse_focal
    actual = differentiate(loss_of(kind, labels, gamma=of_tensor), logits, compiled=compiled)
    expected = row_by_row(function, labels, logits, of_number)
    # One binary logit is a row of its own.
    assert_accurate(
        *((loss, gradient.reshape(len(loss), -1)) for loss, gradient in (actual, expected))
    )


def test_gamma_may_differ_from_row_to_row():
    labels, logits = sets()["random"]
    gammas = np.linspace(0, 5, 16)
    expected = [reference.sparse_focal(*row)[0] for row in zip(labels, logits, gammas, strict=True)]
    value = to_numpy(sparse(labels, logits, gamma=gammas))
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


@every_gamma
def test_focal_gradient_is_the_cross_entropy_gradient_times_proposition_1(gamma):
    labels, logits = sets()["random"]
    p = reference.softmax64(logits)[np.arange(len(labels)), labels]
    ratio = np.array([reference.gradient_ratio(x, gamma) for x in p])
    focal = differentiate(lambda z: sparse(labels, z, gamma=gamma), logits)[1]
    cross_entropy = differentiate(
        lambda z: keras.losses.sparse_categorical_crossentropy(labels, z, from_logits=True), logits
    )[1]
    np.testing.assert_allclose(focal, ratio[:, None] * cross_entropy, rtol=1e-4, atol=1e-7)


@every_kind
def test_gamma_zero_equals_cross_entropy(kind):
    labels, logits = sets_of(kind)["random"]
    if kind == "binary":
        # The mean over one logit is that logit's own loss.
        labels, logits = labels[:, None], logits[:, None]
    of_keras = {
        "sparse": keras.losses.sparse_categorical_crossentropy,
        "categorical": keras.losses.categorical_crossentropy,
        "binary": keras.losses.binary_crossentropy,
    }[kind]
    targets = one_hot(labels) if kind == "categorical" else labels
    expected = to_numpy(of_keras(targets, logits, from_logits=True))
    value = to_numpy(loss_of(kind, labels, gamma=0.0)(logits))
    np.testing.assert_allclose(value.reshape(-1), expected, rtol=1e-5, atol=1e-6)


# --- Symmetries ---------------------------------------------------------------------------------

# Multiples of 1/256 below 2**14 are float32 numbers, and so are their sums with the shifts.
on_a_grid = st.lists(st.integers(-80 * 256, 80 * 256), min_size=5, max_size=5).map(
    lambda units: np.array([units], "float32") / 256
)


@quick
@given(logits=on_a_grid, shift=st.integers(-10_000, 10_000), gamma=st.sampled_from(GAMMAS))
def test_loss_is_invariant_to_logit_shift(logits, shift, gamma):
    for function, targets in ((sparse, [3]), (categorical, [[0.1, 0.0, 0.3, 0.6, 0.0]])):
        np.testing.assert_allclose(
            to_numpy(function(targets, logits + np.float32(shift), gamma=gamma)),
            to_numpy(function(targets, logits, gamma=gamma)),
            rtol=1e-6,
            atol=NORMAL,
        )


@quick
@given(
    logits=on_a_grid,
    order=st.permutations(range(5)),
    label=st.integers(0, 4),
    gamma=st.sampled_from(GAMMAS),
)
def test_loss_is_invariant_to_the_order_of_classes(logits, order, label, gamma):
    value, gradient = value_and_gradient(lambda z: sparse([label], z, gamma=gamma), logits)
    permuted, permuted_gradient = value_and_gradient(
        lambda z: sparse([order.index(label)], z, gamma=gamma), logits[:, order]
    )
    np.testing.assert_allclose(permuted, value, rtol=2 * VALUE_TOLERANCE, atol=NORMAL)
    np.testing.assert_allclose(permuted_gradient, gradient[:, order], rtol=1e-5, atol=NORMAL)


@quick
@given(logits=on_a_grid, gammas=st.lists(st.sampled_from(GAMMAS), min_size=2, max_size=2))
def test_loss_falls_as_gamma_rises(logits, gammas):
    low, high = (to_numpy(sparse([2], logits, gamma=gamma))[0] for gamma in sorted(gammas))
    assert 0 <= high <= low * (1 + 1e-6)


@quick
@given(logits=on_a_grid, gamma=st.sampled_from(GAMMAS))
def test_gradient_of_a_row_sums_to_zero(logits, gamma):
    gradient = value_and_gradient(lambda z: sparse([1], z, gamma=gamma), logits)[1][0]
    assert abs(gradient.sum()) <= 1e-6 * np.abs(gradient).max() + 8 * NORMAL
    assert gradient[1] <= 0
    assert np.all(np.delete(gradient, 1) >= 0)


# --- Second derivatives -------------------------------------------------------------------------


def hessian(function, z):
    """Return the second derivatives of the scalar function(z), z of one axis."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        z = tf.convert_to_tensor(z)
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                value = function(z)
            gradient = inner.gradient(value, z)
        return to_numpy(outer.jacobian(gradient, z, experimental_use_pfor=False))
    if BACKEND == "jax":
        import jax

        return to_numpy(jax.hessian(function)(z))
    import torch

    z = torch.tensor(z, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(z), z, create_graph=True)
    return np.array([to_numpy(torch.autograd.grad(g, z, retain_graph=True)[0]) for g in gradient])


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("target", [0, 2], ids=["likely class", "unlikely class"])
@every_kind
def test_second_derivative_is_that_of_the_oracle(kind, target, gamma):
    logits, step = np.array([1.5, -0.25, -2.0]), 1e-4
    if kind == "binary":
        labels = np.array([0.0, 1.0, float(target == 2)])
        slope = lambda z: row_by_row(reference.binary_focal, labels, z, gamma)[1]  # noqa: E731
    else:
        labels = np.array(target)
        slope = lambda z: reference.sparse_focal(target, z, gamma)[1]  # noqa: E731
    function = loss_of(kind, labels, 3, gamma=gamma)
    expected = np.array(
        [(slope(logits + d) - slope(logits - d)) / (2 * step) for d in step * np.eye(3)]
    )
    actual = hessian(lambda z: ops.sum(function(z)), logits.astype("float32"))
    np.testing.assert_allclose(actual, expected, atol=3e-6 * np.abs(expected).max())
