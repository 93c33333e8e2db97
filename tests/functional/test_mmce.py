"""maximum_mean_calibration_error against the double sum over pairs."""

import numpy as np
import pytest
import reference
from backends import BACKEND, value_and_gradient
from keras import ops

from keras_focal import functional
from keras_focal.functional.losses._mmce import FORMS

mmce = functional.maximum_mean_calibration_error

every_form = pytest.mark.parametrize("form", FORMS)
AS_USUAL = BACKEND == "jax"
compiled_or_not = pytest.mark.parametrize(
    "compiled", [False] if BACKEND == "torch" else [False, True], ids=lambda c: f"compiled={c}"
)


def sample(size=40, scale=2.0):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, size)
    logits = rng.normal(0, scale, (size, 4))
    logits[np.arange(size), labels] += scale / 2
    return labels, logits.astype("float32")


def oracle_gradient(labels, logits, weights, form):
    logits = logits.astype("float64")
    gradient = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-6
        above, below = (reference.mmce(labels, logits + s, weights, form) for s in (step, -step))
        gradient[index] = (above - below) / 2e-6
    return gradient


@every_form
@pytest.mark.parametrize("scale", [0.5, 2.0, 12.0])
def test_value_is_that_of_the_sum_over_pairs(scale, form):
    labels, logits = sample(scale=scale)
    expected = reference.mmce(labels, logits, form=form)
    assert float(mmce(labels, logits, form=form)) == pytest.approx(expected, rel=1e-5)


@every_form
def test_weighted_value_is_that_of_the_sum_over_pairs(form):
    labels, logits = sample()
    weights = np.random.default_rng(1).uniform(0, 2, len(labels)).astype("float32")
    weights[::5] = 0
    value = mmce(labels, logits, sample_weight=weights, form=form)
    assert float(value) == pytest.approx(reference.mmce(labels, logits, weights, form), rel=1e-5)


@compiled_or_not
@every_form
def test_gradient_is_that_of_finite_differences(form, compiled):
    labels, logits = sample(8)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(labels)).astype("float32")
    _, gradient = value_and_gradient(
        lambda z: mmce(labels, z, sample_weight=weights, form=form), logits, compiled=compiled
    )
    expected = oracle_gradient(labels, logits, weights, form)
    np.testing.assert_allclose(gradient, expected, atol=2e-4 * np.abs(expected).max())


def over_all_pairs(labels, logits):
    """MMCE in float64, as a matrix of all pairs."""
    p = reference.softmax64(logits)
    confidence, error = p.max(axis=-1), (p.argmax(axis=-1) == labels) - p.max(axis=-1)
    kernel = np.exp(-np.abs(confidence[:, None] - confidence) / 0.4)
    return np.sqrt(error @ kernel @ error) / len(labels)


@compiled_or_not
def test_many_predictions_are_summed_as_few(compiled):
    labels, logits = sample(641)
    value, gradient = value_and_gradient(lambda z: mmce(labels, z), logits, compiled=compiled)
    assert float(value) == pytest.approx(over_all_pairs(labels, logits), rel=1e-5)
    direction = np.random.default_rng(1).normal(size=logits.shape)
    above, below = (over_all_pairs(labels, logits + s * direction) for s in (1e-7, -1e-7))
    assert (gradient * direction).sum() == pytest.approx((above - below) / 2e-7, rel=1e-3)


@every_form
def test_order_and_ties_do_not_matter(form):
    labels, logits = sample(12)
    labels, logits = np.tile(labels, 2), np.tile(logits, (2, 1))
    order = np.random.default_rng(1).permutation(24)
    expected = reference.mmce(labels, logits, form=form)
    for rows in (np.arange(24), order):
        value = float(mmce(labels[rows], logits[rows], form=form))
        assert value == pytest.approx(expected, rel=1e-5)


def test_a_weight_of_two_is_the_sample_twice():
    labels, logits = sample(6)
    weights = np.array([2, 1, 1, 1, 0, 1], "float32")
    rows = [0, 0, 1, 2, 3, 5]
    assert float(mmce(labels, logits, sample_weight=weights)) == pytest.approx(
        float(mmce(labels[rows], logits[rows])), rel=1e-6
    )


@pytest.mark.parametrize("labels", [[0], [1]], ids=["right", "wrong"])
@every_form
def test_a_batch_of_one_is_well_defined(form, labels):
    logits = np.array([[2.0, 0.0]], "float32")
    value, gradient = value_and_gradient(
        lambda z: mmce(np.array(labels), z, form=form), logits, compiled=AS_USUAL
    )
    p = reference.softmax64(logits)[0, 0]
    expected = 0.0 if form == "repository" else abs((labels == [0]) - p)
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("offset", [0, 1], ids=["all right", "all wrong"])
@every_form
def test_all_right_and_all_wrong_are_well_defined(form, offset):
    logits = sample(10)[1]
    labels = (logits.argmax(-1) + offset) % 4
    value, gradient = value_and_gradient(
        lambda z: mmce(labels, z, form=form), logits, compiled=AS_USUAL
    )
    assert value == pytest.approx(reference.mmce(labels, logits, form=form), rel=1e-5)
    assert np.all(np.isfinite(gradient))
    if form == "repository":
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("pattern", [[0, 0], [1, 1], [0, 1]], ids=["right", "wrong", "both"])
@every_form
def test_nothing_is_nan_at_the_ends(form, pattern):
    gaps = np.repeat([0.0, 18.0, 200.0, 1e4, 3e38, np.inf], 2)
    logits = np.stack([np.zeros(12), -gaps], -1).astype("float32")
    labels = np.tile(pattern, 6)
    value, gradient = value_and_gradient(
        lambda z: mmce(labels, z, form=form), logits, compiled=AS_USUAL
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_rows_and_ids_are_equal_and_leading_axes_are_flattened():
    labels, logits = sample(12)
    expected = float(mmce(labels, logits))
    assert float(mmce(np.eye(4)[labels], logits)) == expected
    assert float(mmce(labels.reshape(3, 4, 1), logits.reshape(3, 4, 4))) == expected


def test_no_predictions_give_zero():
    assert float(mmce(np.zeros(0, "int32"), np.zeros((0, 3), "float32"))) == 0.0
    labels, logits = sample(4)
    assert float(mmce(labels, logits, sample_weight=np.zeros(4, "float32"))) == 0.0


def test_half_precision_logits_are_computed_in_float32():
    labels, logits = sample()
    half = ops.cast(ops.convert_to_tensor(logits), "bfloat16")
    assert float(mmce(labels, half)) == float(mmce(labels, ops.cast(half, "float32")))


def test_the_repository_divides_twice():
    labels, logits = sample(128)
    labels = np.where(np.arange(128) < 64, logits.argmax(-1), (logits.argmax(-1) + 1) % 4)
    weighted, repository = (float(mmce(labels, logits, form=form)) for form in FORMS[1:])
    assert weighted / repository == pytest.approx(64, rel=1e-3)


@pytest.mark.skipif(BACKEND == "jax", reason="its memory is planned, not measured")
def test_many_predictions_need_no_matrix_of_pairs():
    # 200,000 squared is 160 GB of float32.
    labels, logits = sample(200_000)
    assert 0 < float(mmce(labels, logits)) < 1


def test_an_unknown_form_is_an_error():
    with pytest.raises(ValueError, match=r"`form` must be one of 'published', 'weighted'"):
        mmce([0], [[0.0, 1.0]], form="squared")
