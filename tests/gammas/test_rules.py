import copy
import json
import pickle

import keras
import numpy as np
import pytest
import reference
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal.gammas import (
    ContinuousGamma,
    SampleDependentGamma,
    ThresholdGamma,
    gamma_star,
    gradient_ratio,
)
from keras_focal.losses import SparseCategoricalFocalCrossentropy

RULE = SampleDependentGamma([0.2, 0.5], [5.0, 3.0, 2.0])


def test_gamma_steps_at_each_threshold():
    p = np.array([0.0, 0.19, 0.21, 0.49, 0.51, 1.0], "float32")
    np.testing.assert_array_equal(to_numpy(RULE(p)), [5, 5, 3, 3, 2, 2])


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        pytest.param(
            "float64",
            marks=pytest.mark.skipif(
                BACKEND == "jax", reason="JAX has no float64 unless jax_enable_x64 is set"
            ),
        ),
    ],
)
def test_a_probability_at_a_threshold_takes_the_upper_gamma(dtype):
    p = np.array([0.2, 0.5], dtype)
    np.testing.assert_array_equal(to_numpy(RULE(p)), [3, 2])
    np.testing.assert_array_equal(to_numpy(RULE(np.nextafter(p, np.array(0, dtype)))), [5, 3])


def test_a_list_or_a_number_is_a_probability_too():
    np.testing.assert_array_equal(to_numpy(RULE([0.1, 0.9])), [5, 2])
    assert float(RULE(0.1)) == 5


def test_gamma_has_the_shape_of_the_probabilities():
    p = np.linspace(0, 1, 12, dtype="float32").reshape(2, 3, 2)
    assert tuple(RULE(p).shape) == (2, 3, 2)


def test_gamma_is_a_constant_in_the_derivative():
    p = np.linspace(0.05, 0.95, 10, dtype="float32")
    # The product rule would add p times the derivative of gamma.
    gamma, slope = value_and_gradient(lambda p: p * ops.stop_gradient(RULE(p)), p)
    np.testing.assert_allclose(slope, gamma / p, rtol=1e-6)
    gamma, slope = value_and_gradient(lambda p: p * RULE(p), p)
    np.testing.assert_allclose(slope, gamma / p, rtol=1e-6)


def test_one_gamma_needs_no_threshold():
    np.testing.assert_array_equal(to_numpy(SampleDependentGamma([], [3.0])([0.0, 1.0])), 3)


def test_gammas_may_rise():
    rule = SampleDependentGamma([0.5], [0.0, 4.0])
    np.testing.assert_array_equal(to_numpy(rule([0.4, 0.6])), [0, 4])


def test_copies_are_equal():
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(RULE)))
    for copied in (
        SampleDependentGamma.from_config(RULE.get_config()),
        keras.saving.deserialize_keras_object(serialized),
        pickle.loads(pickle.dumps(RULE)),
        copy.deepcopy(RULE),
    ):
        assert copied == RULE
        assert hash(copied) == hash(RULE)


def test_rules_of_other_numbers_are_not_equal():
    assert SampleDependentGamma([0.2], [5.0, 3.0]) != SampleDependentGamma([0.25], [5.0, 3.0])
    assert SampleDependentGamma([0.2], [5.0, 3.0]) != SampleDependentGamma([0.2], [5.0, 2.0])
    assert SampleDependentGamma([0.2], [5.0, 3.0]) != "FLSD-53"


def test_the_representation_builds_an_equal_rule():
    assert eval(repr(RULE)) == RULE


def test_arrays_are_stored_as_plain_numbers():
    rule = SampleDependentGamma(np.array([0.25], "float32"), np.array([5, 3]))
    assert rule == SampleDependentGamma([0.25], [5.0, 3.0])
    json.dumps(rule.get_config())


@pytest.mark.parametrize("thresholds", [[0.0], [1.0], [-0.1], [1.5], [np.nan]], ids=str)
def test_a_threshold_that_is_no_inner_probability_is_an_error(thresholds):
    with pytest.raises(
        ValueError, match=r"`thresholds` must be in \(0, 1\).*Received: thresholds="
    ):
        SampleDependentGamma(thresholds, [5.0, 3.0])


@pytest.mark.parametrize("thresholds", [[0.5, 0.2], [0.3, 0.3]], ids=str)
def test_thresholds_that_do_not_rise_are_an_error(thresholds):
    with pytest.raises(ValueError, match=r"`thresholds` must be strictly increasing. Rec"):
        SampleDependentGamma(thresholds, [5.0, 3.0, 2.0])


@pytest.mark.parametrize("gammas", [[], [5.0], [5.0, 3.0, 2.0]], ids=str)
def test_lengths_that_do_not_match_are_an_error(gammas):
    with pytest.raises(ValueError, match=f"`gammas` must have one .* {len(gammas)} gammas for 1"):
        SampleDependentGamma([0.2], gammas)


@pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf, "3", None])
def test_a_gamma_that_is_no_exponent_is_an_error(gamma):
    with pytest.raises(
        ValueError, match=r"`gammas` must be a finite number >= 0. Received: gammas="
    ):
        SampleDependentGamma([0.2], [5.0, gamma])


# --- by Proposition 2

PRINCIPLED = [ThresholdGamma([0.1, 0.2, 0.3]), ContinuousGamma(1.0, 6.0)]


def test_thresholds_of_flsd_53_give_its_gammas_before_rounding():
    rule = ThresholdGamma([0.2, 0.25])
    p = np.array([0.0, 0.199, 0.2, 0.25, 0.9, 1.0], "float32")
    expected = [gamma_star(0.2)] * 2 + [gamma_star(0.25)] * 4
    np.testing.assert_allclose(to_numpy(rule(p)), expected, rtol=1e-7)
    rounded = SampleDependentGamma([0.2], [5.0, 3.0])
    np.testing.assert_array_equal(to_numpy(rule(p)).round(), to_numpy(rounded(p)))


def test_each_threshold_begins_the_next_step():
    rule = ThresholdGamma([0.1, 0.2, 0.3])
    expected = gamma_star([0.1, 0.2, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(to_numpy(rule([0.05, 0.1, 0.2, 0.3, 0.6])), expected, rtol=1e-6)


def test_one_threshold_is_one_gamma():
    np.testing.assert_allclose(to_numpy(ThresholdGamma([0.25])([0.0, 0.6])), gamma_star(0.25))


@pytest.mark.parametrize("p0s", [[0.2, 0.25], [0.05, 0.3, 0.45], [0.25]], ids=str)
def test_gradient_is_raised_below_the_last_threshold_and_damped_above(p0s):
    rule = ThresholdGamma(p0s)
    below = np.linspace(0.01, p0s[-1] - 0.001, 50, dtype="float32")
    above = np.linspace(p0s[-1] + 0.001, 0.99, 50, dtype="float32")
    assert np.all(to_numpy(gradient_ratio(below, rule(below))) > 1)
    assert np.all(to_numpy(gradient_ratio(above, rule(above))) < 1)


def test_continuous_gamma_keeps_the_gradient_of_cross_entropy_between_its_bounds():
    rule = ContinuousGamma(3.0, 5.0)
    p = np.linspace(0.2, 0.25, 30, dtype="float32")
    np.testing.assert_allclose(to_numpy(gradient_ratio(p, rule(p))), 1.0, atol=2e-6)
    for p, sign in ((np.float32(0.1), 1), (np.float32(0.3), -1)):
        assert sign * (float(gradient_ratio(p, rule(p))) - 1) > 0


def test_continuous_gamma_falls_without_steps():
    p = np.linspace(0.0, 1.0, 2001, dtype="float32")
    gamma = to_numpy(ContinuousGamma(1.0, 6.0)(p))
    assert np.all(np.diff(gamma) <= 1e-6)
    assert np.abs(np.diff(gamma)).max() < 0.05
    assert (gamma[0], gamma[-1]) == (6.0, 1.0)


@pytest.mark.parametrize("rule", PRINCIPLED, ids=repr)
@pytest.mark.parametrize("compiled", [False, True])
def test_loss_of_a_rule_is_the_oracle_s_with_gamma_a_constant(rule, compiled, rng):
    logits = rng.normal(0, 1.5, (12, 4)).astype("float32")
    labels = rng.integers(0, 4, 12)
    loss = SparseCategoricalFocalCrossentropy(rule, from_logits=True, reduction="sum")
    value, gradient = value_and_gradient(lambda z: loss(labels, z), logits, compiled=compiled)
    p = reference.softmax64(logits)[np.arange(12), labels].astype("float32")
    gammas = to_numpy(rule(p))
    rows = [reference.sparse_focal(*row) for row in zip(labels, logits, gammas, strict=True)]
    np.testing.assert_allclose(value, sum(row[0] for row in rows), rtol=5e-6)
    np.testing.assert_allclose(gradient, [row[1] for row in rows], atol=5e-6)


@pytest.mark.parametrize("rule", PRINCIPLED, ids=repr)
def test_copies_of_principled_rules_are_equal(rule):
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(rule)))
    for copied in (
        keras.saving.deserialize_keras_object(serialized),
        pickle.loads(pickle.dumps(rule)),
        eval(repr(rule)),
    ):
        assert copied == rule
        assert hash(copied) == hash(rule)
    assert rule != SampleDependentGamma([0.2], [5.0, 3.0])


@pytest.mark.parametrize("p0s", [[0.0], [0.5], [-0.1], [0.2, 0.7], [np.nan], "a"], ids=str)
def test_threshold_without_a_gamma_is_an_error(p0s):
    with pytest.raises(ValueError, match=r"`p0s` must be in \(0, 0.5\): Prop.*Received: p0s="):
        ThresholdGamma(p0s)


@pytest.mark.parametrize("p0s", [[0.25, 0.2], [0.2, 0.2]], ids=str)
def test_p0s_that_do_not_rise_are_an_error(p0s):
    with pytest.raises(ValueError, match=r"`p0s` must be strictly increasing. Received: p0s=\["):
        ThresholdGamma(p0s)


def test_no_p0_is_an_error():
    with pytest.raises(ValueError, match="`p0s` must be one or more probabilities"):
        ThresholdGamma([])


@pytest.mark.parametrize(("low", "high"), [(5.0, 3.0), (2.0, 2.0)])
def test_bounds_out_of_order_are_an_error(low, high):
    with pytest.raises(ValueError, match=r"`low` must be < `high`, both finite. Received: low="):
        ContinuousGamma(low, high)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, np.inf), (np.nan, 3.0)])
def test_a_bound_that_is_no_exponent_is_an_error(low, high):
    with pytest.raises(ValueError, match=r"must be a finite number >= 0. Received"):
        ContinuousGamma(low, high)
