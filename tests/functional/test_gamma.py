"""Propositions 1 and 2: the gradient ratio and the gamma that sets it to 1."""

import keras
import numpy as np
import pytest
import reference
from backends import to_numpy, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_focal.functional import (
    continuous_gamma,
    gamma_star,
    gradient_ratio,
    optimal_probability,
    step_gamma,
    threshold_probability,
)

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
    with pytest.raises(ValueError, match=r"`p0` must be in \(0, 0.5\): outside it Proposition 2"):
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


# --- The inverse: gamma to p0 ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1e-6, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 1e3, 1e9])
def test_threshold_probability_is_where_the_gradient_ratio_is_one(gamma):
    expected = reference.threshold_probability(gamma)
    assert threshold_probability(gamma) == pytest.approx(expected, rel=1e-12)


def test_threshold_probability_of_gamma_one_is_one_over_e():
    assert threshold_probability(1) == pytest.approx(np.exp(-1), rel=1e-14)


def test_threshold_probabilities_of_the_usual_gammas():
    found = threshold_probability([1, 2, 3, 5])
    np.testing.assert_array_equal(found.round(4), [0.3679, 0.2976, 0.2526, 0.1968])


@quick
@given(st.floats(0.001, 0.499))
def test_threshold_probability_is_the_inverse_of_gamma_star(p0):
    assert threshold_probability(gamma_star(p0)) == pytest.approx(p0, rel=1e-10)


def test_threshold_probability_of_a_number_is_a_float_and_of_an_array_an_array():
    assert type(threshold_probability(2)) is float
    assert threshold_probability([[1.0], [2.0]]).shape == (2, 1)


@pytest.mark.parametrize("gamma", [0.0, -1.0, np.nan, np.inf, [1.0, 0.0], "a"], ids=str)
def test_threshold_probability_outside_its_interval_is_an_error(gamma):
    with pytest.raises(ValueError, match=r"`gamma` must be in \(0, inf\): with gamma = 0"):
        threshold_probability(gamma)


# --- gamma* on the device -------------------------------------------------------------------------

EVERYWHERE = np.concatenate(
    [np.logspace(-12, -1, 30), np.linspace(0.1, 0.499, 60), 0.5 - np.logspace(-7, -3, 12)]
).astype("float32")


@pytest.mark.parametrize("compiled", [False, True])
def test_continuous_gamma_is_gamma_star_to_1e_6(compiled):
    found, gradient = value_and_gradient(
        lambda p: continuous_gamma(p, 0.0, 1e38) + 0.0 * p, EVERYWHERE, compiled=compiled
    )
    p0 = EVERYWHERE.astype("float64")
    expected = np.array([reference.gamma_star(p) for p in p0[::4]])
    error = np.abs(found[::4] - expected) / np.maximum(1.0, expected)
    assert error.max() < 1e-6
    error = np.abs(found - gamma_star(p0)) / np.maximum(1.0, found)
    assert error.max() < 1e-6
    np.testing.assert_array_equal(gradient, 0.0)


def test_continuous_gamma_is_held_to_its_bounds():
    p = np.array([0.0, 1e-30, 0.1, 0.2, 0.25, 0.3, 0.4999, 0.5, 0.7, 1.0], "float32")
    found = to_numpy(continuous_gamma(p, 2.5, 5.0))
    np.testing.assert_allclose(
        found, [5, 5, 5, 4.850554, 3.070227, 2.5, 2.5, 2.5, 2.5, 2.5], rtol=1e-6
    )


def test_continuous_gamma_without_a_bound_is_zero_from_one_half_on():
    np.testing.assert_array_equal(to_numpy(continuous_gamma([0.5, 0.75, 1.0], 0.0, 9.0)), 0.0)


def test_continuous_gamma_of_half_precision_is_computed_in_float32():
    p = ops.cast(ops.convert_to_tensor([0.2, 0.4]), "bfloat16")
    gamma = continuous_gamma(p, 0.0, 20.0)
    assert keras.backend.standardize_dtype(gamma.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(gamma), gamma_star(to_numpy(p)), rtol=1e-6)


@quick
@given(st.floats(0.001, 0.499))
def test_gradient_ratio_at_the_continuous_gamma_is_one(p):
    p = float(np.float32(p))
    gamma = float(continuous_gamma(np.float32(p), 0.0, 1e6))
    assert reference.gradient_ratio(p, gamma) == pytest.approx(1.0, abs=2e-6)


# --- the probability that the focal loss learns --------------------------------------------------


def test_optimal_probability_of_a_number_is_a_float_and_of_an_array_an_array():
    of_array = optimal_probability([[0.2, 0.7]], 3.0)
    assert of_array.shape == (1, 2)
    assert isinstance(optimal_probability(0.2, 3.0), float)
    assert optimal_probability(0.2, 3.0) == of_array[0, 0]
    assert optimal_probability(0.2, 0.0) == pytest.approx(0.2, abs=1e-14)


@pytest.mark.parametrize(
    ("arguments", "name"), [((0.0, 1.0), "q"), ((1.0, 1.0), "q"), ((0.5, -1.0), "gamma")]
)
def test_optimal_probability_outside_its_intervals_is_an_error(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        optimal_probability(*arguments)
