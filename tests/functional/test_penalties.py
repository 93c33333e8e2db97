"""Penalties that train calibration, against the papers' equations bin by bin and row by row."""

from functools import partial

import numpy as np
import pytest
import reference
from backends import BACKEND, as_usual, compiled_call, to_numpy, value_and_gradient
from keras import ops

from keras_focal import functional

BATCH = {
    "mdca": (functional.mdca_penalty, reference.mdca),
    "dca": (functional.dca_penalty, reference.dca),
    "ece, norm 1": (
        partial(functional.soft_binned_ece_penalty, num_bins=7, temperature=0.02, norm=1),
        partial(reference.soft_binned_ece, bins=7, temperature=0.02, norm=1),
    ),
    "ece, norm 2": (functional.soft_binned_ece_penalty, reference.soft_binned_ece),
    "ace": (functional.soft_binned_ace_penalty, reference.soft_binned_ace),
}
MULTIPLIERS = [0.5, 1e-6, 2.0, 0.1]
ROWS = {
    "acls": (
        partial(functional.acls_penalty, margin=1.5, positive=0.7, negative=0.3),
        partial(reference.acls, margin=1.5, positive=0.7, negative=0.3),
    ),
    "cals": (
        partial(functional.cals_penalty, multipliers=MULTIPLIERS, rho=1.5, margin=2.0),
        partial(reference.cals, multipliers=MULTIPLIERS, rho=1.5, margin=2.0),
    ),
}
INVALID_ROWS = [
    [np.nan, 1.0, 2.0, 0.0],
    [0.0, 1.0, 2.0, np.nan],
    [0.0, np.inf, 2.0, 1.0],
    [np.inf, np.inf, 0.0, 1.0],
    [-np.inf] * 4,
]
every_batch = pytest.mark.parametrize("name", BATCH)
every_row = pytest.mark.parametrize("name", ROWS)


def sample(size=60, scale=2.0):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, size)
    logits = rng.normal(0, scale, (size, 4))
    logits[np.arange(size), labels] += scale / 2
    return labels, logits.astype("float32")


def by_differences(function, z, step=1e-6):
    z = z.astype("float64")
    gradient = np.zeros_like(z)
    for index in np.ndindex(*z.shape):
        moved = np.zeros_like(z)
        moved[index] = step
        gradient[index] = (function(z + moved) - function(z - moved)) / (2 * step)
    return gradient


@every_batch
@pytest.mark.parametrize("scale", [0.5, 2.0, 12.0])
def test_value_of_a_batch_is_that_of_its_equation(name, scale):
    found, expected = BATCH[name]
    labels, logits = sample(scale=scale)
    assert float(found(labels, logits)) == pytest.approx(expected(labels, logits), rel=2e-5)


@every_batch
def test_batch_of_one_has_the_value_of_its_equation(name):
    found, expected = BATCH[name]
    labels, logits = sample(1)
    assert float(found(labels, logits)) == pytest.approx(expected(labels, logits), rel=2e-5)


@every_batch
def test_weights_scale_what_a_prediction_counts(name):
    found, expected = BATCH[name]
    labels, logits = sample()
    weights = np.random.default_rng(1).uniform(0, 2, len(labels)).astype("float32")
    weights[::5] = 0
    value = float(found(labels, logits, sample_weight=weights))
    assert value == pytest.approx(expected(labels, logits, weights), rel=2e-5)


@every_batch
@pytest.mark.parametrize("compiled", [False] if BACKEND == "torch" else [False, True])
def test_gradient_of_a_batch_is_that_of_differences(name, compiled):
    found, expected = BATCH[name]
    labels, logits = sample(8)
    _, gradient = value_and_gradient(lambda z: found(labels, z), logits, compiled=compiled)
    np.testing.assert_allclose(
        gradient, by_differences(lambda z: expected(labels, z), logits), rtol=1e-3, atol=1e-5
    )


@every_batch
@pytest.mark.parametrize(("size", "shape"), [(1, (3,)), (1, (1, 3)), (4, (2,)), (4, (4, 4))])
def test_weights_that_do_not_fit_are_an_error(name, size, shape):
    with pytest.raises(ValueError, match=r"`sample_weight` must have shape \(\d,\)"):
        BATCH[name][0](*sample(size), sample_weight=np.ones(shape, "float32"))


@every_batch
def test_what_weighs_nothing_may_be_anything(name):
    found = BATCH[name][0]
    labels, logits = sample(10)
    more = np.concatenate([logits, np.full((2, 4), np.nan, "float32")])
    weights = np.r_[np.ones(10), 0, 0].astype("float32")
    given = partial(found, np.r_[labels, 99, -5], sample_weight=weights)
    value, gradient = value_and_gradient(given, more)
    assert float(value) == pytest.approx(float(found(labels, logits)), rel=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[10:].any()


@every_batch
def test_a_label_that_names_no_class_is_an_error(name):
    found = BATCH[name][0]
    _, logits = sample(3)
    with pytest.raises(ValueError, match=r"must hold class ids, whole numbers in \[0, 4\)"):
        found([0, 4, 1], logits)
    if BACKEND != "torch":
        assert np.isnan(to_numpy(compiled_call(found, np.array([0, 4, 1]), logits)))


@every_batch
@pytest.mark.parametrize("row", INVALID_ROWS, ids=str)
def test_a_row_of_no_distribution_makes_the_penalty_nan(name, row):
    labels, logits = sample(8)
    logits[2] = row
    assert np.isnan(float(BATCH[name][0](labels, logits)))
    if BACKEND != "torch":
        assert np.isnan(to_numpy(compiled_call(BATCH[name][0], labels, logits)))


@every_batch
def test_no_predictions_have_no_penalty_and_no_gradient(name):
    found = BATCH[name][0]
    labels, logits = sample(6)
    given = partial(found, labels, sample_weight=np.zeros(6, "float32"))
    value, gradient = value_and_gradient(given, logits)
    assert float(value) == 0.0
    assert not gradient.any()


@every_batch
def test_rows_of_targets_are_read_by_their_largest_entry(name):
    found = BATCH[name][0]
    labels, logits = sample()
    rows = 0.9 * np.eye(4, dtype="float32")[labels] + 0.025
    assert float(found(rows, logits)) == pytest.approx(float(found(labels, logits)), rel=1e-6)


@every_batch
def test_perfect_predictions_have_a_gradient_without_nan(name):
    labels = np.arange(4)
    value, gradient = value_and_gradient(
        partial(BATCH[name][0], labels), 200 * np.eye(4, dtype="float32")
    )
    assert float(value) < 1e-6
    assert np.isfinite(gradient).all()


def test_hard_bins_are_the_limit_of_soft_ones():
    labels, logits = sample(200)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = reference.ece(*reference.top_label(labels, p), 15)
    found = functional.soft_binned_ece_penalty(labels, logits, temperature=1e-7, norm=1)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_average_error_per_sample_is_the_mean_of_the_images():
    labels, logits = sample(72)
    labels, logits = labels.reshape(3, 6, 4), logits.reshape(3, 6, 4, 4)
    labels[1] = np.minimum(labels[1], 2)  # a class that one image does not show
    weights = np.random.default_rng(1).uniform(0.1, 2, labels.shape).astype("float32")
    penalty = as_usual(partial(functional.soft_binned_ace_penalty, per_sample=True))
    expected = [
        reference.soft_binned_ace(y.reshape(-1), z.reshape(-1, 4), w.reshape(-1))
        for y, z, w in zip(labels, logits, weights, strict=True)
    ]
    found = penalty(labels, logits, sample_weight=weights)
    assert float(found) == pytest.approx(np.mean(expected), rel=2e-5)


def test_average_error_per_sample_needs_several_predictions_of_each():
    with pytest.raises(ValueError, match="`per_sample` must be False for one prediction"):
        functional.soft_binned_ace_penalty(*sample(), per_sample=True)


@every_row
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_value_of_a_row_is_that_of_its_equation(name, scale):
    found, expected = ROWS[name]
    _, logits = sample(scale=scale)
    values = to_numpy(found(logits))
    np.testing.assert_allclose(values, [*map(expected, logits)], rtol=1e-5, atol=1e-6)
    shaped = to_numpy(found(logits.reshape(3, 20, 4)))
    np.testing.assert_allclose(shaped.reshape(-1), values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("compiled", [False] if BACKEND == "torch" else [False, True])
def test_gradient_of_cals_is_that_of_differences(compiled):
    found, expected = ROWS["cals"]
    _, logits = sample(8, scale=4.0)
    _, gradient = value_and_gradient(found, logits, compiled=compiled)
    expected_gradient = by_differences(lambda z: sum(map(expected, z)), logits)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_top_logit_is_a_constant_in_the_second_term_of_acls():
    _, gradient = value_and_gradient(
        partial(functional.acls_penalty, margin=1.0, positive=0.0, negative=1.0),
        np.array([[5.0, 1.0, 4.5]], "float32"),
    )
    np.testing.assert_allclose(gradient, [[0.0, -3.0, 0.0]])
    _, gradient = value_and_gradient(
        partial(functional.acls_penalty, margin=1.0, positive=1.0, negative=0.0),
        np.array([[5.0, 1.0, 4.5]], "float32"),
    )
    np.testing.assert_allclose(gradient, [[8.0, 0.0, 0.0]])


@every_row
def test_an_impossible_class_adds_nothing_and_a_huge_gap_is_finite(name):
    found = ROWS[name][0]
    z = np.array([[1.0, 4.0, -np.inf, 0.0], [0.0, 3e38, -3e38, 0.0]], "float32")
    values, gradient = value_and_gradient(found, z)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    assert gradient[0, 2] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(functional.soft_binned_ece_penalty, norm=3), "`norm` must be one of 1, 2"),
        (partial(functional.soft_binned_ece_penalty, temperature=0), "`temperature` must be a"),
        (partial(functional.soft_binned_ece_penalty, num_bins=1), "`num_bins` must be a whole"),
        (partial(functional.soft_binned_ace_penalty, num_bins=1), "`num_bins` must be a whole"),
        (partial(functional.nacl_penalty, kernel_size=4), "`kernel_size` must be an odd whole"),
        (partial(functional.nacl_penalty, norm=3), "`norm` must be one of 1, 2"),
        (functional.nacl_penalty, r"one to three axes.*Received: shape \(60, 4\)"),
    ],
)
def test_what_is_no_setting_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call(*sample())


@every_batch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_measured_in_float32(name, dtype):
    labels, logits = sample()
    half = ops.cast(logits, dtype)
    found = BATCH[name][0](labels, half)
    assert float(found) == float(BATCH[name][0](labels, ops.cast(half, "float32")))


def images(*shape):
    labels, logits = sample(int(np.prod(shape)))
    return labels.reshape(shape), logits.reshape(*shape, 4)


@pytest.mark.parametrize("name", [*ROWS, "nacl"])
@pytest.mark.parametrize("row", INVALID_ROWS, ids=str)
def test_a_row_of_no_distribution_has_a_penalty_of_nan(name, row):
    labels, logits = images(2, 3)
    logits[1, 0] = row
    found = ROWS[name][0] if name in ROWS else partial(functional.nacl_penalty, labels)
    assert np.argwhere(np.isnan(to_numpy(found(logits)))).tolist() == [[1, 0]]
    if BACKEND != "torch":
        value = to_numpy(compiled_call(found, logits))
        assert np.argwhere(np.isnan(value)).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("shape", "size", "norm"), [((2, 12), 5, 1), ((2, 4, 5), 3, 2), ((2, 2, 3, 4), 3, 1)]
)
def test_neighbours_of_tokens_pixels_and_voxels_are_those_of_the_equation(shape, size, norm):
    labels, logits = images(*shape)
    found = as_usual(partial(functional.nacl_penalty, kernel_size=size, norm=norm))(labels, logits)
    expected = reference.nacl(labels, logits, size=size, norm=norm)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)


@pytest.mark.parametrize("compiled", [False] if BACKEND == "torch" else [False, True])
def test_gradient_of_neighbours_is_that_of_differences(compiled):
    labels, logits = images(1, 3, 4)
    found = partial(functional.nacl_penalty, labels)
    _, gradient = value_and_gradient(lambda z: ops.sum(found(z)), logits, compiled=compiled)
    expected = by_differences(lambda z: reference.nacl(labels, z).sum(), logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_pixels_that_do_not_count_have_no_penalty_and_are_no_neighbours():
    labels, logits = images(2, 4, 5)
    weights = np.random.default_rng(1).uniform(0.1, 2, labels.shape).astype("float32")
    weights[:, 1] = weights[0, :, 2] = 0
    expected = reference.nacl(labels, logits, weights > 0)
    # Where a whole window is left out, too.
    weights[1, :, 3:] = expected[1, :, 3:] = 0
    expected[1, :, :3] = reference.nacl(labels, logits, weights > 0)[1, :, :3]
    wrong = np.where(weights > 0, labels, 99)
    unknown = np.where(weights[..., None] > 0, logits, np.nan).astype("float32")
    value, gradient = value_and_gradient(
        partial(functional.nacl_penalty, wrong, sample_weight=weights), unknown
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[weights == 0].any()


def test_inside_an_object_the_target_is_one_hot_and_at_an_edge_it_is_shared():
    labels = np.zeros((1, 5, 6), int)
    labels[:, :, 3:] = 1
    target = np.zeros((1, 5, 6, 2), "float32")
    target[..., 1] = [0, 0, 1 / 3, 2 / 3, 1, 1]
    target[..., 0] = 1 - target[..., 1]
    np.testing.assert_allclose(to_numpy(functional.nacl_penalty(labels, target)), 0, atol=1e-6)


def test_pixels_with_a_label_that_names_no_class_are_an_error():
    labels, logits = images(1, 2, 3)
    labels[0, 0, 1] = 4
    with pytest.raises(ValueError, match=r"must hold class ids, whole numbers in \[0, 4\)"):
        functional.nacl_penalty(labels, logits)
    if BACKEND != "torch":
        found = to_numpy(compiled_call(functional.nacl_penalty, labels, logits))
        np.testing.assert_array_equal(np.isnan(found), labels == 4)


def test_neighbours_of_impossible_classes_huge_logits_and_half_precision():
    z = np.array([[[1.0, -np.inf, 3e38], [0.0, 1.0, -3e38]]], "float32")
    found = partial(functional.nacl_penalty, [[0, 1]], norm=2)
    values, gradient = value_and_gradient(found, z)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    assert gradient[0, 0, 1] == 0
    labels, logits = images(1, 3, 4)
    rows = 0.9 * np.eye(4, dtype="float32")[labels] + 0.025
    half = ops.cast(logits, "bfloat16")
    np.testing.assert_array_equal(
        to_numpy(functional.nacl_penalty(rows, half)),
        to_numpy(functional.nacl_penalty(labels, ops.cast(half, "float32"))),
    )
