"""Propositions 1 and 2: the gradient ratio and the gamma that sets it to 1."""

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_focal.functional import gamma_star, gradient_ratio, step_gamma

GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5)
# What lies below the smallest normal float32 may be flushed to zero.
NORMAL = 2.0**-126
quick = settings(max_examples=25, deadline=None, database=None, derandomize=True)


# --- g(p, gamma) of Proposition 1 ---------------------------------------------------------------


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_ratio_is_proposition_1(gamma):
    p = np.concatenate(
        [np.logspace(-30, -1, 12), np.linspace(0.15, 0.95, 12), 1 - np.logspace(-2, -7, 6)]
    ).astype("float32")
    expected = [reference.gradient_ratio(float(x), gamma) for x in p]
    np.testing.assert_allclose(to_numpy(gradient_ratio(p, gamma)), expected, rtol=1e-6, atol=NORMAL)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_ratio_is_one_at_zero(gamma):
    assert float(gradient_ratio(0.0, gamma)) == 1.0


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_ratio_is_zero_at_one_unless_gamma_is_zero(gamma):
    assert float(gradient_ratio(1.0, gamma)) == (1.0 if gamma == 0 else 0.0)


def test_gradient_ratio_broadcasts_gamma():
    p, gamma = np.array([[0.1], [0.6]], "float32"), np.array([0.5, 3.0], "float32")
    expected = [[reference.gradient_ratio(float(a), float(b)) for b in gamma] for a in p[:, 0]]
    np.testing.assert_allclose(to_numpy(gradient_ratio(p, gamma)), expected, rtol=1e-6)


def test_gradient_ratio_of_half_precision_is_computed_in_float32():
    p = ops.cast(ops.convert_to_tensor([0.3, 0.9]), "bfloat16")
    ratio = gradient_ratio(p, 2.0)
    assert keras.backend.standardize_dtype(ratio.dtype) == "float32"
    expected = [reference.gradient_ratio(x, 2.0) for x in to_numpy(p)]
    np.testing.assert_allclose(to_numpy(ratio), expected, rtol=1e-6)


# --- gamma* of Proposition 2 --------------------------------------------------------------------


@pytest.mark.parametrize(
    "p0", [1e-12, 1e-6, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 1 / np.e, 0.4, 0.45, 0.49, 0.499]
)
def test_gamma_star_is_the_root_of_the_gradient_ratio(p0):
    assert gamma_star(p0) == pytest.approx(reference.gamma_star(p0), rel=1e-10)


def test_gamma_star_goes_to_zero_at_one_half():
    p0 = 0.5 - 1e-6
    assert gamma_star(p0) == pytest.approx(reference.gamma_star(p0), abs=1e-9)


def test_gamma_star_of_the_paper():
    """Section 4: g(0.2, 5) and g(0.25, 3) are about 1."""
    assert round(gamma_star(0.2)) == 5
    assert round(gamma_star(0.25)) == 3


@quick
@given(st.floats(0.001, 0.499))
def test_gradient_ratio_at_gamma_star_is_one(p0):
    assert reference.gradient_ratio(p0, gamma_star(p0)) == pytest.approx(1.0, abs=1e-12)


@quick
@given(st.floats(0.001, 0.499), st.floats(0.001, 1.0))
def test_gamma_star_damps_every_larger_probability(p0, fraction):
    above = p0 + fraction * (1 - p0)
    assert reference.gradient_ratio(above, gamma_star(p0)) <= 1.0


@quick
@given(st.lists(st.floats(0.001, 0.499), min_size=2, max_size=2, unique=True))
def test_gamma_star_falls_as_p0_rises(pair):
    low, high = sorted(pair)
    assert gamma_star(low) > gamma_star(high) > 0


def test_gamma_star_of_a_number_is_a_float():
    assert type(gamma_star(0.2)) is float
    assert type(gamma_star(np.float32(0.2))) is float


def test_gamma_star_of_an_array_has_its_shape():
    p0 = np.array([[0.1, 0.2], [0.3, 0.4]])
    gamma = gamma_star(p0)
    assert gamma.dtype == "float64"
    np.testing.assert_allclose(gamma, [[gamma_star(x) for x in row] for row in p0], rtol=1e-14)
    np.testing.assert_array_equal(gamma_star(p0.tolist()), gamma)


@pytest.mark.parametrize("p0", [0.0, 0.5, -0.1, 0.7, 1.0, np.nan, np.inf, [0.2, 0.5]], ids=str)
def test_gamma_star_outside_its_interval_is_an_error(p0):
    with pytest.raises(ValueError, match=r"`p0` must be in \(0, 0.5\): Proposition 2"):
        gamma_star(p0)


# --- Steps --------------------------------------------------------------------------------------


def test_step_gamma_takes_the_upper_gamma_at_a_threshold():
    p = np.array([0.0, 0.2, 0.3, 0.5, 1.0], "float32")
    np.testing.assert_array_equal(
        to_numpy(step_gamma(ops.convert_to_tensor(p), [0.2, 0.5], [5.0, 3.0, 2.0])), [5, 3, 3, 2, 2]
    )


def test_step_gamma_keeps_the_lower_gamma_just_below_a_threshold():
    below = np.nextafter(np.array([0.2, 0.5], "float32"), np.float32(0))
    np.testing.assert_array_equal(
        to_numpy(step_gamma(ops.convert_to_tensor(below), [0.2, 0.5], [5.0, 3.0, 2.0])), [5, 3]
    )


def test_step_gamma_without_thresholds_is_constant():
    np.testing.assert_array_equal(to_numpy(step_gamma(ops.zeros((2, 3)), [], [4.0])), 4.0)
