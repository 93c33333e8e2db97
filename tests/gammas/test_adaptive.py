"""The rule that AdaptiveGamma moves: lookup, state, config."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from backends import to_numpy

from keras_focal.gammas import AdaptiveBins
from keras_focal.losses import BinaryFocalCrossentropy, SparseCategoricalFocalCrossentropy


@pytest.fixture
def rule():
    return AdaptiveBins(num_bins=4, gamma=[1.0, 2.0, -0.5, 4.0], edges=[0.2, 0.5, 0.9])


def test_a_probability_has_the_gamma_of_its_bin(rule):
    p = [0.0, 0.1, 0.2, 0.4, 0.5, 0.8, 0.9, 1.0]
    np.testing.assert_array_equal(to_numpy(rule(p)), [1, 1, 2, 2, -0.5, -0.5, 4, 4])


def test_it_begins_with_one_gamma_in_bins_of_equal_width():
    rule = AdaptiveBins()
    assert rule.gammas == [1.0] * 15
    np.testing.assert_allclose(rule.edges, np.arange(1, 15) / 15, rtol=1e-7)


def test_one_bin_has_no_edge():
    rule = AdaptiveBins(1, 3.0)
    assert rule.edges == []
    np.testing.assert_array_equal(to_numpy(rule([0.0, 1.0])), 3.0)


def test_bin_between_equal_edges_is_empty():
    rule = AdaptiveBins(3, [1.0, 2.0, 3.0], [0.5, 0.5])
    np.testing.assert_array_equal(to_numpy(rule([0.49, 0.5])), [1, 3])


def test_assigned_gammas_and_edges_are_used_at_once(rule):
    rule.assign([5.0, 6.0, 7.0, 8.0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(to_numpy(rule([0.05, 0.15, 0.25, 0.6])), [5, 6, 7, 8])


def test_loss_of_a_constant_rule_is_that_of_its_gamma(rng):
    logits = rng.normal(0, 3, (20, 5)).astype("float32")
    labels = rng.integers(0, 5, 20)
    for gamma in (2.0, 0.5):
        adaptive, fixed = (
            SparseCategoricalFocalCrossentropy(g, from_logits=True)
            for g in (AdaptiveBins(gamma=gamma), gamma)
        )
        assert float(adaptive(labels, logits)) == pytest.approx(
            float(fixed(labels, logits)), rel=1e-5
        )


def test_copies_hold_what_the_rule_is_now(rule):
    rule.assign([0.25, -1.0, 3.0, 2.0], [0.25, 0.5, 0.75])
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(rule)))
    for copied in (
        keras.saving.deserialize_keras_object(serialized),
        pickle.loads(pickle.dumps(rule)),
        copy.deepcopy(rule),
    ):
        assert (copied.gammas, copied.edges) == (rule.gammas, rule.edges)
        copied.assign([1.0] * 4, [0.3, 0.4, 0.5])
        assert rule.gammas == [0.25, -1.0, 3.0, 2.0]


def test_rule_is_equal_to_itself_alone(rule):
    assert rule == rule  # noqa: PLR0124
    assert rule != AdaptiveBins(**rule.get_config())


def test_config_of_a_loss_holds_what_the_rule_is_now(rule):
    loss = BinaryFocalCrossentropy(rule, from_logits=True)
    rule.assign([3.0] * 4, [0.25, 0.5, 0.75])
    copied = BinaryFocalCrossentropy.from_config(loss.get_config())
    assert copied.gamma.gammas == [3.0] * 4
    assert copied.gamma.edges == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_bins": 0}, "num_bins"),
        ({"gamma": float("nan")}, "gamma"),
        ({"num_bins": 3, "gamma": [1.0, 2.0]}, "gamma"),
        ({"num_bins": 3, "edges": [0.6, 0.5]}, "edges"),
        ({"num_bins": 3, "edges": [0.6]}, "edges"),
    ],
)
def test_bad_argument_is_an_error(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}="):
        AdaptiveBins(**arguments)


def test_assigning_another_number_of_gammas_is_an_error(rule):
    with pytest.raises(ValueError, match="`gamma` must be a finite number or a list of 4"):
        rule.assign([1.0, 2.0], rule.edges)
