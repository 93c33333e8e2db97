import copy
import json
import pickle

import keras
import numpy as np
import pytest
from backends import BACKEND, to_numpy, value_and_gradient
from keras import ops

from keras_focal.gammas import SampleDependentGamma

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
    with pytest.raises(ValueError, match=r"`thresholds` must rise. Received: thresholds=\["):
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
