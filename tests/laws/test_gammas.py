"""Laws of every gamma rule on random probabilities: range, order, inverses, copies, NaN."""

import copy
import pickle

import keras
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_focal import functional, gammas

SIZE = 6
ROUNDING = 2.0**-24

exponents = st.floats(0, 20, width=32)
inner = st.integers(1, 2**20 - 1).map(lambda number: number * 2.0**-20)
"""Probabilities that are exact in float32, so that an edge is the same in every dtype."""

probabilities = st.lists(
    st.floats(0, 1, width=32) | inner | st.sampled_from([0.0, 1e-45, ROUNDING, 0.5, 1.0]),
    min_size=SIZE,
    max_size=SIZE,
).map(lambda drawn: np.array(drawn, "float32"))


@st.composite
def steps(draw):
    """Increasing edges and a gamma for each interval between them."""
    edges = sorted(draw(st.sets(inner, min_size=0, max_size=4)))
    number = len(edges) + 1
    return edges, draw(st.lists(exponents, min_size=number, max_size=number))


@st.composite
def step_rules(draw):
    """A rule, its edges and its gammas."""
    edges, values = draw(steps())
    if draw(st.booleans()):
        return gammas.SampleDependentGamma(edges, values), edges, values
    return gammas.AdaptiveBins(len(values), values, edges), edges, values


continuous_rules = st.tuples(exponents, st.floats(0.125, 20, width=32)).map(
    lambda ends: gammas.ContinuousGamma(ends[0], ends[0] + ends[1])
)
threshold_rules = st.sets(inner.map(lambda p: p / 2), min_size=1, max_size=4).map(
    lambda drawn: gammas.ThresholdGamma(sorted(drawn))
)
any_rule = step_rules().map(lambda drawn: drawn[0]) | continuous_rules | threshold_rules


def values_of(rule, p):
    return np.asarray(ops.convert_to_numpy(rule(p)), "float64")


def check_range(rule, p, low, high):
    found = values_of(rule, p)
    assert found.shape == p.shape
    assert (found >= np.float32(low)).all()
    assert (found <= np.float32(high)).all()


@given(step_rules(), probabilities)
def test_steps_have_the_gamma_of_the_interval_that_holds_p(drawn, p):
    rule, edges, values = drawn
    p[: len(edges)] = edges
    expected = np.array(values)[np.searchsorted(edges, p, side="right")]
    np.testing.assert_array_equal(values_of(rule, p), expected)


@given(step_rules(), st.lists(st.integers(0, 1), min_size=SIZE, max_size=SIZE))
def test_whole_probabilities_count_as_floats(drawn, p):
    rule = drawn[0]
    floats = values_of(rule, np.array(p, "float32"))
    np.testing.assert_array_equal(values_of(rule, p), floats)
    np.testing.assert_array_equal(values_of(rule, np.array(p, "int32")), floats)


@given(continuous_rules, probabilities)
def test_continuous_gamma_is_within_its_bounds_and_that_of_proposition_2(rule, p):
    check_range(rule, p, rule.low, rule.high)
    found = values_of(rule, p)
    is_inside = (p > 1e-30) & (p < 0.5)
    star = np.where(p < 0.5, np.inf, 0.0)
    star[is_inside] = gammas.gamma_star(p[is_inside])
    expected = np.clip(star, rule.low, rule.high)
    assert (np.abs(found - expected) <= 1e-6 * np.maximum(1, expected)).all()


@given(continuous_rules | threshold_rules, probabilities)
def test_gamma_of_proposition_2_does_not_increase_with_p(rule, p):
    found = values_of(rule, np.sort(p))
    assert (np.diff(found) <= 2e-6 * np.maximum(1, found[:-1])).all()


@given(threshold_rules, probabilities)
def test_threshold_gamma_raises_the_gradient_below_its_last_p0_alone(rule, p):
    check_range(rule, p, rule.gammas[-1], rule.gammas[0])
    ratio = functional.gradient_ratio(p, rule(p))
    ratio = np.asarray(ops.convert_to_numpy(ratio), "float64")
    is_below = p < rule.p0s[-1]
    assert (ratio[is_below] >= 1 - 2e-6).all()
    assert (ratio[~is_below] <= 1 + 2e-6).all()


@given(probabilities, exponents)
def test_gradient_ratio_is_1_at_0_and_1_without_gamma_and_falls_to_0(p, gamma):
    p[:2] = 0.0, 1.0
    found = np.asarray(ops.convert_to_numpy(functional.gradient_ratio(p, gamma)), "float64")
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found[0] == 1
    assert found[1] == (gamma == 0)
    if gamma == 0:
        np.testing.assert_array_equal(found, 1.0)


@given(st.floats(1e-300, 0.5, exclude_max=True))
def test_threshold_probability_inverts_gamma_star(p0):
    gamma = gammas.gamma_star(p0)
    assert 0 < gamma < np.inf
    np.testing.assert_allclose(gammas.threshold_probability(gamma), p0, rtol=1e-11)


@given(st.floats(1e-3, 1e290))
def test_gamma_star_inverts_threshold_probability(gamma):
    p0 = gammas.threshold_probability(gamma)
    assert 0 < p0 < 0.5
    # Near p0 = 0.5 a rounding error of p0 is one of 2**-53 / gamma.
    np.testing.assert_allclose(gammas.gamma_star(p0), gamma, rtol=1e-11 + 1e-14 / min(1, gamma))


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0, 20))
def test_learned_probability_lies_between_a_half_and_the_frequency(q, gamma):
    p = functional.optimal_probability(q, gamma)
    assert min(q, 0.5) - 1e-14 <= p <= max(q, 0.5) + 1e-14
    np.testing.assert_allclose(functional.optimal_probability(1 - q, gamma), 1 - p, atol=1e-12)


@given(st.floats(-2, 20), st.floats(-1, 1), st.floats(0, 4), st.floats(0.01, 0.5))
def test_adapted_gamma_stays_within_its_bounds_and_follows_the_gap(gamma, gap, rate, switch):
    bounds = {"low": -2.0, "high": 20.0, "switch": switch}
    (found,) = functional.adapted_gammas([gamma], [gap], rate=rate, **bounds)
    assert -2 <= found <= 20
    assert abs(found) >= switch
    if abs(gamma) >= switch:
        assert (found >= gamma) if gap > 0 else (found <= gamma)


@given(any_rule, probabilities)
def test_config_copy_and_pickle_give_the_same_rule(rule, p):
    saved = keras.saving.serialize_keras_object(rule)
    for other in (
        keras.saving.deserialize_keras_object(saved),
        copy.deepcopy(rule),
        pickle.loads(pickle.dumps(rule)),
    ):
        assert other.get_config() == rule.get_config()
        np.testing.assert_array_equal(values_of(other, p), values_of(rule, p))


@given(any_rule, probabilities, st.integers(0, SIZE - 1))
def test_gamma_of_nan_is_nan_and_no_other_changes(rule, p, place):
    expected = values_of(rule, p)
    p[place] = expected[place] = np.nan
    np.testing.assert_array_equal(values_of(rule, p), expected)
    ratio = functional.gradient_ratio(p, 2.0)
    np.testing.assert_array_equal(np.isnan(ops.convert_to_numpy(ratio)), np.isnan(p))
