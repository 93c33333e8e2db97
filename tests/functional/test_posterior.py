"""The map from a focal minimiser back to the class posterior."""

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_focal.functional import focal_posterior

GAMMAS = (-0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def probabilities(logits, gamma):
    return to_numpy(ops.softmax(focal_posterior(logits, gamma), axis=-1))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0, 5.0])
def test_posterior_is_recovered_to_1e_6_from_the_minimiser_of_the_focal_risk(gamma, rng):
    eta = np.concatenate([rng.dirichlet(np.ones(5), 30), [[0.9, 0.1, 1e-3, 1e-4, 1e-6]]])
    eta /= eta.sum(1, keepdims=True)
    q = reference.focal_minimiser(eta, gamma)
    np.testing.assert_allclose(q.sum(1), 1.0, atol=1e-12)
    found = probabilities(np.log(q).astype("float32"), gamma)
    np.testing.assert_allclose(found, eta, atol=1e-6)


def test_raw_output_of_a_perfect_focal_model_is_off_by_a_fifth():
    eta = np.array([[0.9, 0.1], [0.85, 0.15], [0.8, 0.2]])
    assert np.abs(reference.focal_minimiser(eta, 3.0) - eta).max() > 0.2


def test_minimiser_of_the_oracle_has_the_least_risk(rng):
    eta = rng.dirichlet(np.ones(4), 5)
    q = reference.focal_minimiser(eta, 2.0)

    def risk(q):
        return (eta * (1 - q) ** 2 * -np.log(q)).sum(1)

    for _ in range(20):
        other = q * np.exp(rng.normal(0, 0.02, q.shape))
        assert np.all(risk(other / other.sum(1, keepdims=True)) > risk(q))


@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0, 20.0, 80.0])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_log_posterior_is_the_oracle_s(gamma, scale, rng):
    logits = (rng.normal(0, 1, (6, 5)) * scale).astype("float32")
    expected = np.array([reference.focal_posterior(row, gamma) for row in logits])
    found = to_numpy(focal_posterior(logits, gamma))
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_gap_of_80_and_more_is_exact_and_finite(gamma):
    logits = np.array([[18.0, 0, 0], [80.0, 0, 1], [0, 200.0, -200], [0, 0, 1e4]], "float32")
    found = to_numpy(focal_posterior(logits, gamma))
    expected = np.array([reference.focal_posterior(row, gamma) for row in logits[:3]])
    np.testing.assert_allclose(found[:3], expected, rtol=1e-6)
    assert np.isfinite(found).all()


@quick
@given(
    st.lists(
        st.lists(st.floats(-80, 80, width=32, allow_subnormal=False), min_size=3, max_size=3),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from(GAMMAS),
)
def test_largest_class_stays(rows, gamma):
    logits = np.array(rows, "float32")
    posterior = to_numpy(focal_posterior(logits, gamma))
    np.testing.assert_array_equal(posterior.argmax(-1), logits.argmax(-1))
    assert np.all(posterior.max(-1) == 0)


def test_largest_class_stays_where_it_leads_by_one_rounding():
    just = np.nextafter(np.float32(1.0), np.float32(2.0))
    logits = np.array([[1.0, just, 1.0], [1.0, 1.0, just], [just, 1.0, 1.0]], "float32")
    for gamma in GAMMAS:
        found = to_numpy(focal_posterior(logits, gamma)).argmax(-1)
        np.testing.assert_array_equal(found, [1, 2, 0])


@pytest.mark.parametrize("gamma", GAMMAS)
def test_order_of_all_classes_stays(gamma, rng):
    logits = rng.normal(0, 4, (200, 6)).astype("float32")
    found = to_numpy(focal_posterior(logits, gamma))
    np.testing.assert_array_equal(found.argsort(-1), logits.argsort(-1))


def test_gamma_zero_is_the_identity(rng):
    logits = rng.normal(0, 5, (40, 4)).astype("float32")
    found = to_numpy(focal_posterior(logits, 0.0))
    np.testing.assert_allclose(found, logits - logits.max(-1, keepdims=True), rtol=1e-6)


def test_positive_gamma_raises_confidence_and_negative_gamma_lowers_it(rng):
    logits = rng.normal(0, 2, (40, 4)).astype("float32")
    plain = reference.softmax64(logits).max(-1)
    assert np.all(probabilities(logits, 2.0).max(-1) > plain)
    likely = plain > 0.5
    assert np.all(probabilities(logits, -0.5).max(-1)[likely] < plain[likely])


def test_shift_of_the_logits_changes_nothing(rng):
    logits = rng.integers(-8, 8, (20, 4)).astype("float32")
    np.testing.assert_array_equal(
        to_numpy(focal_posterior(logits + 64, 2.0)), to_numpy(focal_posterior(logits, 2.0))
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_one_logit_is_that_of_the_positive_class_of_two(gamma):
    z = np.array([-90.0, -20.0, -1.0, -0.01, 0.0, 0.3, 4.0, 18.0, 90.0], "float32")
    found = to_numpy(focal_posterior(z[:, None], gamma))
    both = [reference.focal_posterior([0.0, x], gamma) for x in z]
    expected = np.array([b - a for a, b in both])[:, None]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_is_finite_at_extreme_logits(compiled):
    logits = np.array([[80.0, 0, 0], [0, 200.0, -200], [0, 0, 0], [1, 1, 0]], "float32")

    def total(z):
        posterior = focal_posterior(z, 3.0)
        weights = ops.reshape(ops.arange(12, dtype="float32"), (4, 3))
        return ops.sum(posterior * weights, axis=-1)

    value, gradient = value_and_gradient(total, logits, compiled=compiled)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_half_precision_logits_are_computed_in_float32():
    logits = ops.cast(ops.convert_to_tensor([[3.0, 1.0, -2.0]]), "bfloat16")
    found = focal_posterior(logits, 2.0)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = reference.focal_posterior([3.0, 1.0, -2.0], 2.0)
    np.testing.assert_allclose(to_numpy(found)[0], expected, rtol=1e-6)


def test_leading_axes_stay(rng):
    logits = rng.normal(0, 1, (2, 3, 4)).astype("float32")
    found = to_numpy(focal_posterior(logits, 2.0))
    np.testing.assert_allclose(
        found.reshape(6, 4), to_numpy(focal_posterior(logits.reshape(6, 4), 2.0)), rtol=1e-6
    )
